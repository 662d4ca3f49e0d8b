"""What executors keep beyond a run, images and environments: what of it is unused, and its removal."""

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import docker

from dvc_runner.engine import client, unused
from dvc_runner.errors import EngineError
from dvc_runner.executors import environments
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.executors.process import ProcessExecutor
from dvc_runner.executors.table import check
from dvc_runner.model import EngineSettings, Stage, Unused


class Store(Protocol):
    """Where what one executor made lies; other projects may have theirs there too."""

    def unused(self, stages: Iterable[Stage], before: dt.datetime) -> tuple[Unused, ...]:
        """Give what none of ``stages`` needs as they are now, and nobody has used since ``before``."""
        ...

    def frees_bytes(self, found: Sequence[Unused]) -> int:
        """Give how much room removing all of ``found`` makes."""
        ...

    def remove(self, one: Unused) -> None:
        """Remove one.

        Raises:
            EngineError: It is in use.
        """
        ...


class ImageStore:
    """The images on an engine."""

    def __init__(self, engine: docker.APIClient, root: Path, settings: EngineSettings) -> None:
        """Use an engine for the project at ``root``."""
        self._engine = engine
        self._executor = DockerExecutor(engine, root, settings)

    def unused(self, stages: Iterable[Stage], before: dt.datetime) -> tuple[Unused, ...]:
        """Give the images of ours that nobody has used since ``before``."""
        needed = [self._executor.named(stage) for stage in stages if stage.container]
        return unused.find(self._engine, needed, before)

    def frees_bytes(self, found: Sequence[Unused]) -> int:
        """Count each layer once, and those of other images not at all."""
        return unused.frees_bytes(self._engine, [one.name for one in found])

    def remove(self, one: Unused) -> None:
        """Remove an image."""
        unused.remove(self._engine, one.name)


class EnvironmentStore:
    """The virtual environments in a user's cache."""

    def __init__(self, cache: Path, root: Path) -> None:
        """Use ``cache`` for the project at ``root``."""
        self._cache = cache
        self._executor = ProcessExecutor(root, cache=cache)

    def unused(self, stages: Iterable[Stage], before: dt.datetime) -> tuple[Unused, ...]:
        """Give the environments that nobody has used since ``before``."""
        needed = set()
        for stage in stages:
            try:
                needed.add(self._executor.named(stage))
            except EngineError:  # it has no lock file, and so no environment
                continue
        return environments.unused(self._cache, needed, before)

    def frees_bytes(self, found: Sequence[Unused]) -> int:
        """Count what no other environment, nor the installer's cache, has too."""
        return sum(one.size_bytes for one in found)

    def remove(self, one: Unused) -> None:
        """Remove an environment."""
        environments.remove(Path(one.name))


def reached(wanted: str | None, root: Path, engine: EngineSettings, cache: Path) -> tuple[dict[str, Store], str | None]:
    """Give the stores that can be reached, by executor, and why one cannot.

    Raises:
        EngineError: Only that of containers is wanted, and no engine answers.
        UsageError: ``wanted`` is no executor.
    """
    check(wanted)
    stores: dict[str, Store] = {ProcessExecutor.name: EnvironmentStore(cache, root)}
    why = None
    if wanted != ProcessExecutor.name:
        try:
            stores[DockerExecutor.name] = ImageStore(client.connect(engine.host), root, engine)
        except EngineError as error:
            if wanted:
                raise
            why = f"images are left alone: {error}"
    return {name: store for name, store in stores.items() if wanted in (None, name)}, why
