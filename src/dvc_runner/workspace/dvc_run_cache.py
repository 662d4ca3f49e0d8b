"""What DVC's run-cache has of a stage, asked without changing anything. A part of the DVC adapter."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dvc.dependency import ParamsDependency
from dvc.stage.cache import _get_cache_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta

if TYPE_CHECKING:
    from dvc.stage import Stage as DvcStage


def entry_of(stage: "DvcStage", brought: Mapping[str, str], *, run_cache: bool) -> dict[str, str] | None:
    """Give the outs, by path and hash, that DVC would bring back in place of running a stage; None if it would not.

    Args:
        stage: The stage, of which something changed.
        brought: What some of its deps are going to be, by path and hash.
        run_cache: Whether more than what dvc.lock tells of the stage may be looked for.
    """
    if not _may_be_cached(stage):
        return None
    with _as_of_now(stage, brought) as is_as_locked:
        cache = stage.repo.stage_cache
        if is_as_locked and not stage.changed_stage() and all(out.hash_info for out in stage.outs):
            entry = to_single_stage_lockfile(stage)
        else:
            entry = _newest(cache, to_single_stage_lockfile(stage)) if run_cache else None
    if entry is None:
        return None
    cached = cache._create_stage(entry, wdir=stage.wdir)  # noqa: SLF001 - DVC 3.67 has no other name for it
    if not cached.outs_cached():
        return None
    return {out.fs_path: str(out.hash_info.value) for out in cached.outs}


def _may_be_cached(stage: "DvcStage") -> bool:
    if stage.is_callback or stage.always_changed or not all([stage.cmd, stage.deps, stage.outs]):
        return False
    return all(dep.protocol == "local" for dep in stage.deps) and not any(
        out.protocol != "local" or out.persist or not out.is_in_repo for out in stage.outs
    )


@contextlib.contextmanager
def _as_of_now(stage: "DvcStage", brought: Mapping[str, str]) -> Iterator[bool]:
    """Give a stage's deps the hashes they have, or are going to have; say whether those are dvc.lock's."""
    before = [(dep, dep.hash_info, dep.meta) for dep in stage.deps]
    try:
        for dep in stage.deps:
            dep.meta = Meta()  # it holds a hash as well
            if dep.fs_path in brought:
                dep.hash_info = HashInfo("md5", brought[dep.fs_path])
            elif isinstance(dep, ParamsDependency):
                dep.hash_info = HashInfo(dep.PARAM_PARAMS, dep.read_params())
            else:
                dep.hash_info = dep.get_hash()
        yield all(dep.hash_info == locked for dep, locked, _ in before)
    finally:
        for dep, hash_info, meta in before:
            dep.hash_info, dep.meta = hash_info, meta


def _newest(cache: Any, asked: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ANN401 - DVC has no types
    """Give the newest entry for the same command, deps and params."""
    key = _get_cache_hash({**asked}, key=True)
    folder = cache._get_cache_dir(key)  # noqa: SLF001
    try:
        newest = max(os.scandir(folder), key=lambda one: one.stat().st_mtime)
    except (FileNotFoundError, ValueError):
        return None
    found: dict[str, Any] | None = cache._load_cache(key, newest.name)  # noqa: SLF001
    return found
