"""``LINEAGE_FILE``: what a stage may tell of where its results come from; docs/LINEAGE.md says what each key means."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from dvc_runner.model import Dep, Environment, Past, Revision, Stage

SCHEMA_VERSION = 1


def text(
    stage: Stage,
    *,
    revision: Revision,
    system_user: str | None,
    executor: str,
    environments: Mapping[str, Environment],
) -> str:
    """Give the file's content: JSON; what is not known is null.

    Args:
        stage: The stage, its deps hashed.
        revision: Of the code, its diff without secrets.
        system_user: Who runs it, by the system's word.
        executor: The executor's name.
        environments: What its code and that of stages before it run in, by address.
    """
    before = stage.before
    strays = _strays(stage, revision)
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "stage": stage.address,
            "cmd": stage.cmd,
            "git_commit": revision.commit,
            "git_branch": revision.branch,
            "git_dirty": True if strays else revision.dirty,
            "git_diff": revision.diff,
            "git_diff_whole": revision.is_diff_whole and not strays,
            "git_user": revision.user,
            "system_user": system_user,
            "executor": executor,
            "image": _image(environments.get(stage.address)),
            "deps": _hashes(stage.deps),
            "params": {file.path: json.loads(file.json_values) for file in stage.params},
            "upstream": [_past(one, environments) for one in before.stages] if before else None,
            "upstream_whole": bool(before and before.is_whole),
        },
        indent=2,
    )


def _strays(stage: Stage, revision: Revision) -> list[str]:
    """Give what git does not have of what a stage, or one before it, is made of, other than outs."""
    before = stage.before.stages if stage.before else ()
    deps = {dep.path for dep in (*stage.deps, *(dep for one in before for dep in one.deps))}
    read = deps - {out.path for one in before for out in one.outs}
    read |= {file.path for file in stage.params}
    read |= {_file_of(address) for address in (stage.address, *(one.address for one in before))}
    above = {str(parent) for path in read for parent in PurePosixPath(path).parents}
    return [
        path
        for path in revision.untracked
        if path in above or not read.isdisjoint([path, *map(str, PurePosixPath(path).parents)])
    ]


def _file_of(address: str) -> str:
    """Give the file that a stage is written in: ``FILE:NAME``, ``NAME`` in dvc.yaml, or a .dvc file itself."""
    return address.rpartition(":")[0] or (address if address.endswith(".dvc") else "dvc.yaml")


def _past(past: Past, environments: Mapping[str, Environment]) -> dict[str, Any]:
    return {
        "stage": past.address,
        "cmd": past.cmd,
        "image": _image(environments.get(past.address)),
        "deps": _hashes(past.deps),
        "outs": _hashes(past.outs),
        "params": json.loads(past.json_params),
    }


def _image(environment: Environment | None) -> dict[str, str | None] | None:
    return {"key": environment.key, "id": environment.id} if environment else None


def _hashes(entries: tuple[Dep, ...]) -> dict[str, str | None]:
    return {entry.path: entry.md5 for entry in entries}
