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
        text = self._rest + self._decoder.decode(chunk)
        *whole, self._rest = text.split("\n")
        if "\r" in text:
            whole = [line.rstrip("\r") for line in whole]
        if len(max(whole, key=len, default="")) > LONGEST_LINE:
            whole = [piece for line in whole for piece in _pieces(line)]
        for line in whole:
            self._on_line(line)
        if len(self._rest) > LONGEST_LINE:
            *pieces, self._rest = _pieces(self._rest)
            for piece in pieces:
                self._on_line(piece)

    def end(self) -> None:
        """Take the end of the stream."""
        self._rest += self._decoder.decode(b"", final=True)
        if self._rest:
            for piece in _pieces(self._rest):
                self._on_line(piece)


def _pieces(line: str) -> list[str]:
    return [line[start : start + LONGEST_LINE] for start in range(0, max(len(line), 1), LONGEST_LINE)]
