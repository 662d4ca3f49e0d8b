"""Waiting for other commands of DVC's in the same project. A part of the DVC adapter."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from dvc.lock import LockError

from dvc_runner.errors import WorkspaceBusyError
from dvc_runner.interrupts import INTERRUPTS

if TYPE_CHECKING:
    from dvc.lock import LockBase

# DVC waits for some seconds in each.
LOCK_TRIES = 20
LOOK_S = 0.5

P = ParamSpec("P")
T = TypeVar("T")


def patiently(act: Callable[[], object], root: Path) -> None:
    """Do what takes DVC's lock of the project at ``root``, also while other commands of DVC's hold it.

    Raises:
        WorkspaceBusyError: One holds it for long.
    """
    for attempt in range(LOCK_TRIES):
        try:
            act()
        except LockError as error:
            if attempt + 1 == LOCK_TRIES:
                raise WorkspaceBusyError(
                    f"another dvc command has held {root} for over a minute",
                    remedy="let it end, then run again; what was done is kept in the run-cache",
                ) from error
        else:
            return


class Turn:
    """DVC's lock, held from the beginning; who lets go of it waits for it again as long as it takes."""

    def __init__(self, lock: "LockBase", on_let_go: Callable[[], None], on_wait: Callable[[str], None]) -> None:
        """Call ``on_let_go`` before others have it, and tell ``on_wait`` who is waited for."""
        self._lock = lock
        self._on_let_go = on_let_go
        self._on_wait = on_wait
        self._kept_for: set[str] = set()
        self.is_held = True

    def keep(self, address: str) -> None:
        """Let nobody have the lock until a stage has left: its outs come, and dvc.lock does not tell of them yet."""
        self._kept_for.add(address)

    def leave(self, address: str) -> None:
        """Take that a stage has left."""
        self._kept_for.discard(address)

    def let_go(self) -> contextlib.AbstractContextManager[None]:
        """Let others have the lock, unless it is kept; it stays theirs if an interrupt comes before it is ours."""
        return contextlib.nullcontext() if self._kept_for else self._let_go()

    @contextlib.contextmanager
    def _let_go(self) -> Iterator[None]:
        self._on_let_go()
        self._lock.unlock()
        self.is_held = False
        try:
            yield
        finally:
            self._take()

    def repeat(self, act: Callable[[], T]) -> T:
        """Do what needs paths that other commands may have noted as theirs, once they have not.

        Raises:
            KeyboardInterrupt: An interrupt came first.
        """
        told = False
        while True:
            try:
                return act()
            except WorkspaceBusyError as error:
                if not told:
                    self._on_wait(f"waiting for another dvc command: {' '.join(str(error.__cause__).split())}")
                told = True
            # Who is waited for may need it to end.
            with self._let_go():
                time.sleep(LOOK_S)
            if INTERRUPTS.came():
                INTERRUPTS.give_way()

    def _take(self) -> None:
        told = False
        while not self.is_held:
            try:
                self._lock.lock()
                self.is_held = True
            except LockError:
                if INTERRUPTS.came():
                    return
                if not told:
                    self._on_wait(f"waiting for another dvc command, which holds DVC's lock{self._holder()}")
                told = True

    def _holder(self) -> str:
        """Say who holds the lock: of the two kinds that DVC has, one tells."""
        try:
            pid = Path(self._lock.lockfile).read_text("utf-8").strip()
        except (OSError, ValueError):
            return ""
        return f" (process {pid})" if pid.isdecimal() else ""


class HasTurn(Protocol):
    """What waits in ``turn``."""

    turn: Turn


S = TypeVar("S", bound=HasTurn)


def in_turn(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Have a method begin anew, where another command of DVC's uses the same paths, once that has ended."""

    @functools.wraps(method)
    def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.turn.repeat(lambda: method(self, *args, **kwargs))

    return repeated
