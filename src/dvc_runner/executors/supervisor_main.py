"""What stands between the runner and a command: starts it, and sees that nothing of it is left.

It runs as a program of its own and imports little, to start quickly; a runner of many commands starts it
once, as a nursery that forks a supervisor for each. On a supervisor's standard input comes its order,
marshalled, after its length; then the input stays open for as long as the runner lives.
A byte on it asks the command to end; its end, however the runner went, ends everything at once.
On Linux whatever the command started comes to us when its parent dies (we are its subreaper), so
killing our children until there are none leaves none of its descendants.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import select
import signal
import sys
import time

# The module typing takes as long to import as all the others.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

LENGTH_BYTES = 8
STOP_S = 5
TIDY_S = 0.5
PAUSE_S = 0.005
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_RESTRICT_SELF = 446
# What lets root read and write what a file's owner may: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH.
KEPT_BY_ROOT = (1, 2)
CAPABILITIES = 64
LIBC = ctypes.CDLL(None, use_errno=True)
LINUX = sys.platform == "linux"
CHUNK = 2**16
BLOCK_BYTES = 512
FENCED = 4
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class Supervisor:
    """One command, from its start to the end of the last process that it left."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Take an order: argv, cwd, env, timeout_s, runner (its pid), fence and report (descriptors)."""
        self._order = order
        self._stage = 0
        self._code: int | None = None
        self._timed_out = False
        self._killed: set[int] = set()

    def go(self) -> dict[str, Any]:
        """Start the command, wait for its end, end what is left; say what came of it."""
        wake = _woken_by_signals()
        if LINUX:
            LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            # A second link to the runner: another process may hold our input open.
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        error = self._start()
        if error is None and os.getppid() == self._order["runner"]:
            self._watch(wake)
        self._end_all()
        return {"code": self._code, "timed_out": self._timed_out, "error": error, "usage": _usage()}

    def _start(self) -> int | None:
        """Start the command; give the error's number if it cannot be."""
        read, write = os.pipe()
        us = os.getpid()
        self._stage = os.fork()
        if self._stage == 0:
            try:
                _become(self._order, us)
            except (OSError, ValueError) as error:
                number = error.errno if isinstance(error, OSError) else errno.EINVAL
                os.write(write, str(number).encode())
            finally:
                os._exit(1)
        os.close(write)
        said = os.read(read, CHUNK)
        os.close(read)
        return int(said) if said else None

    def _watch(self, wake: int) -> None:
        """Wait until the command has ended, or is to be ended at once."""
        limit = self._order["timeout_s"]
        until = time.monotonic() + limit if limit else None
        asked = False
        while self._code is None:
            left = None if until is None else max(0, until - time.monotonic())
            ready = select.select([0, wake], [], [], left)[0]
            if wake in ready and signal.SIGTERM in os.read(wake, CHUNK):
                return
            self._reap()
            if 0 in ready and not os.read(0, 1):
                return
            if 0 in ready or not ready:
                if asked and not ready:
                    return
                self._timed_out = self._timed_out or not (asked or ready)
                asked, until = True, time.monotonic() + STOP_S
                self._signal_group(signal.SIGTERM)

    def _end_all(self) -> None:
        """Kill until there is nobody left to kill, and take every exit status."""
        self._let_tidy_up()
        self._signal_group(signal.SIGKILL)
        while True:
            fresh = [pid for pid in _children() if pid not in self._killed]
            for pid in fresh:
                os.kill(pid, signal.SIGKILL)
            self._killed.update(fresh)
            if not self._reap():
                return
            if not fresh:
                time.sleep(PAUSE_S)

    def _let_tidy_up(self) -> None:
        """Give what outlives the command a moment: Python has a process that removes lost shared memory."""
        if self._code is None:
            os.kill(self._stage, signal.SIGKILL)
        until = time.monotonic() + TIDY_S
        while self._reap() and time.monotonic() < until:
            time.sleep(PAUSE_S)

    def _reap(self) -> bool:
        """Take the exit status of every child that has ended; say whether there are more."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._killed.discard(pid)
            if pid == self._stage:
                self._code = os.waitstatus_to_exitcode(status)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._stage, number)
        except (ProcessLookupError, PermissionError):
            return


def _woken_by_signals() -> int:
    """Give a descriptor that can be read as soon as a child ended, or our runner did."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _note)
    return read


