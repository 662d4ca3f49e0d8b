"""One run at a time per workspace."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dvc_runner.errors import EXIT_BUSY, WorkspaceBusyError
from dvc_runner.workspace import run_lock
from dvc_runner.workspace.holding import is_taken

HOLDER = """
import sys
from pathlib import Path
from dvc_runner.workspace import run_lock
with run_lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


# Each process so started has the number 1.
APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@contextlib.contextmanager
def holder(folder: Path, *prefix: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock until its input ends."""
    command = [*prefix, sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_held_and_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with run_lock.held(tmp_path / "not" / "there"):
            pass


def test_the_second_is_told_who_holds_it_now(tmp_path: Path) -> None:
    with run_lock.held(tmp_path):
        pass
    with holder(tmp_path) as process:
        with pytest.raises(WorkspaceBusyError) as raised, run_lock.held(tmp_path):
            pytest.fail("held twice")
        assert raised.value.exit_code == EXIT_BUSY
        assert str(process.pid) in str(raised.value)
        assert socket.gethostname() in str(raised.value)


def test_the_second_waits_for_a_holder_to_write_its_name(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w", encoding="utf-8") as file, ThreadPoolExecutor() as pool:
        assert is_taken(file.fileno())
        second = pool.submit(contextlib.ExitStack().enter_context, run_lock.held(tmp_path))
        time.sleep(2 * run_lock.LOOK_S)
        assert not second.done()
        json.dump({"pid": 7, "host": "there", "container": None, "since": "noon"}, file)
        file.flush()
        with pytest.raises(WorkspaceBusyError, match=r"\(process 7 on there, since noon\)"):
            second.result()


def test_the_name_of_a_former_holder_is_not_told(tmp_path: Path) -> None:
    with run_lock.held(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == ""


def test_the_second_is_refused_in_one_process_too(tmp_path: Path) -> None:
    with run_lock.held(tmp_path):
        with pytest.raises(WorkspaceBusyError, match=str(os.getpid())), run_lock.held(tmp_path):
            pytest.fail("held twice")
        with pytest.raises(WorkspaceBusyError, match=str(os.getpid())), run_lock.held(tmp_path):
            pytest.fail("a refusal let go of it")


def test_it_ends_with_a_holder_that_is_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with run_lock.held(tmp_path):
            pass


def test_it_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock.held(tmp_path):
        raise ZeroDivisionError
    with run_lock.held(tmp_path):
        pass


def test_it_holds_across_pid_namespaces(tmp_path: Path) -> None:
    refused = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False)
    if refused.returncode:
        pytest.skip(f"no PID namespace can be made here: {refused.stderr.strip()}")
    told = rf"another run is at work here \(process 1 on {re.escape(socket.gethostname())}, since 2\d\d\d-[-\dT:+]+\)"
    with holder(tmp_path, *APART):
        with pytest.raises(WorkspaceBusyError, match=told), run_lock.held(tmp_path):
            pytest.fail("held twice")
        command = [*APART, sys.executable, "-c", HOLDER, str(tmp_path)]
        other = subprocess.run(command, input="", capture_output=True, text=True, check=False)
        assert other.returncode
        assert re.search(told, other.stderr)
    with run_lock.held(tmp_path, wait_s=10):
        pass


def test_two_workspaces_do_not_meet(tmp_path: Path) -> None:
    with run_lock.held(tmp_path / "a"), run_lock.held(tmp_path / "b"):
        pass


def test_a_lock_file_that_holds_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "NAMED_S", 0)
    (tmp_path / "lock").write_text("[1, 2")
    with run_lock.held(tmp_path), pytest.raises(WorkspaceBusyError), run_lock.held(tmp_path):
        pytest.fail("held twice")
