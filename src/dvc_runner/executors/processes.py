"""Starts processes; nothing else here does. Each is a group of its own, and ends as a whole."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dvc_runner.engine.lines import Lines
from dvc_runner.errors import EngineError
from dvc_runner.model import ContainerExit, Ending

STOP_S = 5
LINGER_S = 2
POLL_S = 0.2
PR_SET_PDEATHSIG = 1
PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
CHUNK = 2**16


def run(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> ContainerExit:
    """Start a command, hand over its output, and wait for its end and its children's.

    Args:
        argv: The command.
        on_line: Takes each line of its output, stdout and stderr alike.
        cwd: Its working folder; None is ours.
        env: Its environment; None is ours.
        timeout_s: How long it may take.

    Raises:
        EngineError: There is no such program.
    """
    began = time.time()
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_runner,  # noqa: PLW1509 - one system call, its function loaded beforehand
        )
    except OSError as error:
        raise EngineError(
            f"{argv[0]!r} could not be started: {error.strerror}",
            remedy="name a program that the stage's environment has",
        ) from error
    timed_out = threading.Event()
    timer = threading.Timer(timeout_s or 0, _expire, [process, timed_out])
    timer.daemon = True
    try:
        if timeout_s:
            timer.start()
        _lines(process, on_line)
        code = process.wait()
    except KeyboardInterrupt:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        raise
    finally:
        timer.cancel()
        _signal(process, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    killed = Ending.KILLED if code == -signal.SIGKILL else Ending.EXITED
    return ContainerExit(
        code=code if code >= 0 else 128 - code,
        ending=Ending.TIMED_OUT if timed_out.is_set() else killed,
        seconds=time.time() - began,
    )


def _lines(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
    """Hand over output until every holder of the pipe has gone; cut up over-long lines.

    What a command left behind in its process group is ended with it; what left the group is waited for a moment only.
    """
    cut = Lines(on_line)
    until = None
    while process.stdout and (until is None or time.monotonic() < until):
        if until is None and process.poll() is not None:
            _signal(process, signal.SIGKILL)
            until = time.monotonic() + LINGER_S
        if select.select([process.stdout], [], [], POLL_S)[0]:
            chunk = os.read(process.stdout.fileno(), CHUNK)
            if not chunk:
                break
            cut.feed(chunk)
    cut.end()


def _end_with_runner() -> None:
    """Have the kernel kill this process when the runner dies, where the kernel can: Linux."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


def _expire(process: subprocess.Popen[bytes], timed_out: threading.Event) -> None:
    timed_out.set()
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the whole group; what has ended already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
