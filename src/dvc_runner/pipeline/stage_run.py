"""One stage from its definition to its outs: prepare, execute, collect."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dvc_runner.errors import DvcRunnerError, StageError
from dvc_runner.executors.base import Executor
from dvc_runner.model import (
    WORKSPACE,
    Container,
    ContainerExit,
    ContainerSpec,
    Ending,
    Environment,
    Sandbox,
    Stage,
    User,
)
from dvc_runner.pipeline import undeclared
from dvc_runner.pipeline.check import check
from dvc_runner.pipeline.mask import Mask
from dvc_runner.pipeline.needs import ARTIFACTS_URI, Needs, needs_of
from dvc_runner.pipeline.origins import Origins
from dvc_runner.tracking import artifacts
from dvc_runner.workspace import outs, quantities, sandbox, secrets

LAST_WORDS = 50
# By itself MLflow's client tries a server that is gone for four minutes, in silence.
TRACKING_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What is the same for every stage of a run.

    ``settings`` are the environment's and the .env files'; ``experiment`` is what DVC tells a command of an
    experiment; ``origins`` what stages are told of where their results come from.
    """

    root: Path
    cache: Path
    executor: Executor
    settings: Mapping[str, str]
    experiment: tuple[tuple[str, str], ...] = ()
    origins: Origins = field(default_factory=Origins)


@dataclass(frozen=True, kw_only=True, slots=True)
class Performed:
    """What came of a stage's command: ``error`` says how it failed, None if it did not.

    It is ``explained`` where the stage's words told of something that is hidden from it.
    """

    environment: Environment
    ended: ContainerExit
    undeclared_writes: tuple[str, ...] = ()
    error: DvcRunnerError | None = None
    explained: bool = False


def run_stage(
    stage: Stage,
    around: Surroundings,
    on_line: Callable[[str], None],
    prepare: Callable[[Stage], Environment],
    *,
    confirm: Callable[[], None],
) -> Performed:
    """Run a stage, again if that may mend its failure, and bring its outs into the project.

    Args:
        stage: The stage, its deps hashed.
        around: What is the same for every stage of the run.
        on_line: Takes the stage's output.
        prepare: Gives what it runs in.
        confirm: Raises if the stage's outs are not to be taken, once its command has ended well.

    Raises:
        ConfigurationError: It cannot be run as dvc.yaml has it.
        EngineError: It could not be started.
    """
    attempt = attempt_of(stage, around, confirm=confirm)
    container = attempt.container
    pairs = secrets.joined(around.settings)
    masked = Mask(secrets.values(around.settings, container.secrets), on_line, joined=pairs)
    environment = prepare(stage)
    performed = attempt.make(environment, masked)
    for left in reversed(range(container.retries)):
        if not _mended_by_a_repeat(performed):
            break
        masked(f"warning: {performed.error}; trying again, {left} more to come")
        performed = attempt.make(environment, masked)
    performed = attempt.with_its_store(performed)
    if not performed.error and (lost := attempt.lost_files()):
        masked(f"warning: {lost}")
    if performed.undeclared_writes:
        masked(f"warning: {stage.address} wrote {outs.named(performed.undeclared_writes)}: no outs of its, dropped")
    masked.flush()
    return performed


def attempt_of(stage: Stage, around: Surroundings, *, confirm: Callable[[], None]) -> "Attempt":
    """Check a stage, and find its secrets and the server that it needs.

    Raises:
        ConfigurationError: It cannot be run as dvc.yaml has it.
    """
    check(stage)
    return Attempt(
        stage=stage,
        container=stage.container or Container(),
        around=around,
        needs=needs_of(stage, around.settings),
        confirm=confirm,
    )


