"""Stages as processes, for where no container engine answers.

A locked virtual environment per stage, a scratch folder that holds only what is declared, and
walls around both as far as the kernel has them: ``walls.py`` says how far that is.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.errors import EngineError
from dvc_runner.executors import environments, fence, processes, reach
from dvc_runner.model import ContainerExit, ContainerSpec, Environment, Limits, Stage

LOCK = "requirements.txt"
HELD = ("timeout_s",)


class ProcessExecutor:
    """Runs a stage as a process of this machine, its supervisor beside it."""

    name: ClassVar[str] = "process"
    links_deps: ClassVar[bool] = True
    vanishing: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: Path, *, cache: Path) -> None:
        """Use ``cache`` for the environments of the project at ``root``."""
        self._root = root
        self._cache = cache

    @contextlib.contextmanager
    def opened(self) -> Iterator["ProcessExecutor"]:
        """Need nothing."""
        yield self

    def named(self, stage: Stage) -> str:
        """Name the environment of the stage's lock file."""
        return environments.named(self._cache, self._lock(stage))

    def prepare(self, stage: Stage, on_line: Callable[[str], None], cancellation: Cancellation = NEVER) -> Environment:
        """Install the lock file beside the stage's Dockerfile, if it is not installed yet."""
        return environments.ensure(self._cache, self._lock(stage), on_line, cancellation)

    def _lock(self, stage: Stage) -> Path:
        build = stage.container.build if stage.container else None
        lock = (self._root / build.dockerfile).parent / LOCK if build else None
        if lock is None or not lock.is_file():
            raise EngineError(
                f"stage {stage.address} has no {LOCK} beside a Dockerfile, so it runs in a container only",
                remedy="start a container engine, or add that lock file",
            )
        return lock

    def execute(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> ContainerExit:
        """Start the command in the scratch folder, and wait for its end and its children's."""
        temporary = spec.sandbox.home / ".tmp"
        temporary.mkdir()
        ignored = _ignored(spec.limits)
        if ignored:
            on_line(f"dvc-runner: a process is not held to meta.container.{', '.join(ignored)} of {spec.stage}")
        with fence.around(reach.of(spec)) as rules:
            return processes.run(
                spec.argv,
                on_line,
                cwd=spec.sandbox.workspace / spec.wdir,
                env=_environment(spec, temporary),
                timeout_s=spec.limits.timeout_s,
                fence=rules,
            )


def _ignored(limits: Limits) -> list[str]:
    """Name what a stage's limits ask for that nothing here can hold."""
    asked = [field.name for field in dataclasses.fields(limits) if getattr(limits, field.name) != field.default]
    return [name.removesuffix("_bytes") for name in asked if name not in HELD]


def _environment(spec: ContainerSpec, temporary: Path) -> dict[str, str]:
    sandbox = spec.sandbox
    place = Path(spec.environment.reference)
    return {
        "PATH": os.pathsep.join([str(place / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict(spec.env),
        **{name: str(sandbox.home / path) for name, path in spec.env_at_home},
        "VIRTUAL_ENV": str(place),
        "PYTHONPATH": os.pathsep.join(_python_path(spec)),
        "HOME": str(sandbox.home),
        "USER": "stage",
        "TMPDIR": str(temporary),
        "DVC_ROOT": str(sandbox.workspace),
        "LINEAGE_FILE": str(sandbox.lineage),
    }


def _python_path(spec: ContainerSpec) -> list[str]:
    folders = [spec.sandbox.workspace / folder for folder in spec.python_path]
    if not any(os.pathsep in str(folder) for folder in folders):
        return [str(folder) for folder in folders]
    # The variable cannot hold a colon; Python makes relative entries absolute as it starts.
    return [os.path.relpath(folder, spec.sandbox.workspace / spec.wdir) for folder in folders]
