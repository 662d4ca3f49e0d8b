"""One run at a time per workspace, also across containers: DVC's own lock does not hold there."""

import contextlib
import datetime as dt
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from dvc_runner.errors import WorkspaceBusyError


@contextlib.contextmanager
def held(folder: Path, container: str | None = None) -> Iterator[None]:
    """Hold the run lock in ``folder``, from within ``container`` if a name is given.

    It is the kernel's (``flock``): it ends with its holder, however that ends.

    Raises:
        WorkspaceBusyError: Another run holds it; the message says who and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder, way_to_stop = _holder(file.read())
            raise WorkspaceBusyError(
                f"another run is at work here{holder}", remedy=f"let it end, or stop it: {way_to_stop}"
            ) from None
        file.truncate(0)
        since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "container": container, "since": since}, file)
        file.flush()
        yield


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