def _mended_by_a_repeat(performed: Performed) -> bool:
    """Say whether the same command may end otherwise: not with the same memory, deps or lack of an out."""
    if performed.ended.ending is Ending.EXITED:
        return performed.ended.code != 0 and not performed.explained
    return performed.ended.ending is not Ending.OUT_OF_MEMORY


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A stage's command, ready to be tried as often as need be, each time in a scratch folder of its own."""

    stage: Stage
    container: Container
    around: Surroundings
    needs: Needs
    confirm: Callable[[], None]

    @contextlib.contextmanager
    def laid_out(self, environment: Environment) -> Iterator[ContainerSpec]:
        """Lay out a scratch folder of its own, for as long as the block lasts; give what the executor needs to know."""
        stage, around = self.stage, self.around
        links = around.executor.links_deps
        user = sandbox.current_user() if links else sandbox.stage_user(around.root)
        project = (around.root, around.cache)
        with sandbox.opened(project, stage, user=user, secrets=self.needs.files, links=links) as scratch:
            sandbox.write_lineage(scratch, self.lineage(environment))
            yield self.spec(scratch, environment, user)

    def make(self, environment: Environment, on_line: Mask) -> Performed:
        """Run the command once; collect its outs if it ended well."""
        stage, around = self.stage, self.around
        with self.laid_out(environment) as spec:
            scratch = spec.sandbox
            words: deque[str] = deque(maxlen=LAST_WORDS)

            def heard(line: str) -> None:
                words.append(line)
                on_line(line)

            try:
                ended = around.executor.execute(spec, heard)
            finally:
                on_line.flush()
            error = found = failure(stage, ended)
            if error and ended.ending is Ending.EXITED:
                seen_as = (WORKSPACE, str(scratch.workspace), str(around.root))
                error = undeclared.explained(error, stage, words, undeclared.Place(root=around.root, seen_as=seen_as))
            performed = Performed(environment=environment, ended=ended, error=error, explained=error is not found)
            if performed.error:
                return performed
            try:
                self.confirm()
                return replace(performed, undeclared_writes=outs.collect(around.root, stage, scratch, on_line))
            except DvcRunnerError as error:
                return replace(performed, error=error)

    def with_its_store(self, performed: Performed) -> Performed:
        """Say of a command that failed if the tracking server keeps files where the stage does not lead."""
        if not (self.needs.servers and performed.error and performed.ended.code and not performed.explained):
            return performed
        reached = {server.host for server in self.needs.servers}
        found = artifacts.out_of_reach(self.around.settings, reached, s3=ARTIFACTS_URI in self.needs.addresses)
        if not found:
            return performed
        remedy = (
            f"{performed.error.remedy}; {found}, where  network: tracking  does not lead: if it logs there, start the "
            f"server with --serve-artifacts, or for S3 set {ARTIFACTS_URI} (https://s3.REGION.amazonaws.com)"
        )
        return replace(performed, error=StageError(str(performed.error), remedy=remedy))

    def lost_files(self) -> str | None:
        """Say if the tracking server has a stage keep files where they end with it, and the stage sees no failure."""
        if not (self.needs.servers and self.around.executor.vanishing):
            return None
        found = artifacts.within(self.around.settings, self.around.executor.vanishing)
        return found and (
            f"{found}, for a stage a place of its own that is gone at its end: what {self.stage.address} logged there "
            "is lost; start the server with --serve-artifacts, use a new experiment, and run again with --force"
        )

    def lineage(self, environment: Environment) -> str:
        """Give the content of its LINEAGE_FILE."""
        around = self.around
        hidden = secrets.values(around.settings, self.container.secrets)
        name = around.executor.name
        return around.origins.text(self.stage, environment, executor=name, root=around.root, secrets=hidden)

    def spec(self, scratch: Sandbox, environment: Environment, user: User) -> ContainerSpec:
        """Give what the executor needs to know of it."""
        env = {"DVC_STAGE": self.stage.address, **dict(self.around.experiment)}
        if self.needs.servers:
            env |= {**self.needs.addresses, **TRACKING_PATIENCE}
        return ContainerSpec(
            stage=self.stage.address,
            argv=self.stage.argv or (),
            wdir=self.stage.wdir,
            environment=environment,
            sandbox=scratch,
            env=tuple(sorted(env.items())),
            env_at_home=tuple(self.needs.certificates.items()),
            python_path=self.container.build.folders if self.container.build else (),
            user=user,
            network=self.container.network,
            servers=self.needs.servers,
            limits=self.container.limits,
        )


def failure(stage: Stage, ended: ContainerExit) -> StageError | None:
    """Say how a command failed, and the way out; None if it did not."""
    seconds = f"{ended.seconds:.0f} s"
    told = {
        Ending.TIMED_OUT: (
            f"took longer than its timeout and was ended after {seconds}",
            "raise meta.container.timeout in dvc.yaml, or make it faster",
        ),
        Ending.OUT_OF_MEMORY: (
            f"was ended for want of memory ({_memory(stage, ended)})",
            "raise meta.container.memory in dvc.yaml, or let it need less",
        ),
        Ending.KILLED: (
            # An engine does not tell a SIGKILL from a command that ends so by itself.
            f"ended after {seconds} with exit code {ended.code}, as what is killed does",
            "see whether its own words say why; if something killed it, look at the machine's memory, and run again",
        ),
        Ending.VANISHED: (
            "vanished: its container was removed, or the engine went away",
            "see whether the engine still runs (docker info), then run again",
        ),
    }
    if ended.ending in told:
        message, remedy = told[ended.ending]
        return StageError(f"{stage.address} {message}", remedy=remedy)
    if ended.code:
        return StageError(f"{stage.address} ended with exit code {ended.code}", remedy="its own words say why")
    return None


def _memory(stage: Stage, ended: ContainerExit) -> str:
    """Say how much memory a command could have, and the most that it was seen to have."""
    limit = stage.container.limits.memory_bytes if stage.container else None
    peak = ended.usage.peak_memory_bytes if ended.usage else None
    words = [f"limit: {quantities.in_words(limit) if limit else 'all of the machine'}"]
    return ", ".join(words + ([f"peak seen: {quantities.in_words(peak)}"] if peak else []))
