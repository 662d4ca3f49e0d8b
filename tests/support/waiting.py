"""Waiting for what happens in another process, where nothing can be subscribed to."""

import time
from collections.abc import Callable
from pathlib import Path

STEP_S = 0.05


def until(true: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait until ``true()`` holds; say whether it ever did."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(STEP_S)
    return True


def runs(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
