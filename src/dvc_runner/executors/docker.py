"""Stages as sibling containers, each behind a guard that ends it with its runner.

The guard is a small container that owns the PID and network namespaces; the stage joins them.
Its standard input is held open by the runner: when that ends, so does the guard, and the kernel
ends everything in its PID namespace. The stage has the guard's network: a loopback, and on it,
for ``network: tracking``, the one server that the guard forwards to.
"""

import concurrent.futures
import contextlib
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import docker

from dvc_runner.engine import (
    client,
    containers,
    forwarder,
    host_paths,
    images,
    link,
    pulls,
    usage,
)
from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.errors import EngineError
from dvc_runner.executors import docker_bodies as bodies
from dvc_runner.executors import docker_flags
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import (
    Build,
    Container,
    ContainerExit,
    ContainerSpec,
    DockerRun,
    Ending,
    EngineSettings,
    Environment,
    Stage,
    User,
)

SIGKILLED = 137
CORPSE_AGE_S = 60


class DockerExecutor:
    """Runs a stage in a container of its own, on a Docker-compatible engine."""

    name: ClassVar[str] = "docker"
    links_deps: ClassVar[bool] = False
    vanishing: ClassVar[tuple[str, ...]] = bodies.WRITABLE

    def __init__(self, engine: docker.APIClient, root: Path, settings: EngineSettings) -> None:
        """Use an engine, over a connection that answers, for the project at ``root``."""
        self._engine = engine
        self._root = root
        self._guard_image = settings.guard_image
        self._base_image = settings.base_image
        self._buildkit = settings.buildkit
        self._host_root = settings.host_root
        self._paths: host_paths.HostPaths | None = None
        self._as_root: bool | None = None
        self._meanwhile = concurrent.futures.ThreadPoolExecutor()
        self._removals: list[concurrent.futures.Future[None]] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator["DockerExecutor"]:
        """Sweep what a lost runner left; at the end wait for removals, and close the connection.

        Raises:
            EngineError: A guard could not be removed.
        """
        try:
            containers.sweep(self._engine, older_than=time.time() - CORPSE_AGE_S)
            yield self
            with INTERRUPTS.postponed():
                for removal in self._removals:
                    removal.result()
        finally:
            with INTERRUPTS.postponed():
                self._meanwhile.shutdown()
                self._engine.close()

    def named(self, stage: Stage) -> str:
        """Name the stage's image."""
        container = _container(stage)
        return self._plan(stage, container.build).reference if container.build else str(container.image)

    def prepare(self, stage: Stage, on_line: Callable[[str], None], cancellation: Cancellation = NEVER) -> Environment:
        """Build or pull the stage's image, if it is missing."""
        container = _container(stage)
        pulls.ensure(self._engine, self._guard_image, on_line, cancellation)
        if container.build:
            wanted = self._plan(stage, container.build)
            return images.ensure_built(self._engine, wanted, on_line, cancellation, buildkit=self._buildkit)
        reference = str(container.image)
        found = pulls.ensure(self._engine, reference, on_line, cancellation)
        return Environment(reference=reference, key=reference.rpartition("@")[2], id=found)

    @cached_property
    def _platform(self) -> str:
        return images.platform(self._engine)

    def _plan(self, stage: Stage, build: Build) -> images.Plan:
        build = images.with_base(build, self._base_image)
        return images.plan(self._root, _repository(stage.address), build, self._platform)

    def find(self, stage: Stage) -> Environment:
        """Name the stage's image as ``prepare`` would; its ``id`` is None if it is missing."""
        container = _container(stage)
        reference = self.named(stage)
        found = pulls.inspect(self._engine, reference)
        key = reference.rpartition("@" if container.image else ":")[2]
        return Environment(reference=reference, key=key, id=str(found["Id"]) if found else None)

    def on_host(self, path: Path) -> str:
        """Give a path of the project as the engine's host has it.

        Raises:
            HostPathError: The engine does not see it.
        """
        if self._paths is None:
            pulls.ensure(self._engine, self._guard_image, lambda _: None, NEVER)
            self._paths = host_paths.find(self._engine, self._root, self._guard_image, self._host_root)
        return self._paths.translate(path)

    def docker_run(self, spec: ContainerSpec) -> DockerRun:
        """Give the command that starts the stage as ``execute`` does, as far as a shell can: without a guard."""
        # A shell's docker run has no guard that leads the server's address to the stage's own loopback.
        body = bodies.stage(replace(self._as_owner(spec), servers=()), "", self.on_host)
        flags = docker_flags.flags(body, network=spec.network, api_version=self._engine.api_version)
        return DockerRun(flags=flags, image=body["Image"], argv=spec.argv)

    def _as_owner(self, spec: ContainerSpec) -> ContainerSpec:
        """Have the stage run as whoever writes files of the project's owner.

        In a rootless engine's containers that is root; a runner that is root gives files to another user and
        takes them back, there as anywhere.
        """
        if self._as_root is None:
            self._as_root = os.geteuid() != 0 and client.is_rootless(self._engine)
        return replace(spec, user=User(uid=0, gid=0)) if self._as_root else spec

    def execute(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> ContainerExit:
        """Start a guard and the stage beside it; wait for the stage's end."""
        with INTERRUPTS.postponed(), contextlib.ExitStack() as stack:
            on_host, spec = self.on_host, self._as_owner(spec)
            stack.enter_context(link.held(spec.sandbox.control))
            stack.enter_context(forwarder.listening(spec.sandbox.control, spec.servers))
            guard = stack.enter_context(
                containers.created(
                    self._engine,
                    bodies.guard(spec, self._guard_image, on_host),
                    stdin=True,
                    remover=self._remove_meanwhile,
                )
            )
            INTERRUPTS.check()
            # The engine starts the one while it creates the other.
            starting = self._meanwhile.submit(containers.start, self._engine, guard.id)
            stack.callback(concurrent.futures.wait, [starting])
            stage = stack.enter_context(
                containers.created(self._engine, bodies.stage(spec, guard.id, on_host), remover=self._begin_removal)
            )
            starting.result()
            containers.await_output(guard)
            INTERRUPTS.check()
            began = time.time()
            self._start(spec, stage.id)
            return self._follow(spec, stage, began, on_line)

    def _remove_meanwhile(self, engine: docker.APIClient, container: str) -> None:
        """Have a guard removed while the run goes on: its stage has ended, and it ends by itself."""
        self._removals.append(self._meanwhile.submit(containers.remove, engine, container))

    def _begin_removal(self, engine: docker.APIClient, container: str) -> None:
        """Have a stage removed; where the engine is at it already, since it ended, the run goes on meanwhile."""
        if containers.begin_removal(engine, container):
            self._removals.append(self._meanwhile.submit(containers.await_removal, engine, container))

    def _start(self, spec: ContainerSpec, container: str) -> None:
        try:
            containers.start(self._engine, container)
        except EngineError as error:
            if not spec.limits.gpus:
                raise
            raise EngineError(
                f"{spec.stage} asks for GPUs, and {error}",
                remedy="install NVIDIA's container toolkit on the engine's host, "
                "or take meta.container.gpus out of dvc.yaml",
            ) from error

    def _follow(
        self,
        spec: ContainerSpec,
        stage: containers.Attached,
        began: float,
        on_line: Callable[[str], None],
    ) -> ContainerExit:
        over = threading.Event()
        end = functools.partial(containers.end, self._engine, stage.id, over)
        wake = INTERRUPTS.fileno()
        with contextlib.ExitStack() as stack:
            timed_out = stack.enter_context(containers.deadline(spec.limits.timeout_s, end))
            stack.callback(over.set)
            taken = stack.enter_context(usage.sampled(self._engine, stage.id))
            try:
                containers.lines(stage, on_line, wake=wake)
                taken.now()  # its control group is about to go
                containers.await_end(stage, wake)
            except KeyboardInterrupt:
                threading.Thread(target=end, daemon=True).start()
                containers.lines(stage, on_line)
                containers.exit_code(stage)
                raise
            code = containers.exit_code(stage)
        return ContainerExit(
            code=code if code is not None else -1,
            ending=self._ending(stage.id, code, began, timed_out=timed_out.is_set()),
            seconds=time.time() - began,
            usage=taken.now(),
        )

    def _ending(self, stage: str, code: int | None, began: float, *, timed_out: bool) -> Ending:
        if timed_out:
            return Ending.TIMED_OUT
        if code is None:
            return Ending.VANISHED
        if code != SIGKILLED:
            return Ending.EXITED
        try:
            return Ending.OUT_OF_MEMORY if containers.ran_out_of_memory(self._engine, stage, began) else Ending.KILLED
        except EngineError:
            # An engine that is shut down kills what it runs first.
            return Ending.VANISHED


def connect(root: Path, settings: EngineSettings) -> DockerExecutor:
    """Connect to an engine for the project at ``root``.

    Raises:
        EngineError: None answers there.
    """
    return DockerExecutor(client.connect(settings.host), root, settings)


def _container(stage: Stage) -> Container:
    if stage.container is None:
        raise EngineError(
            f"stage {stage.address} does not say which image it runs in",
            remedy="add meta.container.build or meta.container.image to it in dvc.yaml",
        )
    return stage.container


def _repository(address: str) -> str:
    """Give a stage's name in the few characters that an image's may have."""
    name = address.rpartition(":")[2].split("@")[0].lower()
    return "-".join(re.findall("[a-z0-9]+", name)) or "stage"
