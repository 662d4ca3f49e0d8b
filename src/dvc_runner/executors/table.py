"""Which executor a run uses."""

from pathlib import Path

from dvc_runner.errors import EngineError, EnginePermissionError, UsageError
from dvc_runner.executors import docker, walls
from dvc_runner.executors.base import Executor
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.executors.process import ProcessExecutor

EXECUTORS = (DockerExecutor.name, ProcessExecutor.name)


def choose(
    wanted: str | None,
    root: Path,
    *,
    engine_host: str | None,
    guard_image: str,
    base_image: str | None,
    cache: Path,
) -> tuple[Executor, str]:
    """Give the executor, and why it was chosen, in one line.

    Args:
        wanted: An executor's name; None takes docker where an engine answers.
        root: The project.
        engine_host: As DOCKER_HOST has it; None is the default socket.
        guard_image: An image with Python.
        base_image: Takes the place of every BASE_IMAGE build argument, if given.
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
        executor = docker.connect(root, engine_host, guard_image=guard_image, base_image=base_image)
    except EnginePermissionError:
        raise
    except EngineError as error:
        if wanted:
            raise
        return ProcessExecutor(root, cache=cache), f"process, since {error}; {walls.here().sentence}"
    return executor, "docker" if wanted else "docker, since an engine answers"