def _note(number: int, frame: FrameType | None) -> None:
    del number, frame


def _become(order: dict[str, Any], supervisor: int) -> None:
    """Turn this process into the command, behind its walls."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Python ignores these two; a command expects them to work.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(order["cwd"] or ".")
    if LINUX:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != supervisor:
            return
    if order["fence"] is not None:
        _fence_in(order["fence"])
    if order["env"] is None:
        os.execvp(order["argv"][0], order["argv"])  # noqa: S606 - no shell is meant to be there
    os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606


def _fence_in(rules: int) -> None:
    """Take on the rules, for good."""
    # Root would see through them into other processes; for others this changes nothing.
    for capability in set(range(CAPABILITIES)).difference(KEPT_BY_ROOT):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")


def _children() -> list[int]:
    """Give our children, those included that came to us from a parent that died."""
    us = os.getpid()
    listed = _read(f"/proc/self/task/{us}/children")
    if listed is not None:
        return [int(pid) for pid in listed.split()]
    every = os.listdir("/proc") if LINUX else []
    return [int(name) for name in every if name.isdecimal() and _parent(name) == us]


def _parent(pid: str) -> int:
    stat = _read(f"/proc/{pid}/stat")
    return int(stat.rpartition(b")")[2].split()[1]) if stat else 0


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb", 0) as file:
            return file.read()
    except OSError:
        return None


def _usage() -> dict[str, float]:
    """Give what the command and all that it started took, now that all of them are reaped."""
    took = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": took.ru_utime + took.ru_stime,
        "peak_memory_bytes": took.ru_maxrss * MAXRSS_BYTES,
        "read_bytes": took.ru_inblock * BLOCK_BYTES,
        "written_bytes": took.ru_oublock * BLOCK_BYTES,
    }


def _order() -> dict[str, Any] | None:
    """Read our order; None if the runner died before it was whole."""
    length = _take(LENGTH_BYTES)
    text = _take(int.from_bytes(length)) if length else None
    found: dict[str, Any] | None = marshal.loads(text) if text else None
    return found


def _take(size: int) -> bytes | None:
    text = b""
    while len(text) < size:
        chunk = os.read(0, size - len(text))
        if not chunk:
            return None
        text += chunk
    return text


def nurse() -> None:
    """Fork a supervisor for every three or four descriptors that come: its input, output, report, fence.

    It ends with the runner, and then the kernel tells its supervisors.
    """
    import socket  # noqa: PLC0415 - a supervisor of its own does without

    channel = socket.socket(fileno=0)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # Nobody waits for them here; the runner sees the end of each by its report.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    us = os.getpid()
    while True:
        word, descriptors, _, _ = socket.recv_fds(channel, 1, FENCED)
        if not word:
            os._exit(0)
        if os.fork() == 0:
            channel.close()
            _nursed(descriptors, us)
        for descriptor in descriptors:
            os.close(descriptor)


def _nursed(descriptors: list[int], parent: int) -> None:
    """Be a supervisor, with these in place of what a program of its own is started with."""
    stdin, stdout, report, *fence = descriptors
    for descriptor, standard in ((stdin, 0), (stdout, 1), (stdout, 2)):
        os.dup2(descriptor, standard)
    os.close(stdin)
    os.close(stdout)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    main({"runner": parent, "report": report, "fence": fence[0] if fence else None})


def main(given: dict[str, Any] | None = None) -> None:
    """Do as ordered, and report; what is ``given`` counts instead of what the order says."""
    order = _order()
    if order is not None:
        order |= given or {}
        for descriptor in (order["fence"], order["report"]):
            if descriptor is not None:
                os.set_inheritable(descriptor, False)
        os.write(order["report"], marshal.dumps(Supervisor(order).go()))
    os._exit(0)


if __name__ == "__main__":
    main()
