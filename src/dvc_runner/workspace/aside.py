"""Files set aside for a moment, so that what replaces them can fail without loss."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def aside(paths: Sequence[Path], parent: Path) -> Iterator[Callable[[], None]]:
    """Move what exists of ``paths`` into a folder below ``parent``, on the same file system.

    Yields a function that moves everything back; so does an exception. Otherwise it is deleted.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="aside-", dir=parent))
    moved: list[tuple[Path, Path]] = []

    def put_back() -> None:
        while moved:
            path, kept = moved.pop()
            remove(path)
            kept.rename(path)

    try:
        for number, path in enumerate(paths):
            if path.exists() or path.is_symlink():
                path.rename(folder / str(number))
                moved.append((path, folder / str(number)))
        yield put_back
    except BaseException:
        put_back()
        raise
    finally:
        remove(folder)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
