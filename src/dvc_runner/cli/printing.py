"""Where lines go."""

import io
import os
import shutil
import sys
import threading
from collections.abc import Callable

ERASE = "\r\x1b[K"
_screen = threading.RLock()
_live = ""


def print_anything() -> None:
    """Let no line fail for a character that the terminal, or UTF-8, does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def out(line: str) -> None:
    """Print a line of a command's result."""
    with _screen:
        _erase()
        print(line, flush=True)
        _redraw()


def err(line: str) -> None:
    """Print a line for people, beside a command's result."""
    with _screen:
        _erase()
        print(line, file=sys.stderr, flush=True)
        _redraw()


def live() -> Callable[[str], None] | None:
    """Give what shows the one line that changes, below all others; None where there is no terminal."""
    return _show if sys.stderr.isatty() else None


def machine_readable() -> Callable[[str], None]:
    """Keep stdout for what machines read; whatever else is printed there goes to stderr."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    return lambda line: print(line, file=kept, flush=True)


def _show(line: str) -> None:
    """Take the place of the live line; an empty one ends it."""
    global _live  # noqa: PLW0603 - there is one screen
    with _screen:
        _erase()
        _live = "".join(c if c.isprintable() else " " for c in line)
        _redraw()


def _erase() -> None:
    if _live:
        print(ERASE, end="", file=sys.stderr, flush=True)


def _redraw() -> None:
    if _live:
        width = shutil.get_terminal_size().columns - 1
        print(_live[:width], end="", file=sys.stderr, flush=True)
