"""Which files say that nothing has to run, looked at before DVC reads them. A part of the DVC adapter."""

import os
import posixpath
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.dependency import DatasetDependency, DbDependency
from dvc.utils.serialize import load_yaml

from dvc_runner.workspace.stamps import Stamp, below, of_one
from dvc_runner.workspace.up_to_date import SECOND_NS, TICK_S, Look, telling

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage as DvcStage

Folders = dict[str, tuple[Stamp, tuple[str, ...]]]
LOCK = "dvc.lock"


class Watch:
    """What a run looks at, from before DVC reads anything on.

    As soon as something may have changed after DVC read it, nothing is proved any more.
    """

    def __init__(self, repo: "Repo") -> None:
        """Begin now."""
        self._repo = repo
        self._began = time.time() - TICK_S
        self._project: dict[str, Stamp | None] = {}
        self._folders: Folders = {}
        self._asked: dict[str, Stamp | None] = {}
        self._proved: dict[str, Stamp | None] = {}
        self._by_stage: set[str] = set()
        self._is_unsure = False

    def see_project(self) -> None:
        """Look at what says which stages there are, as soon as DVC has read it."""
        self._folders = dict(self._walked())
        self._project = {path: of_one(path) for path in self._telling(self._folders)}
        times = [one[-1] for one in self._project.values() if one]
        self._is_unsure = self._is_unsure or any(one >= self._began * SECOND_NS for one in times)

    def seen(self, stage: "DvcStage") -> dict[str, Stamp | None]:
        """Look at what a stage reads and writes, before DVC is asked about it."""
        found: dict[str, Stamp | None] = {}
        for entry in (*stage.deps, *stage.outs):
            if isinstance(entry, DatasetDependency | DbDependency) or entry.protocol != "local":
                self._is_unsure = True
                continue
            found |= below(entry.fs_path)
        self._asked |= found
        return found

    def proved(self, stage: "DvcStage", found: Mapping[str, Stamp | None]) -> None:
        """Take that DVC found a stage up to date after it looked like that."""
        self._by_stage.add(str(stage.addressing))
        for path, one in found.items():
            self._is_unsure = self._is_unsure or self._proved.setdefault(path, one) != one
        for out in stage.outs:
            self._proved |= {path: of_one(path) for path in self._cached(out)}

    def is_proved(self, address: str) -> bool:
        """Say whether DVC found a stage up to date."""
        return address in self._by_stage

    def look(
        self, order: tuple[str, ...], locks: Mapping[str, Stamp | None], older: Mapping[str, Stamp | None]
    ) -> Look:
        """Give what all of it looks like.

        Args:
            order: The stages, in order.
            locks: The dvc.lock files that we wrote, as we left them.
            older: What files looked like when earlier runs looked at them.
        """
        folders, project = self._folders, self._project
        if locks:
            # Stages ran: there are new folders, and entries in .gitignore.
            folders = dict(self._walked())
            project = {path: of_one(path) for path in self._telling(folders)}
        ours = {path for path in project if path in locks or posixpath.basename(path) == ".gitignore"}
        before = {path: one for path, one in self._project.items() if path not in ours}
        after = {path: one for path, one in project.items() if path not in ours}
        is_whole = (
            not self._is_unsure
            and before == after
            and self._by_stage.issuperset(order)
            and all(project.get(path) == one for path, one in locks.items())
        )
        files = {**({} if is_whole else {**older, **self._asked}), **project, **self._proved}
        return Look(stages=order, files=files, folders=folders, whole=is_whole)

    def _walked(self) -> Iterator[tuple[str, tuple[Stamp, tuple[str, ...]]]]:
        """Walk the folders in which DVC looks for files of its own."""
        repo = self._repo
        outs = {out.fs_path for out in repo.index.outs if out.protocol == "local"}
        for folder, folders, _ in repo.dvcignore.walk(repo.fs, repo.root_dir, followlinks=False):
            one = of_one(folder)
            if one:
                yield folder, (one, telling(folder))
            paths = [(name, os.path.join(folder, name)) for name in folders]  # noqa: PTH118 - DVC's paths are texts
            folders[:] = [name for name, path in paths if path not in outs and not repo.scm.is_ignored(f"{path}/")]

    def _telling(self, folders: Folders) -> set[str]:
        """Give the files that say which stages there are, and how DVC handles them; some may not exist."""
        repo = self._repo
        found = {os.path.join(folder, n) for folder, (_, names) in folders.items() for n in names}  # noqa: PTH118
        files = {path for path in found if path not in folders and not Path(path).is_dir()}
        files |= {stage.path for stage in repo.index.stages} | set(repo.config.files.values())
        pipelines = {path for path in files if posixpath.basename(path).endswith((".yaml", ".yml"))}
        for path in pipelines:
            files |= {os.path.splitext(path)[0] + ".lock", *self._vars(Path(path))}  # noqa: PTH122
        files.add(os.path.join(repo.root_dir, ".git", "info", "exclude"))  # noqa: PTH118
        return files

    def _vars(self, path: Path) -> set[str]:
        """Give the files that a dvc.yaml takes values from."""
        found = {str(path.parent / "params.yaml")}
        if not path.is_file() or "vars:" not in path.read_text("utf-8"):
            return found
        whole: dict[str, Any] = load_yaml(str(path))
        places = [(path.parent, whole.get("vars"))]
        for stage in whole.get("stages", {}).values():
            stage = stage.get("do", stage)  # noqa: PLW2901 - of a foreach
            wdir = str(stage.get("wdir", "."))
            self._is_unsure = self._is_unsure or ("${" in wdir and "vars" in stage)
            places.append((path.parent / wdir, stage.get("vars")))
        for folder, entries in places:
            names = [entry.partition(":")[0] for entry in entries or () if isinstance(entry, str)]
            found |= {os.path.normpath(folder / name) for name in names}
        return found

    def _cached(self, out: "Output") -> list[str]:
        """Give where the cache has an out's content."""
        if not out.use_cache or not out.hash_info:
            return []
        ids = [str(out.hash_info.value)]
        obj = out.get_obj() if out.hash_info.isdir else None
        if obj is not None:
            ids += [str(one.value) for _, _, one in obj]
        return [out.cache.oid_to_path(one) for one in ids]
