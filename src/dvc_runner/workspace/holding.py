"""Files and folders that are held as long as their holder lives, by the kernel's lock (``flock``).

A folder of ours that nobody holds, a lost runner left behind.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def is_taken(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file unless somebody else holds it; say whether that was done."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder``; the kernel lets go of it when this process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def taken_over(folder: Path) -> Iterator[None]:
    """Hold a folder that somebody else made.

    Raises:
        OSError: Its maker lives, or it is not ours to open.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
