"""The container engine: whether it answers, whom it lets in, what it has, what it sees."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dvc_runner.doctor.disk import room
from dvc_runner.doctor.finding import NotApplicableError
from dvc_runner.engine import client, facts, images, pulls
from dvc_runner.errors import EngineError, EnginePermissionError
from dvc_runner.executors import docker
from dvc_runner.executors.docker import DockerExecutor
from dvc_runner.executors.process import ProcessExecutor
from dvc_runner.model import EngineSettings, Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """The engine of a project, as far as there is one; ``wanted`` is the executor that a person asked for."""

    root: Path
    wanted: str | None
    settings: EngineSettings

    def answers(self) -> str:
        """Prove that it is there; every other check is without object where it is not.

        Raises:
            NotApplicableError: Stages run as processes.
            EngineError: It is wanted, or is there and not ours to use.
        """
        with self._asked() as found:
            rootless = "rootless" if found.rootless else "not rootless"
            return f"{found.kind} {found.version} answers (API {found.api_version}, {found.platform}, {rootless})"

    def require(self) -> None:
        """See that there is one.

        Raises:
            NotApplicableError: There is none.
        """
        try:
            with self._asked():
                return
        except EngineError as error:
            raise NotApplicableError("not tried, without an engine that answers") from error

    def socket(self) -> str:
        """Prove who may open its socket."""
        if self.wanted == ProcessExecutor.name:
            raise NotApplicableError("stages run as processes, as asked")
        try:
            told = facts.of_socket(self.settings.host)
        except EnginePermissionError:
            raise
        except EngineError as error:
            raise NotApplicableError("not tried, without an engine that answers") from error
        if told is None:
            raise NotApplicableError(f"{self.settings.host} is no socket of this machine")
        return told

    def image(self, reference: str) -> str:
        """Prove that an image is there, or can be pulled."""
        with contextlib.closing(client.connect(self.settings.host)) as engine:
            return facts.of_image(engine, reference)

    def images(self, stages: tuple[Stage, ...]) -> tuple[str, ...]:
        """Give the images that guards and stages are made of, each once."""
        found = [self.settings.guard_image]
        for stage in stages:
            if stage.container and stage.container.build:
                args = dict(images.with_base(stage.container.build, self.settings.base_image).args)
                found += [args[images.BASE_IMAGE]] if images.BASE_IMAGE in args else []
            elif stage.container:
                found.append(stage.container.image or "")
        return tuple(dict.fromkeys(found))

    def host_path(self) -> str:
        """Prove that it sees a file made here, and where.

        Raises:
            HostPathError: It does not.
        """
        with self.executor() as executor:
            self._require_guard_image()
            found = executor.on_host(self.root)
        where = "under the same path" if found == str(self.root) else f"as {found}"
        return f"it sees a file made for it in {self.root}, {where}"

    def disk(self) -> str:
        """Prove that there is room where it keeps images and containers."""
        with self._asked() as found:
            if self.settings.host and not self.settings.host.startswith("unix://"):
                raise NotApplicableError(f"{found.data_root} is on another machine")
        try:
            return room(found.data_root)
        except OSError as error:
            raise NotApplicableError(f"{found.data_root} cannot be seen from here ({error.strerror})") from error

    def stage_image(self) -> str:
        """Give the image that a stage can be tried in."""
        self._require_guard_image()
        return self.settings.guard_image

    @contextlib.contextmanager
    def executor(self) -> Iterator[DockerExecutor]:
        """Connect to it, to start containers."""
        connected = docker.connect(self.root, self.settings)
        with connected.opened() as executor:
            yield executor

    @contextlib.contextmanager
    def _asked(self) -> Iterator[facts.EngineFacts]:
        if self.wanted == ProcessExecutor.name:
            raise NotApplicableError("stages run as processes, as asked")
        try:
            engine = client.connect(self.settings.host)
        except EnginePermissionError:
            raise
        except EngineError as error:
            if self.wanted:
                raise
            raise NotApplicableError(f"{error}; stages run as processes") from error
        with contextlib.closing(engine):
            yield facts.of_engine(engine)

    def _require_guard_image(self) -> None:
        with contextlib.closing(client.connect(self.settings.host)) as engine:
            if pulls.inspect(engine, self.settings.guard_image) is None:
                raise NotApplicableError(
                    f"{self.settings.guard_image} is not here yet:  docker pull {self.settings.guard_image}"
                )
