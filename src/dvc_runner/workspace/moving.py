"""Files and folders brought to where a rename puts them into place: at once, and whole."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dvc_runner.workspace import mounts
from dvc_runner.workspace.aside import remove

TELL_S = 3
CHUNK = 2**20
GIGABYTE = 10**9


@contextlib.contextmanager
def brought_near(
    moves: Sequence[tuple[Path, Path]], note: Path, say: Callable[[str], None]
) -> Iterator[tuple[Path, ...]]:
    """Give, for each (source, target), what a rename puts at the target.

    That is the source itself, unless the target's folder is on another mount: then a copy of it
    beside the target. A copy that is not renamed is removed in the end.

    Args:
        moves: What is to be moved, and whereto; the targets' folders are there.
        note: Where the copies' places are written down, for whoever tidies up after a SIGKILL.
        say: Takes a line every few seconds about how far the copies came.
    """
    mounted = mounts.points()
    near = [
        source
        if mounts.of(source.parent.resolve(), mounted) == mounts.of(target.parent.resolve(), mounted)
        else target.with_name(f".{note.parent.name}-{number}")
        for number, (source, target) in enumerate(moves)
    ]
    copies = [(source, place) for (source, _), place in zip(moves, near, strict=True) if place != source]
    try:
        if copies:
            note.write_text("".join(f"{place}\0" for _, place in copies), encoding="utf-8", errors="surrogateescape")
            _copy(copies, _Progress(sum(_size(source) for source, _ in copies), say))
        yield tuple(near)
    finally:
        for _, place in copies:
            remove(place)


def remove_noted(note: Path) -> None:
    """Remove the copies that a killed runner left."""
    if note.is_file():
        for place in note.read_text("utf-8", "surrogateescape").split("\0"):
            if place:
                remove(Path(place))


def _copy(copies: Sequence[tuple[Path, Path]], progress: "_Progress") -> None:
    for source, place in copies:
        if not source.is_dir():
            progress.copy(source, place)
            continue
        for name, names, files in os.walk(source):
            here, there = Path(name), place / Path(name).relative_to(source)
            there.mkdir()
            shutil.copystat(here, there)
            for leaf in (*names, *files):
                if (here / leaf).is_symlink():
                    (there / leaf).symlink_to((here / leaf).readlink())
                elif leaf in files:
                    progress.copy(here / leaf, there / leaf)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(Path(here, name).lstat().st_size for here, _, names in os.walk(path) for name in names)


class _Progress:
    """Copies files, and says every few seconds how far it came."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total = total
        self._say = say
        self._done = 0
        self._next = time.monotonic() + TELL_S

    def copy(self, source: Path, place: Path) -> None:
        with source.open("rb") as reader, place.open("wb") as writer:
            while chunk := reader.read(CHUNK):
                writer.write(chunk)
                self._came(len(chunk))
        shutil.copystat(source, place)

    def _came(self, size: int) -> None:
        self._done += size
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_S
            self._say(f"copying outs to another disk: {self._done / GIGABYTE:.1f} of {self._total / GIGABYTE:.1f} GB")
