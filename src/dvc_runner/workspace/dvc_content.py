"""How deps and outs differ from what dvc.lock has of them. A part of the DVC adapter."""

import contextlib
import json
from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dvc_data.hashfile.build import build
from dvc_data.hashfile.tree import Tree

from dvc_runner.model import Reason, ReasonKind
from dvc_runner.workspace import quantities
from dvc_runner.workspace.places import LISTS
from dvc_runner.workspace.stamps import keep_newest

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import Stage as DvcStage

# Lists of files, files in a list, and files that a reason names.
KEPT, LONGEST, NAMED = 1000, 1000, 5
_SHOWN_HASH = 8
Files = Mapping[str, str]


def of_dep(dep: "Output") -> list[Reason]:
    """Say how a dep differs, if it does."""
    if not dep.status():
        return []
    if not dep.exists:
        return [Reason(kind=ReasonKind.DEP, name=str(dep), old=_before(dep), new="missing")]
    return [_changed(ReasonKind.DEP, dep)]


def of_brought_dep(dep: "Output", new: str | None) -> list[Reason]:
    """Say how a dep is going to differ that gets the hash ``new``; None is unknown."""
    if new is None or (dep.hash_info and dep.hash_info.value == new):
        return []
    return [_reason(ReasonKind.DEP, dep, _told(new, None), _listed(dep, new))]


def of_out(out: "Output", may_be: Collection[str]) -> list[Reason]:
    """Say how an out differs, if it does; the states that it ``may_be`` in do not count."""
    state = "".join(map(str, out.status().values()))
    if not state or state in may_be:
        return []
    if state == "modified":
        return [_changed(ReasonKind.OUT, out)]
    return [Reason(kind=ReasonKind.OUT, name=str(out), old=_before(out), new=state)]


def keep_lists(stage: "DvcStage") -> None:
    """Keep which files are in the folders that a stage read, where DVC has only the hash of it all."""
    for dep in stage.deps:
        if not isinstance(dep.obj, Tree) or len(dep.obj) > LONGEST:
            continue
        name = str(dep.obj.hash_info.value)
        if not Path(dep.local_cache.oid_to_path(name)).exists():
            path = Path(stage.repo.root_dir, LISTS, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dep.obj.as_bytes())


def sweep_lists(root: Path) -> None:
    """Remove the lists that are the longest out of use."""
    keep_newest((root / LISTS).glob("*.dir"), KEPT)


def _changed(kind: ReasonKind, entry: "Output") -> Reason:
    if entry.protocol != "local" or not _is_folder(entry):
        return _reason(kind, entry, _told(entry.get_hash().value, entry.get_meta().size), None)
    cache, ignore = entry.local_cache, entry.dvcignore
    _, meta, now = build(cache, entry.fs_path, entry.fs, entry.hash_name, ignore=ignore, dry_run=True)
    files = {"/".join(key): one.value for key, _, one in now} if isinstance(now, Tree) else None
    return _reason(kind, entry, _told(now.hash_info.value, meta.size), files)


def _reason(kind: ReasonKind, entry: "Output", new: str, files: Files | None) -> Reason:
    before = _listed(entry, entry.hash_info.value) if files is not None and _is_folder(entry) else None
    differing = {} if before is None or files is None else _differing(before, files)
    named = tuple(islice(differing.items(), NAMED))
    more = len(differing) - len(named)
    return Reason(kind=kind, name=str(entry), old=_before(entry), new=new, files=named, more_files=more)


def _differing(before: Files, now: Files) -> Files:
    paths = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    return {p: "added" if p not in before else "changed" if p in now else "removed" for p in paths}


def _listed(entry: "Output", value: str) -> Files | None:
    """Give the files of a folder by its hash, each with its own; None where nobody has kept which they are."""
    for path in (entry.local_cache.oid_to_path(value), Path(entry.repo.root_dir, LISTS, value)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return {one["relpath"]: one["md5"] for one in json.loads(Path(path).read_bytes())}
    return None


def _is_folder(entry: "Output") -> bool:
    return bool(entry.hash_info and entry.hash_info.isdir)


def _before(entry: "Output") -> str | None:
    return _told(entry.hash_info.value, entry.meta and entry.meta.size) if entry.hash_info else None


def _told(value: object, size: int | None) -> str:
    """Tell a file from others: by its size and the beginning of its hash."""
    return ", ".join([*([] if size is None else [quantities.in_words(size)]), str(value)[:_SHOWN_HASH]])
