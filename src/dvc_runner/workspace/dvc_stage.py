"""One stage of DVC's, read into our frozen values. A part of the DVC adapter."""

import json
import os
import posixpath
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.dependency import ParamsDependency
from dvc.dependency.base import DependencyDoesNotExistError
from dvc.stage import PipelineStage
from dvc.utils.serialize import dumps_yaml

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Dep, Out, ParamsFile, Reason, ReasonKind, Stage
from dvc_runner.workspace import container_config

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import Stage as DvcStage

PREFIX = ("dvc-runner", "exec")
# With one of these in it, a command means something to the shell, and the shell has to read it.
_SHELL = frozenset(";&|<>()$`*?[]{}~#!\n\\")
_SHOWN_HASH = 8


def argv_of(cmd: object) -> tuple[str, ...] | None:
    """Give what follows ``dvc-runner exec``, or None where a shell has to run the command."""
    if not isinstance(cmd, str) or _SHELL & set(cmd):
        return None
    try:
        words = tuple(shlex.split(cmd))
    except ValueError:  # a quote that is not closed: the shell says so in its own words
        return None
    argv = words[len(PREFIX) :]
    # An option of exec's own is for exec to read.
    return argv if words[: len(PREFIX)] == PREFIX and argv and not argv[0].startswith("-") else None


def read(stage: "DvcStage", root: Path) -> Stage:
    """Read a stage as it stands in dvc.yaml, with its deps' hashes as last saved.

    Raises:
        ConfigurationError: It has something that no container can be given.
    """
    address = str(stage.addressing)
    wdir = _relative(stage.wdir, root, address)
    meta = getattr(stage, "meta", None) or {}
    raw = meta.get("container") if isinstance(meta, dict) else None
    argv = argv_of(stage.cmd)
    is_ours = raw is not None
    deps = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    return Stage(
        address=address,
        wdir=wdir,
        cmd=stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd or []),
        argv=argv,
        deps=tuple(_dep(dep, root, address) for dep in deps) if is_ours else (),
        outs=tuple(Out(path=_entry_path(out, root, address), persist=bool(out.persist)) for out in stage.outs)
        if is_ours
        else (),
        params=tuple(_params(dep, root, address) for dep in stage.deps if isinstance(dep, ParamsDependency))
        if is_ours
        else (),
        container=container_config.parse(address, wdir, raw) if is_ours else None,
    )


def reasons(stage: "DvcStage", *, forced: bool) -> tuple[Reason, ...]:
    """Say why DVC would run ``stage`` now; nothing where it would not."""
    if forced:
        return (Reason(kind=ReasonKind.FORCED),)
    if isinstance(stage, PipelineStage) and not _lock_entry(stage):
        return (Reason(kind=ReasonKind.NEW),)
    found: list[Reason] = []
    if stage.changed_stage():
        old = (_lock_entry(stage) or {}).get("cmd")
        found.append(Reason(kind=ReasonKind.COMMAND, old=_text(old), new=_text(stage.cmd)))
    if not stage.frozen:
        if stage.is_callback or stage.always_changed:
            found.append(Reason(kind=ReasonKind.ALWAYS_CHANGED))
        for dep in stage.deps:
            found += _param_reasons(dep) if isinstance(dep, ParamsDependency) else _changed(dep)
    for out in stage.outs:
        for path, status in out.status().items():
            found.append(Reason(kind=ReasonKind.OUT, name=path, new=str(status)))
    return tuple(found)


def check_deps(stage: "DvcStage") -> None:
    """See that the files a command reads are there; the run-cache, asked without them, fails in other words.

    Raises:
        DependencyDoesNotExistError: One is not.
    """
    for dep in stage.deps if stage.cmd else ():
        if dep.protocol == "local" and not isinstance(dep, ParamsDependency) and not dep.exists:
            raise DependencyDoesNotExistError(str(dep))


def _changed(dep: "Output") -> list[Reason]:
    status = dep.status()
    if not status:
        return []
    old = dep.hash_info.value if dep.hash_info else None
    new = dep.get_hash().value if dep.exists else "missing"
    return [Reason(kind=ReasonKind.DEP, name=str(dep), old=_short(old), new=_short(new))]


def _param_reasons(dep: ParamsDependency) -> list[Reason]:
    old = dep.hash_info.value if dep.hash_info else None
    before = old if isinstance(old, dict) else {}
    after = dep.read_params()
    status: dict[str, Any] = dep.status().get(str(dep), {})
    if not isinstance(status, dict):
        return [Reason(kind=ReasonKind.PARAM, name=str(dep), new=str(status))]
    found = []
    for name in status:
        was, now = before.get(name), after.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
            found += [_param(f"{name}.{key}", was.get(key), now.get(key)) for key in keys]
        else:
            found.append(_param(name, was, now))
    return found


def _param(name: str, was: object, now: object) -> Reason:
    old, new = (json.dumps(value, ensure_ascii=False, default=str) for value in (was, now))
    return Reason(kind=ReasonKind.PARAM, name=name, old=old, new=new)


def _lock_entry(stage: PipelineStage) -> dict[str, Any] | None:
    entry = stage.dvcfile.lockfile_contents.get("stages", {}).get(stage.name)
    return entry if isinstance(entry, dict) else None


def _dep(dep: "Output", root: Path, address: str) -> Dep:
    value = dep.hash_info.value if dep.hash_info else None
    return Dep(path=_entry_path(dep, root, address), md5=value if isinstance(value, str) else None)


def _params(dep: ParamsDependency, root: Path, address: str) -> ParamsFile:
    path = _entry_path(dep, root, address)
    if posixpath.splitext(path)[1].lower() not in {".yaml", ".yml", ".json"}:
        raise ConfigurationError(
            f"stage {address} takes params from {path}; in a container only YAML and JSON work",
            remedy="move those parameters to params.yaml",
        )
    values = dep.read_params(flatten=False)
    is_json = path.endswith(".json")
    text = json.dumps(values, indent=2) + "\n" if is_json else dumps_yaml(values)
    return ParamsFile(path=path, text=text, json_values=json.dumps(dep.read_params(), default=str))


def _entry_path(entry: "Output", root: Path, address: str) -> str:
    if entry.protocol != "local":
        raise ConfigurationError(
            f"stage {address} has {entry}, which is not a file here; a container gets local files",
            remedy="import it with  dvc import-url  and make the imported file the dep",
        )
    return _relative(entry.fs_path, root, address)


def _relative(path: str, root: Path, address: str) -> str:
    relative = os.path.relpath(path, root).replace(os.sep, "/")
    if relative.startswith("../") or relative == "..":
        raise ConfigurationError(
            f"stage {address} names {path}, which lies outside the project {root}",
            remedy="keep what a stage reads and writes inside the project",
        )
    return relative


def _short(value: object) -> str | None:
    return None if value is None else str(value)[:_SHOWN_HASH]


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return None if value is None else str(value)
