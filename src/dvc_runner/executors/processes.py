"""Starts processes; nothing else here does. Each has a supervisor, which leaves nothing of it behind."""

import contextlib
import marshal
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.engine.lines import Lines
from dvc_runner.errors import EngineError
from dvc_runner.executors import supervisor_main
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import ContainerExit, Ending, Usage

# Imported, its bytecode is there already; a script would be compiled anew each time.
START = "import sys; sys.path.append(sys.argv[1]); import supervisor_main; supervisor_main.main()"
SUPERVISOR = (sys.executable, "-I", "-S", "-c", START, str(Path(supervisor_main.__file__).parent))
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


def _supervised(
    order: dict[str, Any], on_line: Callable[[str], None], cancellation: Cancellation
) -> dict[str, Any] | None:
    """Have a supervisor do as ordered; give its report, None if it was killed."""
    report, told = os.pipe()
    order = {**order, "runner": os.getpid(), "report": told}
    with INTERRUPTS.postponed(), contextlib.ExitStack() as stack:
        stack.callback(os.close, report)
        try:
            supervisor = subprocess.Popen(
                SUPERVISOR,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[told] if order["fence"] is None else [told, order["fence"]],
            )
        finally:
            os.close(told)
        stack.callback(_let_go, supervisor)
        words = marshal.dumps(order)
        _tell(supervisor, len(words).to_bytes(supervisor_main.LENGTH_BYTES) + words)
        try:
            with cancellation.ends(lambda: _tell(supervisor, ASK_TO_END)):
                _lines(supervisor, on_line)
        except KeyboardInterrupt:
            _tell(supervisor, ASK_TO_END)
            _lines(supervisor, on_line, until=INTERRUPTS.hurry)
            raise
        _let_go(supervisor)
        os.set_blocking(report, False)
        with contextlib.suppress(BlockingIOError):
            said = os.read(report, CHUNK)
            found: dict[str, Any] | None = marshal.loads(said) if said else None  # noqa: S302 - our own program's
            return found
    return None


def _tell(supervisor: subprocess.Popen[bytes], word: bytes) -> None:
    """Say something to the supervisor; that it is gone shows in its missing report."""
    with contextlib.suppress(BrokenPipeError):
        if supervisor.stdin:
            supervisor.stdin.write(word)


def _let_go(supervisor: subprocess.Popen[bytes]) -> None:
    """Close the supervisor's input, upon which it ends whatever still runs; wait for that."""
    if supervisor.stdin:
        supervisor.stdin.close()
    supervisor.wait()
    if supervisor.stdout:
        supervisor.stdout.close()


def _lines(
    supervisor: subprocess.Popen[bytes], on_line: Callable[[str], None], *, until: threading.Event | None = None
) -> None:
    """Hand over output until every holder of the pipe has gone; cut up over-long lines.

    If the supervisor was killed, what the command left is waited for a moment only.

    Raises:
        KeyboardInterrupt: An interrupt came, and there is no ``until``, with which none is looked for.
    """
    cut = Lines(on_line)
    wake = [] if until else [INTERRUPTS.fileno()]
    end = None
    stdout = supervisor.stdout
    while stdout and (end is None or time.monotonic() < end) and not (until and until.is_set()):
        if end is None and supervisor.poll() is not None:
            end = time.monotonic() + LINGER_S
        ready, _, _ = select.select([stdout.fileno(), *wake], [], [], POLL_S)
        if wake and wake[0] in ready:
            INTERRUPTS.give_way()
        if ready:
            chunk = os.read(stdout.fileno(), CHUNK)
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
