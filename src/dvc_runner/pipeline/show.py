"""What a person would type to start one stage by hand: read off the folder and the container that it would get."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dvc_runner.errors import ConfigurationError
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.model import Bind, DockerRun, Environment, Flag, Limits, Sandbox, Stage, User
from dvc_runner.pipeline.needs import ARTIFACTS_URI, addresses_of
from dvc_runner.pipeline.stage_run import Attempt, Surroundings, attempt_of
from dvc_runner.workspace import sandbox, secrets
from dvc_runner.workspace.secrets import CERTIFICATES, TRACKING_URI

MARK = "\0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Laid:
    """A file of a stage's scratch folder.

    In ``text``, ``MARK NAME MARK`` stands for the value of a secret, ``MARK NAME%% MARK`` for
    one whose percent signs are doubled.
    """

    path: str
    text: str
    mode: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A stage as a person would start it; ``project`` and ``scratch`` are the engine's host's paths.

    ``folders`` and ``files`` are relative to ``scratch``, ``outs``, ``persistent`` and ``missing`` (deps that
    are not there yet) to ``project``. ``build`` is what makes the image, None where docker pulls it.
    ``given_to`` is whom the scratch folder has to be given to first, None if it is theirs already.
    """

    stage: str
    project: str
    scratch: str
    image: Environment
    build: tuple[str, ...] | None
    engine_host: str | None
    docker: DockerRun
    limits: Limits
    folders: tuple[str, ...]
    files: tuple[Laid, ...]
    outs: tuple[str, ...]
    persistent: tuple[str, ...]
    missing: tuple[str, ...]
    secrets: tuple[str, ...]
    given_to: User | None


def show(stage: Stage, around: Surroundings, executor: DockerExecutor, engine_host: str | None) -> Shown:
    """Give what starts ``stage`` by hand as ``executor`` would start it; nothing runs, nothing is built.

    Raises:
        ConfigurationError: It does not run in a container, or only a shell knows its command.
        EngineError: The engine cannot be asked.
    """
    _check_is_ours(stage)
    addresses_of(stage, around.settings)
    missing = tuple(dep.path for dep in stage.deps if not (around.root / dep.path).exists())
    # A copy of what a persistent out holds now is for the moment of the paste.
    laid = replace(
        stage,
        deps=tuple(dep for dep in stage.deps if dep.path not in missing),
        outs=tuple(replace(out, persist=False) for out in stage.outs),
    )
    user = sandbox.stage_user(around.root)
    attempt = attempt_of(stage, replace(around, settings=_marked(stage, around.settings)), confirm=lambda: None)
    image = executor.find(stage)
    project = (around.root, around.cache)
    with sandbox.opened(project, laid, user=user, secrets=attempt.needs.files, links=False) as scratch:
        sandbox.write_lineage(scratch, attempt.lineage(image))
        folders, files = _read(scratch)
        docker = _docker(executor, attempt, _with(scratch, around.root, missing), replace(image, id=None))
    root = executor.on_host(around.root)
    return Shown(
        stage=stage.address,
        project=root,
        scratch=executor.on_host(scratch.scratch),
        image=image,
        build=("dvc-runner", "build", stage.address) if attempt.container.build else None,
        # In a container of its own the runner has the socket in another place than the host.
        engine_host=engine_host if root == str(around.root) else None,
        docker=_unmasked(docker, secrets.values(around.settings, attempt.container.secrets)),
        limits=attempt.container.limits,
        folders=tuple(sorted({*folders, *(f"workspace/{Path(path).parent.as_posix()}" for path in missing)})),
        files=(*files, *(Laid(path=f"workspace/{path}", text="", mode=sandbox.PRIVATE) for path in missing)),
        outs=tuple(out.path for out in stage.outs),
        persistent=tuple(out.path for out in stage.outs if out.persist),
        missing=missing,
        secrets=attempt.container.secrets,
        given_to=user if os.geteuid() == 0 else None,
    )


def _check_is_ours(stage: Stage) -> None:
    if stage.container is None:
        raise ConfigurationError(
            f"stage {stage.address} says nothing of a container, so DVC runs its command in a shell: {stage.cmd}",
            remedy=f"start it as DVC does:  dvc repro --single-item {stage.address}",
        )
    if stage.argv is None:
        raise ConfigurationError(
            f"only a shell knows what the command of {stage.address} becomes: {stage.cmd}",
            remedy="move what the shell is needed for (quotes, $, *, &&) into a script of the stage's",
        )


def _marked(stage: Stage, settings: Mapping[str, str]) -> Mapping[str, str]:
    """Give the settings with a mark in the place of every value but the servers' addresses and certificates."""
    names = {*settings, *secrets.variables(stage.container.secrets if stage.container else ())}
    # A file format that doubles percent signs shows itself by the mark's own.
    return {name: f"{MARK}{name}%{MARK}" for name in names} | {
        name: settings[name] for name in (TRACKING_URI, ARTIFACTS_URI, *CERTIFICATES) if name in settings
    }


def _with(scratch: Sandbox, root: Path, missing: tuple[str, ...]) -> Sandbox:
    return replace(scratch, deps=(*scratch.deps, *(Bind(source=root / path, target=path) for path in missing)))


def _docker(executor: DockerExecutor, attempt: Attempt, scratch: Sandbox, image: Environment) -> DockerRun:
    return executor.docker_run(attempt.spec(scratch, image, sandbox.stage_user(attempt.around.root)))


def _unmasked(docker: DockerRun, hidden: tuple[str, ...]) -> DockerRun:
    """Take a variable with a secret in it, such as a short one in an address's path, from the shell by its name."""

    def safe(flag: Flag) -> Flag:
        value = flag.value or ""
        if not any(secret in value for secret in hidden):
            return flag
        return replace(flag, value=value.partition("=")[0], reason=f"{flag.reason}; a secret: export it first")

    return replace(docker, flags=tuple(safe(flag) if flag.flag == "--env" else flag for flag in docker.flags))


def _read(scratch: Sandbox) -> tuple[tuple[str, ...], tuple[Laid, ...]]:
    """Give the folders that nothing else implies, and the files of a scratch folder, but what a guard needs."""
    folders: list[str] = []
    files: list[Laid] = []
    for here, names, leaves in os.walk(scratch.scratch):
        where = Path(here).relative_to(scratch.scratch)
        if not names and Path(here) != scratch.control:
            folders.append(where.as_posix())
        for name in sorted(leaves):
            path = Path(here, name)
            mode = path.stat().st_mode & 0o777
            files.append(Laid(path=(where / name).as_posix(), text=path.read_text("utf-8"), mode=mode))
    return tuple(sorted(folders)), tuple(sorted(files, key=lambda file: file.path))
