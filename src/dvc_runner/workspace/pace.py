"""How often work is done that could be done again and again."""

import contextlib
import time
from collections.abc import Iterator

# After it was done, so many times as long as it took without doing it again.
REST = 10


class Pace:
    """Says when work is cheap: as often as it takes a small part of the time."""

    def __init__(self) -> None:
        """Have it be cheap now."""
        self._next = 0.0

    def left_s(self) -> float:
        """Give the seconds until it is cheap; 0 if it is now."""
        return max(0.0, self._next - time.monotonic())

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Do it inside."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self._next = ended + REST * (ended - began)
