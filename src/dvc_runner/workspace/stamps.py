"""What the file system tells of files without their content being read."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

# Inode, size, time of the last change of content, and of any change: the last cannot be set by anybody.
Stamp = tuple[int, int, int, int]


def of_one(path: str) -> Stamp | None:
    """Give the stamp of what is at ``path``, links followed; None if nothing is."""
    try:
        found = os.stat(path)  # noqa: PTH116 - ten thousand times over, pathlib takes as long again
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def of_content(path: str) -> tuple[int, ...] | None:
    """Give the stamp without its last time, which changes too where a second link to the file is made."""
    stamp = of_one(path)
    return stamp[:-1] if stamp else None


def below(path: str) -> dict[str, Stamp | None]:
    """Give the stamp of a file, or of a folder and all that is in it."""
    found = {path: of_one(path)}
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            one = os.path.join(folder, name)  # noqa: PTH118 - DVC knows files by such texts
            found[one] = of_one(one)
    return found


def of_files(paths: Iterable[str]) -> dict[str, Stamp | None]:
    """Give the stamp of each file among ``paths`` and in folders among them, links left out."""
    found = (one for path in paths for one in below(path).items())
    return {path: stamp for path, stamp in found if Path(path).is_file() and not Path(path).is_symlink()}


def keep_newest(files: Iterable[Path], count: int) -> None:
    """Remove files, the longest unchanged first, until so many are left."""
    found = [*files]
    if len(found) > count:
        for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)[:-count]:
            path.unlink()


def disguised(before: Mapping[str, Stamp | None], now: Mapping[str, Stamp | None]) -> list[str]:
    """Give the files of which only that last time differs: they may hold something else all the same."""
    both = ((path, before[path], now[path]) for path in before.keys() & now.keys())
    return [path for path, old, new in both if old and new and old != new and old[:-1] == new[:-1]]
