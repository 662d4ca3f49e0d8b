"""Which executor a run uses."""

from pathlib import Path

from dvc_runner.errors import EngineError, EnginePermissionError, UsageError
from dvc_runner.executors import walls
from dvc_runner.executors.base import Executor
from dvc_runner.executors.process import ProcessExecutor
from dvc_runner.model import EngineSettings

EXECUTORS = ("docker", ProcessExecutor.name)


def check(wanted: str | None) -> None:
    """See that ``wanted`` is an executor, or none.

    Raises:
        UsageError: It is neither.
    """
    if wanted not in (None, *EXECUTORS):
        raise UsageError(f"{wanted!r} is no executor", remedy=f"use one of {', '.join(EXECUTORS)}")


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
        engine: Where a container engine is, and what it builds with.
        cache: The folder for virtual environments.

    Raises:
        EngineError: docker is wanted and no engine answers, or there is one that is not ours to use.
        UsageError: ``wanted`` is no executor.
    """
    check(wanted)
    if wanted == ProcessExecutor.name:
        return ProcessExecutor(root, cache=cache), f"process, as asked; {walls.here().sentence}"
    # What speaks to an engine takes a tenth of a second to import, which no other executor needs.
    from dvc_runner.executors import docker  # noqa: PLC0415

    try:
        executor = docker.connect(root, engine)
    except EnginePermissionError:
        raise
    except EngineError as error:
        if wanted:
            raise
        return ProcessExecutor(root, cache=cache), f"process, since {error}; {walls.here().sentence}"
    return executor, "docker" if wanted else "docker, since an engine answers"
