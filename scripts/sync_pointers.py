"""Have DVC's run-cache know the copies of versions that were delivered, so that no run has to train them again.

What a run left as its pointer names a version of the local server. Beside its entry in the run-cache goes another,
whose pointer names the copy: `dvc-runner run` restores the one whose version the server in use holds.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import run_cache
from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.repo import Repo
from dvc.stage.cache import _get_cache_hash
from dvc.utils.serialize import dump_yaml
from env_file import SettingsError

from dvc_runner.tracking import pointer
from dvc_runner.tracking.pointer import ModelPointer

LONGEST = 10_000  # bytes of a pointer; a larger out is something else


def tell(root: Path, copies: Mapping[ModelPointer, ModelPointer]) -> int:
    """Write the entries that are not there yet.

    Args:
        root: The project.
        copies: What names a version here, and what names its copy there.

    Returns:
        How many were written.

    Raises:
        SettingsError: DVC does not open the project.
    """
    written = 0
    with _cache_of(root) as repo:
        for entry, outs in run_cache.entries(repo):
            told = [_retold(repo, out, copies) for out in outs if out.get("size", LONGEST) < LONGEST]
            if any(told):
                written += _save(repo, entry)
    return written


@contextmanager
def _cache_of(root: Path) -> Iterator[Repo]:
    try:
        with Repo(str(root), config={"core": {"no_scm": True}}) as repo:
            yield repo
    except DvcException as error:
        words = " ".join(str(error).split())
        raise SettingsError(f"DVC's run-cache is not told of it: {words}", "what was delivered stays") from error


def _retold(repo: Repo, out: dict[str, Any], copies: Mapping[ModelPointer, ModelPointer]) -> bool:
    """Have an entry's out name the copy, if it names a version that has one."""
    try:
        text = Path(repo.cache.local.oid_to_path(out["md5"])).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    one = pointer.read(text)
    copy = copies.get(one) if one else None
    if one is None or copy is None:
        return False
    said = json.loads(text) | {"model_version": copy.version, "run_id": copy.run_id}
    uri = f"models:/{one.name}/"
    said = {key: f"{uri}{copy.version}" if value == f"{uri}{one.version}" else value for key, value in said.items()}
    data = (json.dumps(said, indent=2) + "\n").encode()
    out |= {"md5": hashlib.md5(data, usedforsecurity=False).hexdigest(), "size": len(data)}
    with tempfile.TemporaryDirectory(dir=repo.tmp_dir) as folder:
        (Path(folder) / "pointer").write_bytes(data)
        repo.cache.local.add(f"{folder}/pointer", LocalFileSystem(), out["md5"])
    return True


def _save(repo: Repo, entry: dict[str, Any]) -> bool:
    """Write an entry where DVC looks for it; say whether it is new."""
    cache = repo.stage_cache
    path = Path(cache._get_cache_path(_get_cache_hash({**entry}, key=True), _get_cache_hash(entry)))  # noqa: SLF001
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.tmp")
    dump_yaml(str(made), entry)
    made.replace(path)
    return True
