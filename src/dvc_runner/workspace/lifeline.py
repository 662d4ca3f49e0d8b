"""The tie of a runner in a container to whoever started it: a file that they keep locked while they live.

It is the kernel's lock (``flock``), so it ends with its holder, however that ends; it holds across
containers, and also while the engine is away.
"""

import contextlib
import fcntl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dvc_runner.errors import ConfigurationError, EngineError
from dvc_runner.workspace.holding import is_taken


@contextlib.contextmanager
def tied(path: Path | None, end: Callable[[], None]) -> Iterator[None]:
    """Call ``end``, on a thread, once nobody holds ``path`` locked; without a path, never.

    Raises:
        ConfigurationError: There is no such file.
        EngineError: Nobody holds it even now.
    """
    if path is None:
        yield
        return
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"DVC_RUNNER_CLIENT is {path}: {error.strerror}", remedy="leave it unset, or name a file that is locked"
        ) from error
    with file:
        if is_taken(file.fileno(), fcntl.LOCK_SH):
            raise EngineError("whoever started this container is gone", remedy="run again")
        over = threading.Event()

        def wait() -> None:
            # Once over, the file is closed.
            with contextlib.suppress(OSError, ValueError):
                fcntl.flock(file, fcntl.LOCK_SH)
                if not over.is_set():
                    end()

        threading.Thread(target=wait, daemon=True).start()
        try:
            yield
        finally:
            over.set()
            with contextlib.suppress(OSError):
                path.unlink()
