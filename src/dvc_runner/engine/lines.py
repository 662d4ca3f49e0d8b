"""A stream of bytes cut into lines."""

import codecs
from collections.abc import Callable

LONGEST_LINE = 8192


class Lines:
    """Hands lines over as they become whole; over-long ones are cut up, never inside a character."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        """Hand each line to ``on_line``, without its end."""
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        *whole, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        for line in whole:
            self._hand_over(line.rstrip("\r"))
        while len(self._rest) > LONGEST_LINE:
            self._on_line(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def end(self) -> None:
        """Take the end of the stream."""
        self._rest += self._decoder.decode(b"", final=True)
        if self._rest:
            self._hand_over(self._rest)

    def _hand_over(self, line: str) -> None:
        for start in range(0, max(len(line), 1), LONGEST_LINE):
            self._on_line(line[start : start + LONGEST_LINE])
