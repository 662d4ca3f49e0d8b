"""One stage of DVC's, read into our frozen values. A part of the DVC adapter."""

import json
import os
import posixpath
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.dependency import DatasetDependency, DbDependency, ParamsDependency
from dvc.dependency.base import DependencyDoesNotExistError
from dvc.stage import PipelineStage, run
from dvc.utils.serialize import dumps_yaml

from dvc_runner.errors import ConfigurationError
from dvc_runner.model import Dep, Kind, Out, ParamsFile, Reason, ReasonKind, ShellCommands, Stage
from dvc_runner.workspace import container_config, dvc_content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dvc.output import Output
    from dvc.stage import Stage as DvcStage

PREFIX = ("dvc-runner", "exec")
# With one of these outside of quotes, a command means something to the shell, and the shell has to read it.
_SHELL = frozenset(";&|<>()$`*?[]{}~#!\r\n\\")
_QUOTED = re.compile(r"""'[^']*'|"[^"$`!\\]*\"""")


def argv_of(cmd: object) -> tuple[str, ...] | None:
    """Give what follows ``dvc-runner exec``, or None where a shell has to run the command."""
    if not isinstance(cmd, str) or _SHELL & set(_QUOTED.sub("", cmd)):
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
        cmd=command(stage),
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


def command(stage: "DvcStage") -> str:
    """Give a stage's command; one that is a list has a line for each."""
    return stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd or [])


def kind(stage: "DvcStage") -> Kind:
    """Say who runs a stage."""
    if not stage.cmd or stage.frozen:
        return Kind.DVC
    return Kind.OURS if _has_container(stage) and argv_of(stage.cmd) else Kind.SHELL


def _has_container(stage: "DvcStage") -> bool:
    meta = getattr(stage, "meta", None) or {}
    return isinstance(meta, dict) and meta.get("container") is not None


def registers(stage: "DvcStage") -> str | None:
    """Give the path of the out that names a version in the model registry, if a stage of ours has one."""
    if kind(stage) is not Kind.OURS:
        return None
    container = stage.meta["container"]
    path = container.get("registers") if isinstance(container, dict) else None
    return path and os.path.normpath(os.path.join(stage.wdir, str(path)))  # noqa: PTH118 - DVC's paths are texts


def shell_commands(stage: "DvcStage") -> ShellCommands:
    """Give what a shell has to run for a stage, as DVC would start it."""
    how = run.prepare_kwargs(stage)
    shell = run.get_executable()
    found = run._enforce_cmd_list(stage.cmd)  # noqa: SLF001 - DVC 3.67 has no other name for it
    # Where no virtual environment is active, the shell finds dvc-runner all the same, after all else.
    path = os.pathsep.join(filter(None, (how["env"].get("PATH"), str(Path(sys.executable).parent))))
    return ShellCommands(
        commands=tuple(tuple(run._make_cmd(shell, cmd)) for cmd in found),  # noqa: SLF001
        folder=Path(how["cwd"]),
        env={**how["env"], "PATH": path},
        is_bare=_has_container(stage) and not any(" ".join(PREFIX) in cmd for cmd in found),
    )


def reasons(
    stage: "DvcStage",
    *,
    forced: bool,
    locked: "Callable[[], Mapping[str, Any]]",
    missing_is_fine_but: "Sequence[DvcStage] | None" = None,
    brought: "Mapping[str, str | None]",
) -> tuple[Reason, ...]:
    """Say why DVC would run ``stage`` now; nothing where it would not.

    Args:
        stage: The stage.
        forced: It runs in any case.
        locked: Gives the entries of its dvc.lock; dear, and so asked only where it has to be.
        missing_is_fine_but: What is missing is no reason, unless one of these makes another than the stage last
            read; None if it is one.
        brought: What some paths are going to be, by their hash, in place of what they are; None is unknown.
    """
    if forced:
        return (Reason(kind=ReasonKind.FORCED),)
    if isinstance(stage, PipelineStage) and not _has_hashes(stage) and stage.name not in locked():
        # DVC takes one without deps for one of which only the outs are missing.
        return () if missing_is_fine_but is not None and not stage.deps else (Reason(kind=ReasonKind.NEW),)
    found: list[Reason] = []
    if stage.changed_stage():
        old = locked().get(stage.name, {}).get("cmd") if isinstance(stage, PipelineStage) else None
        found.append(Reason(kind=ReasonKind.COMMAND, old=_text(old), new=_text(stage.cmd)))
    if not stage.frozen:
        if stage.is_callback or stage.always_changed:
            found.append(Reason(kind=ReasonKind.ALWAYS_CHANGED))
        for dep in stage.deps:
            if dep.fs_path in brought:
                found += dvc_content.of_brought_dep(dep, brought[dep.fs_path])
            elif not _may_be_missing(dep, missing_is_fine_but):
                found += _param_reasons(dep) if isinstance(dep, ParamsDependency) else dvc_content.of_dep(dep)
    may_be = () if missing_is_fine_but is None else ("not in cache", "deleted")
    return (*found, *(one for out in stage.outs for one in dvc_content.of_out(out, may_be)))


def _has_hashes(stage: "DvcStage") -> bool:
    """Say whether dvc.lock told something of a stage's deps or outs."""
    return any(entry.hash_info for entry in (*stage.outs, *stage.deps))


def _may_be_missing(dep: "Output", but: "Sequence[DvcStage] | None") -> bool:
    if but is None or dep.status().get(str(dep)) != "deleted":
        return False
    outs = (out for stage in but for out in stage.outs)
    return not any(out.fs_path == dep.fs_path and out.hash_info != dep.hash_info for out in outs)


def missing_deps(stage: "DvcStage") -> "list[Output]":
    """Give the deps of a stage that are no databases and not there."""
    return [dep for dep in stage.deps if not isinstance(dep, DatasetDependency | DbDependency) and not dep.exists]


def check_deps(stage: "DvcStage") -> None:
    """See that the files a command reads are there; the run-cache, asked without them, fails in other words.

    Raises:
        DependencyDoesNotExistError: One is not.
    """
    for dep in absent(stage):
        raise DependencyDoesNotExistError(str(dep))


def absent(stage: "DvcStage") -> "list[Output]":
    """Give the files that a stage's command reads, and that are not there."""
    if not stage.cmd:
        return []
    deps = [dep for dep in stage.deps if not isinstance(dep, DatasetDependency | DbDependency | ParamsDependency)]
    return [dep for dep in deps if dep.protocol == "local" and not dep.exists]


def short_of_params(stage: "DvcStage") -> "list[Output]":
    """Give the params files that lack a param of a stage's."""
    files = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    return [file for file in files if not file.read_params().keys() >= set(file.params)]


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


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return None if value is None else str(value)
