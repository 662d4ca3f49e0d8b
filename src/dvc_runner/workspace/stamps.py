"""What the file system tells of files without their content being read."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

# Inode, size, time of the last change of content, and of any change: the last cannot be set by anybody.
Stamp = tuple[int, int, int, int]


def of_files(paths: Iterable[str]) -> dict[str, Stamp]:
    """Give the stamp of each file among ``paths`` and in folders among them, links left out."""
    found: dict[str, Stamp] = {}
    for path in paths:
        _add(found, path)
        for folder, _, names in os.walk(path):
            for name in names:
                _add(found, os.path.join(folder, name))  # noqa: PTH118 - DVC knows files by such texts
    return found


def disguised(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> list[str]:
    """Give the files of which only that last time differs: they may hold something else all the same."""
    both = before.keys() & now.keys()
    return [path for path in both if before[path] != now[path] and before[path][:-1] == now[path][:-1]]


def _add(found: dict[str, Stamp], path: str) -> None:
    if Path(path).is_file() and not Path(path).is_symlink():
        state = Path(path).stat()
        found[path] = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
