"""The entries of .gitignore, in the order in which ``dvc repro`` makes them. A part of the DVC adapter."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_runner.workspace.dvc_lock import replace
from dvc_runner.workspace.pace import Pace

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(kw_only=True)
class _Added:
    """The entries that were added to a file: after how many lines, and the ranks of their stages."""

    start: int
    ranks: list[int] = field(default_factory=list)


class Ignored:
    """What DVC adds to .gitignore files while stages end in whatever order; it is sorted as often as is cheap."""

    def __init__(self, repo: "Repo") -> None:
        """Watch the entries that are added to a repository from now on."""
        self._repo = repo
        self._added: dict[Path, _Added] = {}
        self._unsorted: set[Path] = set()
        self._pace = Pace()

    @contextlib.contextmanager
    def in_order(self, rank: int) -> Iterator[None]:
        """Take the entries that DVC adds inside: they come between those of stages with lower and higher ranks."""
        paths = self._repo.scm_context.ignored_paths
        before = len(paths)
        try:
            yield
        finally:
            for folder, fresh in Counter(Path(path).parent for path in paths[before:]).items():
                self._take(folder / ".gitignore", rank, fresh)
        if not self._pace.left_s():
            self.sort()

    def _take(self, path: Path, rank: int, fresh: int) -> None:
        """Take that the last ``fresh`` lines of a file were just added."""
        if path not in self._added:
            self._added[path] = _Added(start=len(_lines(path)) - fresh)
        ranks = self._added[path].ranks
        if ranks and ranks[-1] > rank:
            self._unsorted.add(path)
        ranks += [rank] * fresh

    def sort(self) -> None:
        """Bring all entries into their places."""
        with self._pace.working():
            while self._unsorted:
                self._sort(self._unsorted.pop())

    def _sort(self, path: Path) -> None:
        added, lines = self._added.pop(path), _lines(path)
        if len(lines) != added.start + len(added.ranks):
            # Somebody else wrote to it meanwhile: what stands there stays.
            return
        entries = sorted(zip(added.ranks, lines[added.start :], strict=True), key=lambda one: one[0])
        replace(path, "".join([*lines[: added.start], *(line for _, line in entries)]), Path(self._repo.tmp_dir))
        self._added[path] = _Added(start=added.start, ranks=[rank for rank, _ in entries])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
