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
def held(folder: Path) -> Iterator[None]:
    """Hold the run lock in ``folder``.

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
            raise WorkspaceBusyError(
                f"another run is at work here{_holder(file.read())}",
                remedy="let it end, or stop it with Ctrl-C where it runs",
            ) from None
        file.truncate(0)
        since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, file)
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
