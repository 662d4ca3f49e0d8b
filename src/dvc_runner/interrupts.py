"""Ctrl-C, SIGTERM and SIGHUP: they end a run, and cut through nothing that has to be whole.

The first is raised as ``KeyboardInterrupt``: at once, or where ``postponed`` ends, or by whoever
waits for ``fileno`` inside it, in any thread. The second sets ``hurry``: no more grace. The third is raised
wherever it finds us, for when something hangs.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMPATIENT = 3
# A terminal signals every process of a group, and a program in front of us may hand the same one on.
ECHO_S = 0.2


class Interrupts:
    """The interrupts of this process; they come to its main thread, and others look for them."""

    def __init__(self) -> None:
        """Know of none; take none yet."""
        self.hurry = threading.Event()
        self.requested = threading.Event()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._received = self._held = 0
        self._last = -ECHO_S
        self._pending = False
        self._tell = sys.unraisablehook

    def fileno(self) -> int:
        """Give what can be read from the first interrupt on, by ``select`` and its like."""
        return self._read

    def listen(self) -> None:
        """Take the signals from now on; one that is ignored, as under nohup, stays so."""
        self._forget()
        if sys.unraisablehook != self._unraisable:
            self._tell, sys.unraisablehook = sys.unraisablehook, self._unraisable
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Let no interrupt cut through what is done inside; it is raised at the end."""
        if not _is_main():
            yield
            return
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if not self._held:
                self.check()

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Inside ``postponed``: let an interrupt cut through what is done inside, which changes nothing."""
        held, self._held = self._held, 0
        try:
            self.check()
            yield
        finally:
            self._held = held

    def end_all(self) -> None:
        """Have every other thread that looks for interrupts end, as an interrupt would."""
        self.requested.set()
        self._wake()

    def check(self) -> None:
        """Raise the interrupt that was postponed, if there is one; in other threads, any that came."""
        if self._pending if _is_main() else self.requested.is_set():
            self.give_way()

    def came(self) -> bool:
        """Say whether there was one, raised or not."""
        return self._received > 0

    def taken(self) -> bool:
        """Say whether an interrupt was postponed; it is not raised any more."""
        found, self._pending = self._pending, False
        return found

    def give_way(self) -> None:
        """Raise the interrupt that ``fileno`` told of."""
        if _is_main():
            self._pending = False
        raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        now = time.monotonic()
        if now - self._last < ECHO_S:
            return
        self._last = now
        self._received += 1
        self.requested.set()
        self._wake()
        if self._received > 1:
            self.hurry.set()
        if not self._held or self._received >= IMPATIENT:
            raise KeyboardInterrupt
        self._pending = self._pending or self._received == 1

    def _unraisable(self, found: "sys.UnraisableHookArgs") -> None:
        """Tell of an error that Python drops, unless it may be what an interrupt left half made."""
        if issubclass(found.exc_type, KeyboardInterrupt):
            self._pending = True
        elif not self.came():
            self._tell(found)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def _forget(self) -> None:
        self.hurry.clear()
        self.requested.clear()
        self._received = self._held = 0
        self._last = -ECHO_S
        self._pending = False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 64):
                pass


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


INTERRUPTS = Interrupts()
