"""Starts processes; nothing else here does. Each has a supervisor, which leaves nothing of it behind."""

import contextlib
import marshal
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.engine.lines import Lines
from dvc_runner.errors import EngineError
from dvc_runner.executors import supervisor_main
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import ContainerExit, Ending, Usage

# Imported, its bytecode is there already; a script would be compiled anew each time.
START = "import sys; sys.path.append(sys.argv[1]); import supervisor_main; supervisor_main."
PLACE = str(Path(supervisor_main.__file__).parent)
SUPERVISOR = (sys.executable, "-I", "-S", "-c", f"{START}main()", PLACE)
NURSERY = (sys.executable, "-I", "-S", "-c", f"{START}nurse()", PLACE)
LINGER_S = 2
POLL_S = 0.2
CHUNK = 2**16
SIGKILLED = -9
ASK_TO_END = b"."
HOW = "exact; memory of its largest process, reads and writes of the disk itself"


def run(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    fence: int | None = None,
) -> ContainerExit:
    """Start a command, hand over its output, and wait for its end and its descendants'.

    Args:
        argv: The command.
        on_line: Takes each line of its output, stdout and stderr alike.
        cwd: Its working folder; None is ours.
        env: Its environment; None is ours.
        timeout_s: How long it may take.
        fence: A descriptor of the Landlock rules that it runs behind, if any.

    Raises:
        EngineError: There is no such program.
    """
    order = {
        "argv": list(argv),
        "cwd": cwd and str(cwd),
        "env": env and dict(env),
        "timeout_s": timeout_s,
        "fence": fence,
    }
    return _done(order, on_line, NEVER)


def run_until(argv: Sequence[str], on_line: Callable[[str], None], cancellation: Cancellation) -> ContainerExit:
    """Start a command of the runner's own, where and as the runner is, that another thread may end.

    Raises:
        CancelledError: Somebody asked to end.
        EngineError: There is no such program.
    """
    order = {"argv": list(argv), "cwd": None, "env": None, "timeout_s": None, "fence": None}
    return _done(order, on_line, cancellation)


def _done(order: dict[str, Any], on_line: Callable[[str], None], cancellation: Cancellation) -> ContainerExit:
    began = time.time()
    said = _supervised(order, on_line, cancellation)
    if said and said["error"]:
        raise EngineError(
            f"{order['argv'][0]!r} could not be started: {os.strerror(said['error'])}",
            remedy="name a program that the stage's environment has",
        )
    return _exit(said, time.time() - began)


@contextlib.contextmanager
def nursery() -> Iterator[None]:
    """Have one program fork the supervisors of all that is started inside: each then costs a tenth.

    Only the main thread opens one: the kernel ends it with the thread that started it.
    """
    global _nursery  # noqa: PLW0603 - a process has one
    if not supervisor_main.LINUX:
        yield
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, contextlib.ExitStack() as stack:
        with theirs:
            stack.enter_context(
                subprocess.Popen(NURSERY, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True)
            )
        stack.callback(ours.close)
        before, _nursery = _nursery, ours
        try:
            yield
        finally:
            _nursery = before


_nursery: socket.socket | None = None


class _Supervisor:
    """A supervisor at work. Its report ends with it, whoever started it."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Start one, in the nursery if there is one, and give it its order."""
        pipes = [os.pipe() for _ in range(3)]
        (their_stdin, stdin), (stdout, their_stdout), (report, their_report) = pipes
        self._stdin = open(stdin, "wb", buffering=0)  # noqa: SIM115, PTH123 - a descriptor
        self.stdout = open(stdout, "rb", buffering=0)  # noqa: SIM115, PTH123
        self._report = open(report, "rb")  # noqa: SIM115, PTH123
        self._program = None
        theirs = (their_stdin, their_stdout, their_report)
        fence = [] if order["fence"] is None else [order["fence"]]
        try:
            if not _nursed(*theirs, *fence):
                self._program = subprocess.Popen(
                    SUPERVISOR,
                    stdin=their_stdin,
                    stdout=their_stdout,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[their_report, *fence],
                )
        finally:
            for end in theirs:
                os.close(end)
        words = marshal.dumps({**order, "runner": os.getpid(), "report": their_report})
        self.tell(len(words).to_bytes(supervisor_main.LENGTH_BYTES) + words)

    def tell(self, word: bytes) -> None:
        """Say something to it; that it is gone shows in its missing report."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stdin.write(word)

    def has_ended(self) -> bool:
        """Say whether it has reported, or is gone."""
        return bool(select.select([self._report], [], [], 0)[0])

    def let_go(self) -> dict[str, Any] | None:
        """Close its input, upon which it ends whatever still runs; wait for that, and give its report, if any."""
        self._stdin.close()
        with self._report, self.stdout:
            said = self._report.read()
            if self._program:
                self._program.wait()
        found: dict[str, Any] | None = marshal.loads(said) if said else None  # noqa: S302 - our own program's
        return found


def _nursed(*descriptors: int) -> bool:
    """Have the nursery fork a supervisor; say whether there is one."""
    try:
        return _nursery is not None and bool(socket.send_fds(_nursery, [b"."], descriptors))
    except OSError:
        return False  # it was killed


def _supervised(
    order: dict[str, Any], on_line: Callable[[str], None], cancellation: Cancellation
) -> dict[str, Any] | None:
    """Have a supervisor do as ordered; give its report, None if it was killed."""
    with INTERRUPTS.postponed():
        supervisor = _Supervisor(order)
        try:
            with cancellation.ends(lambda: supervisor.tell(ASK_TO_END)):
                _lines(supervisor, on_line)
        except KeyboardInterrupt:
            supervisor.tell(ASK_TO_END)
            _lines(supervisor, on_line, until=INTERRUPTS.hurry)
            raise
        finally:
            said = supervisor.let_go()
    return said


def _lines(supervisor: _Supervisor, on_line: Callable[[str], None], *, until: threading.Event | None = None) -> None:
    """Hand over output until every holder of the pipe has gone; cut up over-long lines.

    If the supervisor was killed, what the command left is waited for a moment only.

    Raises:
        KeyboardInterrupt: An interrupt came, and there is no ``until``, with which none is looked for.
    """
    cut = Lines(on_line)
    wake = [] if until else [INTERRUPTS.fileno()]
    end = None
    stdout = supervisor.stdout.fileno()
    while (end is None or time.monotonic() < end) and not (until and until.is_set()):
        if end is None and supervisor.has_ended():
            end = time.monotonic() + LINGER_S
        ready, _, _ = select.select([stdout, *wake], [], [], POLL_S)
        if wake and wake[0] in ready:
            INTERRUPTS.give_way()
        if ready:
            chunk = os.read(stdout, CHUNK)
            if not chunk:
                break
            cut.feed(chunk)
    cut.end()


def _exit(said: dict[str, Any] | None, seconds: float) -> ContainerExit:
    if said is None:
        return ContainerExit(code=128 - SIGKILLED, ending=Ending.KILLED, seconds=seconds)
    code = said["code"]
    killed = Ending.KILLED if code == SIGKILLED else Ending.EXITED
    return ContainerExit(
        code=code if code >= 0 else 128 - code,
        ending=Ending.TIMED_OUT if said["timed_out"] else killed,
        seconds=seconds,
        usage=Usage(how=HOW, **said["usage"]),
    )
