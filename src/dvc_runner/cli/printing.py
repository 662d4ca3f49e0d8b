"""Where lines go."""

import io
import os
import sys
from collections.abc import Callable


def print_anything() -> None:
    """Let no line fail for a character that the terminal, or UTF-8, does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def out(line: str) -> None:
    """Print a line of a command's result."""
    print(line, flush=True)


def err(line: str) -> None:
    """Print a line for people, beside a command's result."""
    print(line, file=sys.stderr, flush=True)


def machine_readable() -> Callable[[str], None]:
    """Keep stdout for what machines read; whatever else is printed there goes to stderr."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    return lambda line: print(line, file=kept, flush=True)
