"""The second link between a runner and its guards, which the engine has no hand in."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from dvc_runner.engine.guard_main import LINK


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock on a file in ``folder`` that a guard waits for.

    The kernel lets go of it together with this process. Where files cannot be locked, the guard
    sees that it is not held, and has its standard input alone.
    """
    folder.chmod(0o755)
    with (folder / Path(LINK).name).open("wb") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
