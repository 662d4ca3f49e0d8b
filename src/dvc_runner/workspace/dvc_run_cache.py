"""What DVC's run-cache has of a stage, asked without changing anything. A part of the DVC adapter."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import CollectCacheError
from dvc.stage.cache import _get_cache_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta

if TYPE_CHECKING:
    from dvc.stage import Stage as DvcStage


Accept = Callable[[Mapping[str, str]], bool]


def cached_of(
    stage: "DvcStage",
    brought: Mapping[str, str],
    *,
    run_cache: bool,
    accept: Accept | None = None,
    there: "Callable[[DvcStage], bool] | None" = None,
) -> "DvcStage | None":
    """Give the stage with the outs that DVC would bring back in place of running it; None if it would not.

    Args:
        stage: The stage, of which something changed.
        brought: What some of its deps are going to be, by path and hash.
        run_cache: Whether more than what dvc.lock tells of the stage may be looked for.
        accept: Says whether outs, by path and hash, will do; then the first that will is given, and not the first.
        there: Says whether its outs can be had; in the cache, if that is not said.
    """
    if not _may_be_cached(stage):
        return None
    for entry in _entries(stage, brought, run_cache=run_cache, every=accept is not None):
        cached = stage.repo.stage_cache._create_stage(entry, wdir=stage.wdir)  # noqa: SLF001 - DVC 3.67 has no other
        if (there(cached) if there else cached.outs_cached()) and (accept is None or accept(outs_of(cached))):
            return cached
    return None


def outs_of(stage: "DvcStage") -> dict[str, str]:
    """Give a stage's outs by path and hash."""
    return {out.fs_path: str(out.hash_info.value) for out in stage.outs}


def fetched(cached: "DvcStage") -> bool:
    """Fetch a stage's outs from the default remote, as far as it has them; say whether all are in the cache."""
    with contextlib.suppress(CollectCacheError):
        for objects in cached.get_used_objs().values():
            cached.repo.cloud.pull(objects)
    return bool(cached.outs_cached())


def _entries(
    stage: "DvcStage", brought: Mapping[str, str], *, run_cache: bool, every: bool
) -> Iterator[dict[str, Any]]:
    """Give what DVC would look at, or ``every`` entry for the same command, deps and params, the newest first."""
    with _as_of_now(stage, brought) as is_as_locked:
        now = to_single_stage_lockfile(stage)
        is_locked = is_as_locked and not stage.changed_stage() and all(out.hash_info for out in stage.outs)
    if is_locked:
        yield now
    if run_cache and (every or not is_locked):
        found = _newest_first(stage.repo.stage_cache, now)
        yield from found if every else itertools.islice(found, 1)


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


def _newest_first(cache: Any, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - DVC has no types
    """Give the entries for the same command, deps and params."""
    key = _get_cache_hash({**asked}, key=True)
    folder = cache._get_cache_dir(key)  # noqa: SLF001
    try:
        files = sorted(os.scandir(folder), key=lambda one: one.stat().st_mtime, reverse=True)
    except FileNotFoundError:
        return
    for file in files:
        found = cache._load_cache(key, file.name)  # noqa: SLF001
        if found is not None:
            yield found
