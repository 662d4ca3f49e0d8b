"""Environments are made by several threads at once."""

import subprocess
import sys

# sysconfig is asked for the first time once a process, so every try needs one.
MANY_THREADS_ASK_FIRST = """
import sys, sysconfig, threading
from concurrent.futures import ThreadPoolExecutor
from dvc_runner.executors import environments

sys.setswitchinterval(1e-6)
sysconfig._CONFIG_VARS = None
barrier = threading.Barrier(8)

def ask(_):
    barrier.wait()
    return environments.uv_binary()

with ThreadPoolExecutor(8) as threads:
    print(*set(threads.map(ask, range(8))))
"""


def test_threads_that_look_for_uv_at_once_all_find_it() -> None:
    for _ in range(3):
        asked = subprocess.run(
            [sys.executable, "-c", MANY_THREADS_ASK_FIRST], check=False, capture_output=True, text=True
        )
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout.strip().endswith("/bin/uv")
