"""Every check, in the order in which one helps to understand the next."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dvc_runner.doctor.disk import room
from dvc_runner.doctor.engine import Engine
from dvc_runner.doctor.finding import Check, Finding, NotApplicableError, Once, examine
from dvc_runner.doctor.tracking import prove as tracking_server
from dvc_runner.doctor.trial import Tried, try_out
from dvc_runner.doctor.verdict import OF_CONTAINERS, Verdict, of_kernel, of_processes, user
from dvc_runner.errors import EXIT_ENGINE, EXIT_HOST_PATH, ConfigurationError, DvcRunnerError
from dvc_runner.executors import walls
from dvc_runner.executors.base import Executor
from dvc_runner.executors.process import ProcessExecutor
from dvc_runner.model import Network, Selection, Stage
from dvc_runner.pipeline.check import check as check_stage
from dvc_runner.pipeline.stage_run import Surroundings
from dvc_runner.workspace.dvc_project import DvcProject
from dvc_runner.workspace.secrets import TRACKING_URI

STAGE_S = 90


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """A project, and what a person set for it; ``contained`` where we run in dvc-runner's own container."""

    project: DvcProject
    settings: Mapping[str, str]
    engine: Engine
    contained: bool
    cache: Path


def examined(patient: Patient) -> Iterator[Finding]:
    """Make every check there is, one after the other."""
    stages = Once("a dvc.yaml that can be read", lambda: _stages(patient.project))
    yield examine(Check(name="project", prove=lambda: _project(patient.project.root, stages())))
    yield examine(Check(name="project disk", prove=lambda: room(patient.project.root)))
    server = Once("an MLflow server that answers", lambda: _mlflow(patient.settings, stages))
    yield examine(Check(name="mlflow", prove=server))
    yield from map(examine, _of_engine(patient, stages))
    yield from map(examine, _of_containers(patient, server))
    yield from map(examine, _of_processes(patient, server))
    yield examine(Check(name="dvc remote", prove=lambda: _remote(patient.project)))


def _of_engine(patient: Patient, stages: Once[tuple[Stage, ...]]) -> Iterator[Check]:
    engine = patient.engine

    def check(name: str, prove: Callable[[], str]) -> Check:
        def made() -> str:
            engine.require()
            return prove()

        return Check(name=name, prove=made, exit_code=EXIT_ENGINE)

    yield Check(name="engine", prove=engine.answers, exit_code=EXIT_ENGINE)
    yield Check(name="engine socket", prove=engine.socket, exit_code=EXIT_ENGINE)
    yield check("engine disk", engine.disk)
    for reference in engine.images(_known(stages)):
        yield check("image", partial(engine.image, reference))
    yield replace(check("host path", engine.host_path), exit_code=EXIT_HOST_PATH)


def _of_containers(patient: Patient, server: Once[str]) -> Iterator[Check]:
    def start(network: Network) -> Once[Tried]:
        def made() -> Tried:
            patient.engine.require()
            with patient.engine.executor() as executor:
                return try_out(executor, _around(patient, executor), network, image=patient.engine.stage_image())

        return Once("a container that starts", made)

    alone = start(Network.NONE)
    yield from _of_trials("container", OF_CONTAINERS, alone, _with(server, start(Network.TRACKING)))
    yield Check(name="container user", prove=lambda: user(alone()), limit_s=STAGE_S, exit_code=EXIT_ENGINE)


def _of_processes(patient: Patient, server: Once[str]) -> Iterator[Check]:
    def start(network: Network) -> Once[Tried]:
        def made() -> Tried:
            if patient.contained:
                raise NotApplicableError("this is dvc-runner's own container: it starts stages in containers only")
            with ProcessExecutor(patient.project.root, cache=patient.cache).opened() as executor:
                return try_out(executor, _around(patient, executor), network, image=None)

        return Once("a process that starts", made)

    tracking = _with(server, start(Network.TRACKING))
    kernel = walls.here()
    yield Check(name="process walls", prove=lambda: of_kernel(kernel))
    yield from _of_trials("process", of_processes(kernel), start(Network.NONE), tracking)


def _of_trials(
    kind: str, verdict: Verdict, alone: Callable[[], Tried], tracking: Callable[[], Tried]
) -> Iterator[Check]:
    for name, prove in {
        "files": lambda: verdict.files(alone()),
        "network": lambda: verdict.network(alone()),
        "tracking": lambda: verdict.tracking(tracking()),
    }.items():
        yield Check(name=f"{kind} {name}", prove=prove, limit_s=STAGE_S, exit_code=EXIT_ENGINE)


def _with(server: Once[str], start: Callable[[], Tried]) -> Callable[[], Tried]:
    def made() -> Tried:
        server()
        return start()

    return made


def _around(patient: Patient, executor: Executor) -> Surroundings:
    project = patient.project
    return Surroundings(
        root=project.root,
        cache=project.cache,
        executor=executor,
        settings=patient.settings,
    )


def _stages(project: DvcProject) -> tuple[Stage, ...]:
    return tuple(project.stage(address) for address in project.plan(Selection()))


def _known(stages: Once[tuple[Stage, ...]]) -> tuple[Stage, ...]:
    """Give the project's stages, as far as they can be read; that they cannot is told elsewhere."""
    with contextlib.suppress(DvcRunnerError, NotApplicableError):
        return stages()
    return ()


def _project(root: Path, stages: tuple[Stage, ...]) -> str:
    for stage in stages:
        check_stage(stage)
    ours = sum(stage.container is not None for stage in stages)
    return f"{root} has {len(stages)} stages, {ours} of them with a container of their own, and all can be run"


def _mlflow(settings: Mapping[str, str], stages: Once[tuple[Stage, ...]]) -> str:
    if settings.get(TRACKING_URI):
        return tracking_server(settings)
    needed = [s.address for s in _known(stages) if s.container and s.container.network is Network.TRACKING]
    if not needed:
        raise NotApplicableError(f"{TRACKING_URI} is not set, and no stage needs it")
    raise ConfigurationError(
        f"{TRACKING_URI} is not set, and {', '.join(needed)} cannot run without a server",
        remedy=f"start the local one (make up), or set {TRACKING_URI} in .env",
    )


def _remote(project: DvcProject) -> str:
    told = project.prove_remote()
    if told is None:
        raise NotApplicableError("the project has no default DVC remote:  dvc remote add --default NAME URL")
    return told
