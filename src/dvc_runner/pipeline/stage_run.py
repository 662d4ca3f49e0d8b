"""One stage from its definition to its outs: prepare, execute, collect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dvc_runner.errors import ConfigurationError, StageError
from dvc_runner.executors.base import Executor
from dvc_runner.model import (
    ContainerExit,
    ContainerSpec,
    Ending,
    Environment,
    Network,
    Sandbox,
    Stage,
    TrackingServer,
    User,
)
from dvc_runner.pipeline.check import check
from dvc_runner.pipeline.mask import Mask
from dvc_runner.workspace import lineage, sandbox, secrets

DEFAULT_PORTS = {"http": 80, "https": 443}
TRACKING_URI = "MLFLOW_TRACKING_URI"
# By itself MLflow's client tries a server that is gone for four minutes, in silence.
TRACKING_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What is the same for every stage of a run.

    ``revision`` is git's commit, branch and dirty flag; ``settings`` are the environment's and
    the .env files'; ``experiment`` what DVC tells a command of an experiment.
    """

    root: Path
    cache: Path
    executor: Executor
    settings: Mapping[str, str]
    revision: tuple[str | None, str | None, bool | None]
    experiment: tuple[tuple[str, str], ...] = ()


def run_stage(
    stage: Stage,
    around: Surroundings,
    on_line: Callable[[str], None],
    on_preparation: Callable[[str], None],
    *,
    confirm: Callable[[], None],
) -> Environment:
    """Run a stage and bring its outs into the project; say what it ran in.

    Args:
        stage: The stage, its deps hashed.
        around: What is the same for every stage of the run.
        on_line: Takes the stage's output.
        on_preparation: Takes the words of whatever makes its image or environment.
        confirm: Raises if the stage's outs are not to be taken, once its command has ended well.

    Raises:
        StageError: The command failed, or an out is missing.
        EngineError: It could not be started.
    """
    check(stage)
    contents = secrets.files(stage, around.settings)
    tracking = _tracking_server(stage, around.settings)
    names = stage.container.secrets if stage.container else ()
    hidden = secrets.values(around.settings, names)
    masked = Mask(hidden, on_line)
    environment = around.executor.prepare(stage, Mask(hidden, on_preparation))
    links = around.executor.links_deps
    user = sandbox.current_user() if links else sandbox.stage_user(around.root)
    with sandbox.opened((around.root, around.cache), stage, user=user, secrets=contents, links=links) as scratch:
        text = lineage.text(
            stage,
            revision=around.revision,
            environment=environment,
            executor=around.executor.name,
        )
        sandbox.write_lineage(scratch, text)
        spec = _spec(stage, around, scratch, environment=environment, user=user, tracking=tracking)
        ended = around.executor.execute(spec, masked)
        _raise_for(stage, ended)
        confirm()
        for path in sandbox.collect(around.root, stage, scratch):
            masked(f"warning: {stage.address} wrote {path}, which is none of its outs: dropped")
    return environment


def _spec(
    stage: Stage,
    around: Surroundings,
    scratch: Sandbox,
    *,
    environment: Environment,
    user: User,
    tracking: TrackingServer | None,
) -> ContainerSpec:
    container = stage.container
    env = {"DVC_STAGE": stage.address, **dict(around.experiment)}
    if tracking:
        env |= {TRACKING_URI: tracking.uri, **TRACKING_PATIENCE}
    return ContainerSpec(
        stage=stage.address,
        argv=stage.argv or (),
        wdir=stage.wdir,
        environment=environment,
        sandbox=scratch,
        env=tuple(sorted(env.items())),
        python_path=container.build.folders if container and container.build else (),
        user=user,
        network=container.network if container else Network.NONE,
        tracking=tracking,
        cpus=container.cpus if container else None,
        memory_bytes=container.memory_bytes if container else None,
        timeout_s=container.timeout_s if container else None,
    )


def _tracking_server(stage: Stage, settings: Mapping[str, str]) -> TrackingServer | None:
    if stage.container is None or stage.container.network is not Network.TRACKING:
        return None
    uri = settings.get(TRACKING_URI, "")
    try:
        parts = urlsplit(uri)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if port is None or not parts.hostname:
        raise ConfigurationError(
            f"stage {stage.address} needs an MLflow server, and {TRACKING_URI} is {uri!r}",
            remedy=f"start the local one (make up), or set {TRACKING_URI} in .env to http(s)://…",
        )
    return TrackingServer(uri=uri, host=parts.hostname, port=port)


def _raise_for(stage: Stage, ended: ContainerExit) -> None:
    seconds = f"{ended.seconds:.0f} s"
    limit = stage.container.memory_bytes if stage.container else None
    told = {
        Ending.TIMED_OUT: (
            f"took longer than its timeout and was ended after {seconds}",
            "raise meta.container.timeout in dvc.yaml, or make it faster",
        ),
        Ending.OUT_OF_MEMORY: (
            f"was ended for want of memory (limit: {limit or 'the machine'} bytes)",
            "raise meta.container.memory in dvc.yaml, or let it need less",
        ),
        Ending.KILLED: (
            f"was killed from outside after {seconds}",
            "run again; if it is killed again, look at the machine's memory",
        ),
        Ending.VANISHED: (
            "vanished: its container was removed, or the engine went away",
            "see whether the engine still runs (docker info), then run again",
        ),
    }
    if ended.ending in told:
        message, remedy = told[ended.ending]
        raise StageError(f"{stage.address} {message}", remedy=remedy)
    if ended.code:
        raise StageError(f"{stage.address} ended with exit code {ended.code}", remedy="its own words say why")
