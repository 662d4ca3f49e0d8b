"""What is out of date in a project, told from its files and its dvc.lock alone."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml


def out_of_date(root: Path) -> set[str]:
    """Give the stages of which a dep, a param, an out or the command is not what dvc.lock says."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))["stages"]
    lock = root / "dvc.lock"
    locked = yaml.safe_load(lock.read_text("utf-8"))["stages"] if lock.exists() else {}
    params = yaml.safe_load((root / "params.yaml").read_text("utf-8"))
    return {name for name, stage in stages.items() if not _fits(root, stage, locked.get(name, {}), params)}


def _fits(root: Path, stage: dict[str, Any], entry: dict[str, Any], params: dict[str, Any]) -> bool:
    files = [file for kind in ("deps", "outs") for file in entry.get(kind, [])]
    values = entry.get("params", {}).get("params.yaml", {})
    return (
        entry.get("cmd") == stage["cmd"]
        and all(_md5(root / file["path"]) == file["md5"] for file in files)
        and all(params.get(name) == value for name, value in values.items())
    )


def _md5(path: Path) -> str | None:
    """Give what DVC calls the hash of a file or a folder."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if not path.is_dir():
        return None
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listed = [{"md5": _md5(path / file), "relpath": file} for file in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
