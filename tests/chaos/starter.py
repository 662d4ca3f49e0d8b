"""Starts dvc-runner and dvc as processes of their own, which have everything imported already.

Reads an order a line: {program, arguments, folder, env, output}. Answers with the process's id as
soon as the program begins, and with its exit code in the end.
"""

import json
import os
import sys
from typing import Any

from dvc.cli import main as dvc

from dvc_runner.cli import commands
from dvc_runner.cli.main import main as dvc_runner

assert commands
PROGRAMS = {"dvc": dvc, "dvc-runner": dvc_runner}


def become(order: dict[str, Any], begun: int) -> None:
    """Do what was ordered, as a process that was started for it; close ``begun`` when that begins."""
    os.setsid()
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(source, descriptor)
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    code = 1
    os.close(begun)
    try:
        code = PROGRAMS[order["program"]](order["arguments"]) or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


for line in sys.stdin:
    found = json.loads(line)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(found, writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
