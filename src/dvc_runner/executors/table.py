"""Which executor a run uses."""

from dataclasses import dataclass
from pathlib import Path

from dvc_runner.errors import EngineError, EnginePermissionError, UsageError
from dvc_runner.executors import docker, walls
from dvc_runner.executors.base import Executor
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.executors.process import ProcessExecutor

EXECUTORS = (DockerExecutor.name, ProcessExecutor.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Which engine, and how it is used.

    ``host`` is as DOCKER_HOST has it, None the default socket; ``guard_image`` has a Python;
    ``base_image`` takes the place of every BASE_IMAGE build argument; ``host_root`` is where the
    engine's host has the project, if that is not to be found out.
    """

    host: str | None
    guard_image: str
    base_image: str | None = None
    host_root: str | None = None


def choose(
    wanted: str | None,
    root: Path,
    *,
    engine: EngineSettings,
    cache: Path,
) -> tuple[Executor, str]:
    """Give the executor, and why it was chosen, in one line.

    Args:
        wanted: An executor's name; None takes docker where an engine answers.
        root: The project.
        engine: Which one, and how it is used.
        cache: The folder for virtual environments.

    Raises:
        EngineError: docker is wanted and no engine answers, or there is one that is not ours to use.
        UsageError: ``wanted`` is no executor.
    """
    if wanted not in (None, *EXECUTORS):
        raise UsageError(f"{wanted!r} is no executor", remedy=f"use one of {', '.join(EXECUTORS)}")
    if wanted == ProcessExecutor.name:
        return ProcessExecutor(root, cache=cache), f"process, as asked; {walls.here().sentence}"
    try:
        executor = connect(root, engine)
    except EnginePermissionError:
        raise
    except EngineError as error:
        if wanted:
            raise
        return ProcessExecutor(root, cache=cache), f"process, since {error}; {walls.here().sentence}"
    return executor, "docker" if wanted else "docker, since an engine answers"


def connect(root: Path, engine: EngineSettings) -> DockerExecutor:
    """Connect to the engine for the project at ``root``.

    Raises:
        EngineError: None answers.
    """
    return docker.connect(
        root,
        engine.host,
        guard_image=engine.guard_image,
        base_image=engine.base_image,
        host_root=engine.host_root,
    )
