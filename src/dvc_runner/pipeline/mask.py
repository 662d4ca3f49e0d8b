"""Secrets' values kept out of what is shown and stored."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "*****"
SHORTEST = 4
# A line of so many characters or more is a piece of one that was cut up.
CUT = 8192


class Mask:
    """Hands lines on with every secret value replaced, in whatever form a program may write it.

    A value is found also where it goes on in the next line or piece of a line. A line that ends
    with the beginning of one is held back until the next comes, or ``flush`` is called.
    """

    def __init__(
        self, values: Iterable[str], on_line: Callable[[str], None], *, cut: int = CUT, joined: Iterable[str] = ()
    ) -> None:
        """Hide ``values``, and what ``joined`` becomes in a header; those too short to be told from words are left."""
        forms = {form for value in values for form in _forms(value)} | {_encoded(pair) for pair in joined}
        self._forms = tuple(
            sorted((form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form))
        )
        self._pattern = re.compile("|".join(map(re.escape, self._forms)))
        # With a lookahead a match is empty, so that those that overlap are found too.
        self._heads = re.compile("|".join(f"(?={re.escape(head)})" for head in {f[:SHORTEST] for f in self._forms}))
        self._shorts = frozenset(form[:size] for form in self._forms for size in range(1, SHORTEST))
        self._reach = max(map(len, self._forms), default=1) - 1
        self._cut = cut
        self._on_line = on_line
        self._before = ""
        self._is_held = False

    def __call__(self, line: str) -> None:
        """Take one line; hand it on now, or with the next."""
        if not self._forms:
            self._on_line(line)
            return
        is_piece = len(line) >= self._cut
        before, line = self._across(self._before, line)
        if self._is_held:
            self._on_line(before)
        if any(form in line for form in self._forms):
            line = self._pattern.sub(MASK, line)
        begun = self._begun(line)
        self._is_held = is_piece or begun >= SHORTEST
        self._before = line if self._is_held else line[len(line) - begun :]
        if not self._is_held:
            self._on_line(line)

    def flush(self) -> None:
        """Hand on what was held back: no more is to come."""
        if self._is_held:
            self._on_line(self._before)
        self._before, self._is_held = "", False

    def _across(self, first: str, second: str) -> tuple[str, str]:
        """Mask what begins in ``first`` and ends in ``second``."""
        start = max(len(first) - self._reach, 0)
        for match in self._pattern.finditer(first[start:] + second[: self._reach]) if first else ():
            begin, end = match.start() + start, match.end() + start
            if begin < len(first) < end:
                return first[:begin] + MASK, second[end - len(first) :]
        return first, second

    def _begun(self, line: str) -> int:
        """Say how much of the end of ``line`` is the beginning of a value."""
        tail = line[-self._reach :]
        for match in self._heads.finditer(tail):
            rest = tail[match.start() :]
            if any(form.startswith(rest) for form in self._forms):
                return len(rest)
        short = tail[1 - SHORTEST :]
        return next((len(short) - n for n in range(len(short)) if short[n:] in self._shorts), 0)


def _forms(value: str) -> Iterator[str]:
    """Give a value as programs write it: as it is, line by line, quoted, and in base64."""
    yield value
    if "\n" in value:
        yield from (line.strip() for line in value.splitlines())
    yield value.replace("%", "%%")  # as configparser writes it
    yield from (quote(value), quote(value, safe=""), quote_plus(value))
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])
    data = value.encode("utf-8", "surrogateescape")
    for offset in range(3):
        # Within a longer text it may begin at any of three places; the characters at its ends belong to its neighbours.
        whole = base64.b64encode(bytes(offset) + data).decode().rstrip("=")
        inner = whole[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


def _encoded(pair: str) -> str:
    """Give ``user:password`` as the Authorization header has it."""
    return base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode().rstrip("=")
