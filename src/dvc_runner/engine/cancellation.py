"""A way to end, from one thread, what others wait for."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError


class Cancellation:
    """Asked once; whatever is at work then, or begins later, ends with ``CancelledError``."""

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self._lock = threading.Lock()
        self._endings: list[Callable[[], None]] = []
        self._requested = False

    def request(self) -> None:
        """End what is at work."""
        with self._lock:
            self._requested = True
            endings = list(self._endings)
        for end in endings:
            end()

    def check(self) -> None:
        """Go on only if nobody asked.

        Raises:
            CancelledError: Somebody did.
        """
        if self._requested:
            raise CancelledError

    @contextlib.contextmanager
    def ends(self, end: Callable[[], None]) -> Iterator[None]:
        """Have ``end`` called, from whichever thread asks, while the block is at work.

        Raises:
            CancelledError: Somebody asked, before or meanwhile.
        """
        with self._lock:
            self.check()
            self._endings.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._endings.remove(end)
        self.check()


NEVER = Cancellation()
