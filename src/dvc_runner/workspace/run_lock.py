"""One run at a time per workspace, also across containers: DVC's own lock does not hold there."""

import contextlib
import datetime as dt
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dvc_runner.errors import WorkspaceBusyError
from dvc_runner.workspace.holding import is_taken

LOOK_S = 0.2
# A holder writes its name once it has the lock: within this time, however busy the machine.
NAMED_S = 5.0


@contextlib.contextmanager
def held(
    folder: Path, container: str | None = None, *, wait_s: float = 0, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Hold the run lock in ``folder``.

    It is the kernel's (``flock``): it ends with its holder, however that ends.

    Args:
        folder: Made if it is missing.
        container: The name of the container that we run in, if we do.
        wait_s: How long to wait for another run's end.
        on_wait: Is told who is waited for.

    Raises:
        WorkspaceBusyError: Another run holds it; the message says who and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        begun = time.monotonic()
        told = ""
        while not is_taken(file.fileno()):
            file.seek(0)
            holder, way_to_stop = _holder(file.read())
            waited_s = time.monotonic() - begun
            is_known = holder or waited_s >= NAMED_S
            if is_known and waited_s >= wait_s:
                raise WorkspaceBusyError(
                    f"another run is at work here{holder}",
                    remedy=f"let it end (--wait waits for that), or stop it: {way_to_stop}",
                )
            if is_known and holder != told:
                on_wait(f"waiting for another run that is at work here{holder}")
                told = holder
            time.sleep(LOOK_S)
        file.truncate(0)
        since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "container": container, "since": since}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> tuple[str, str]:
    """Say who holds the lock, and how to stop it."""
    ctrl_c = "Ctrl-C where it runs"
    try:
        holder = json.loads(text)
        since = f"since {holder['since']}"
        if holder["container"]:
            return f" (container {holder['container']}, {since})", f"docker stop {holder['container']}"
        return f" (process {holder['pid']} on {holder['host']}, {since})", ctrl_c
    except (ValueError, KeyError, TypeError):
        return "", ctrl_c
