"""The entries of .gitignore, in the order in which ``dvc repro`` makes them. A part of the DVC adapter."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_runner.workspace.dvc_lock import replace

if TYPE_CHECKING:
    from dvc.repo import Repo


class Ignored:
    """What DVC adds to .gitignore files while stages end in whatever order."""

    def __init__(self, repo: "Repo") -> None:
        """Watch the entries that are added to a repository from now on."""
        self._repo = repo
        self._added: dict[Path, list[tuple[int, str]]] = {}

    @contextlib.contextmanager
    def in_order(self, rank: int) -> Iterator[None]:
        """Put the entries that DVC adds inside between those of stages with lower and higher ranks."""
        paths = self._repo.scm_context.ignored_paths
        before = len(paths)
        yield
        for folder, fresh in Counter(Path(path).parent for path in paths[before:]).items():
            self._sort(folder / ".gitignore", rank, fresh)

    def _sort(self, path: Path, rank: int, fresh: int) -> None:
        """Bring the last ``fresh`` lines of a file, which DVC just added, into their places."""
        lines = path.read_text("utf-8").splitlines(keepends=True)
        known = self._added.get(path, [])
        start = len(lines) - fresh - len(known)
        if start < 0 or lines[start : len(lines) - fresh] != [line for _, line in known]:
            # Somebody else wrote to it meanwhile: what stands there stays.
            known, start = [], len(lines) - fresh
        added = sorted([*known, *((rank, line) for line in lines[-fresh:])], key=lambda one: one[0])
        self._added[path] = added
        in_order = [line for _, line in added]
        if lines[start:] != in_order:
            replace(path, "".join([*lines[:start], *in_order]), Path(self._repo.tmp_dir))
