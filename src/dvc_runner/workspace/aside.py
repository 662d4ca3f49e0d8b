"""Files set aside for a moment, so that what replaces them can fail, or be killed, without loss."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.workspace.holding import held, taken_over

JOURNAL = "journal.json"


@contextlib.contextmanager
def aside(paths: Sequence[Path], parent: Path, *, incoming: Sequence[Path] = ()) -> Iterator[Callable[[], None]]:
    """Move what exists of ``paths`` into a folder below ``parent``, or beside itself on another mount.

    Yields a function that makes everything as it was, what was not there included; so does an
    exception. Otherwise what was moved is deleted. A journal in the folder lets ``recover`` do the
    same after a SIGKILL.

    Args:
        paths: What to move; nothing there is fine.
        parent: Where the folder is made.
        incoming: What will be renamed to each of ``paths``, if that is known.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="aside-", dir=parent))
    with held(folder):
        moves = _Moves(folder=folder, paths=tuple(paths), identities=tuple(map(_identity, incoming)))
        try:
            with INTERRUPTS.postponed():
                moves.write_journal(complete=False)
                moves.take()
            yield moves.put_back
        except BaseException:
            with INTERRUPTS.postponed():
                moves.put_back()  # what cannot be put back stays in the folder, and the next run tries again
                remove(folder)
            raise
        with INTERRUPTS.postponed():
            if moves.taken:
                moves.write_journal(complete=True)
            moves.drop()


def recover(parent: Path) -> tuple[Path, ...]:
    """Finish what killed runners began below ``parent``: give what was put back.

    What replaces the files had come wholly, and stays, or is removed and the former files put back.
    """
    found: list[Path] = []
    for folder in sorted(parent.glob("aside-*")):
        # Held by its runner, gone meanwhile, or another user's: not ours to touch.
        with contextlib.suppress(BlockingIOError, FileNotFoundError, PermissionError), taken_over(folder):
            found += _recovered(folder)
    return tuple(found)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(kw_only=True, slots=True)
class _Moves:
    """What is set aside, and where; ``identities`` are those of what comes in place of ``paths``."""

    folder: Path
    paths: tuple[Path, ...]
    identities: tuple[tuple[int, int] | None, ...]
    taken: list[tuple[Path, Path | None]] = field(default_factory=list)

    def write_journal(self, *, complete: bool) -> None:
        written = {"complete": complete, "paths": list(map(str, self.paths)), "incoming": self.identities}
        draft = self.folder / f"{JOURNAL}.draft"
        draft.write_text(json.dumps(written), encoding="utf-8")
        draft.rename(self.folder / JOURNAL)

    def take(self) -> None:
        for path, places in zip(self.paths, self.places(), strict=True):
            self.taken.append((path, _moved(path, places) if os.path.lexists(path) else None))

    def put_back(self) -> None:
        errors = []
        while self.taken:
            path, kept = self.taken.pop()
            try:
                remove(path)
                if kept:
                    kept.rename(path)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def drop(self) -> None:
        for places in self.places():
            for place in places:
                remove(place)
        remove(self.folder)

    def find_taken(self) -> None:
        """Find what a killed runner had set aside, and what it had put in place of nothing."""
        identities = (*self.identities, *[None] * len(self.paths))
        for path, places, identity in zip(self.paths, self.places(), identities, strict=False):
            kept = next((place for place in places if os.path.lexists(place)), None)
            if kept or (identity and _identity(path) == identity):
                self.taken.append((path, kept))

    def places(self) -> list[tuple[Path, Path]]:
        """Give the two places that each path may be kept in."""
        return [
            (self.folder / str(number), path.with_name(f".{self.folder.name}-{number}"))
            for number, path in enumerate(self.paths)
        ]


def _moved(path: Path, places: tuple[Path, Path]) -> Path:
    try:
        path.rename(places[0])
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        path.rename(places[1])
        return places[1]
    return places[0]


def _recovered(folder: Path) -> list[Path]:
    try:
        journal = json.loads((folder / JOURNAL).read_text("utf-8"))
    except FileNotFoundError:
        journal = {"complete": True, "paths": [], "incoming": []}  # killed before it moved anything
    incoming = tuple(tuple(one) if one else None for one in journal["incoming"])
    moves = _Moves(folder=folder, paths=tuple(map(Path, journal["paths"])), identities=incoming)
    put_back: list[Path] = []
    if not journal["complete"]:
        moves.find_taken()
        put_back = [path for path, kept in moves.taken if kept]
        moves.put_back()
    moves.drop()
    return put_back


def _identity(path: Path) -> tuple[int, int] | None:
    """Give what a file or folder is known by wherever it is renamed to."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
