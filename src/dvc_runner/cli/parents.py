"""DVC, which started us, and the shell between us: without them nobody waits for the stage."""

import os
import signal
import threading
import time
from pathlib import Path

EVERY_S = 0.5
VARIABLE = b"DVC_STAGE="
PARENT_FIELD = 1


def end_with_dvc() -> None:
    """Interrupt this process as soon as DVC is gone: whoever kills DVC alone leaves its command behind."""
    threading.Thread(target=_watch, args=(_ancestors(),), daemon=True).start()


def _watch(ancestors: list[tuple[int, int]]) -> None:
    while all(_parent(pid) == parent for pid, parent in ancestors):
        time.sleep(EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _ancestors() -> list[tuple[int, int]]:
    """Give processes and their parents, from us up to DVC: what it starts has DVC_STAGE set, and it has not."""
    found = [(os.getpid(), os.getppid())]
    while _is_between(found[-1][1]):
        pid = found[-1][1]
        found.append((pid, _parent(pid)))
    return found


def _is_between(pid: int) -> bool:
    try:
        return b"\0" + VARIABLE in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # no /proc, or nobody we may look at
        return False


def _parent(pid: int) -> int:
    if pid == os.getpid():
        return os.getppid()
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[PARENT_FIELD])
    except OSError:
        return 0
