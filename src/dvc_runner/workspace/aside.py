"""Files set aside for a moment, so that what replaces them can fail without loss."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dvc_runner.interrupts import INTERRUPTS


@contextlib.contextmanager
def aside(paths: Sequence[Path], parent: Path) -> Iterator[Callable[[], None]]:
    """Move what exists of ``paths`` into a folder below ``parent``, on the same file system.

    Yields a function that makes everything as it was, what was not there included; so does an
    exception. Otherwise what was moved is deleted.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="aside-", dir=parent))
    moved: list[tuple[Path, Path | None]] = []

    def put_back() -> None:
        errors = []
        while moved:
            path, kept = moved.pop()
            try:
                remove(path)
                if kept:
                    kept.rename(path)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    try:
        for number, path in enumerate(paths):
            kept = folder / str(number) if os.path.lexists(path) else None
            with INTERRUPTS.postponed():
                if kept:
                    path.rename(kept)
                moved.append((path, kept))
        yield put_back
    except BaseException:
        with INTERRUPTS.postponed():
            put_back()  # what cannot be put back stays in the folder
            folder.rmdir()
        raise
    remove(folder)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
