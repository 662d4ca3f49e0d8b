"""What dvc.lock does not hold yet, kept so that it outlives a kill. A part of the DVC adapter."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from dvc_runner.workspace.holding import is_taken
from dvc_runner.workspace.stamps import of_content

NAME = "dvc.lock.journal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """The block of a stage that ended: for which dvc.lock, in place of which block, if any, and of which outs.

    Paths are relative to the journal's folder, which may lie elsewhere in a container; an out has the beginning of
    its stamp.
    """

    lock: str
    rank: int
    block: str
    before: str | None
    outs: Mapping[str, Sequence[int] | None]


class Journal:
    """Notes of what is still to be written, one a line. One that its writer does not hold is left by a kill."""

    def __init__(self, folder: Path) -> None:
        """Keep it in ``folder``."""
        self._folder = folder
        self._path = folder / NAME
        self._file: TextIO | None = None

    def add(self, lock: Path, block: str, rank: int, before: str | None, outs: Iterable[str]) -> None:
        """Note a block; ``outs`` are the paths of what its stage wrote."""
        places = [os.path.relpath(out, self._folder) for out in outs]
        note = Note(
            lock=os.path.relpath(lock, self._folder),
            rank=rank,
            block=block,
            before=before,
            outs={place: self._look(place) for place in places},
        )
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
            is_taken(self._file.fileno())
        self._file.write(json.dumps(asdict(note)) + "\n")
        self._file.flush()

    def left(self) -> Iterator[tuple[Path, Note]]:
        """Give a killed run's notes of stages whose outs nobody touched since, each with the path of its dvc.lock."""
        with contextlib.suppress(FileNotFoundError):
            file = self._path.open(encoding="utf-8", errors="replace")
            if not is_taken(file.fileno()):
                file.close()
                return
            self._file = file
            for line in file:
                # The last one may be cut off.
                with contextlib.suppress(ValueError, TypeError):
                    note = Note(**json.loads(line))
                    lock = (self._folder / note.lock).resolve()
                    if lock.with_suffix(".yaml").is_file() and all(self._look(p) == o for p, o in note.outs.items()):
                        yield lock, note

    def clear(self) -> None:
        """Forget all notes that are ours, or were left to us: they are written."""
        if self._file:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _look(self, place: str) -> list[int] | None:
        # DVC's cache may get a link to it.
        stamp = of_content(str(self._folder / place))
        return [*stamp] if stamp else None
