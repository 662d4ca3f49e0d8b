"""The programs that the stand-in is made of, and that they end with it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
READY_S = 90
END_S = 10


class PartError(Exception):
    """A part ended, or does not get ready: what, then where its words are."""


@contextmanager
def started(
    command: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None, fds: tuple[int, ...] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program whose words go to a file, until the block ends or this process is killed.

    To be called on the main thread: the kernel takes the end of the thread that started a program for its parent's.
    """
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is this process's to hear
            preexec_fn=_end_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread still
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    """Block until somebody listens at a socket.

    Raises:
        PartError: The program ended, or is silent for too long.
    """
    until = time.monotonic() + READY_S
    while not _listens(path):
        if process.poll() is not None:
            raise PartError(ended(process))
        if time.monotonic() > until:
            raise PartError(f"{_name(process)} does not answer after {READY_S} s")
        time.sleep(0.1)


def ended(process: "subprocess.Popen[bytes]") -> str:
    """Say that a program ended."""
    return f"{_name(process)} ended by itself (exit code {process.returncode})"


def last_words(folder: Path) -> str:
    """Give the end of every log."""
    logs = [(path.name, path.read_text(errors="replace").splitlines()[-5:]) for path in sorted(folder.glob("*.log"))]
    return "\n".join(f"{name}: {line}" for name, lines in logs for line in lines)


def _listens(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _name(process: "subprocess.Popen[bytes]") -> str:
    words = process.args
    return Path(str(words[0] if isinstance(words, list) else words)).name


def _end_with(parent: int) -> "_EndWith":
    return _EndWith(ctypes.CDLL(None), parent)


class _EndWith:
    """In a child, before its program: ask the kernel for SIGTERM when the parent is gone, however it went."""

    def __init__(self, libc: ctypes.CDLL, parent: int) -> None:
        self._libc = libc
        self._parent = parent

    def __call__(self) -> None:
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self._parent:
            os._exit(1)
