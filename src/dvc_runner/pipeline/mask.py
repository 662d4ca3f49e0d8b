"""Secrets' values kept out of what is shown and stored."""

from collections.abc import Callable

MASK = "*****"
SHORTEST = 4


class Mask:
    """Hands lines on with every secret value replaced."""

    def __init__(self, values: tuple[str, ...], on_line: Callable[[str], None]) -> None:
        """Hide ``values``; those too short to be told from words are left."""
        longest_first = sorted(values, key=len, reverse=True)
        self._values = tuple(value for value in longest_first if len(value) >= SHORTEST)
        self._on_line = on_line

    def __call__(self, line: str) -> None:
        """Hand on one line."""
        for value in self._values:
            line = line.replace(value, MASK)
        self._on_line(line)
