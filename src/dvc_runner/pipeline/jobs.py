"""What a thread of a run does for a stage, and what that comes to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from dvc_runner.errors import DvcRunnerError
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Handling, Kind, Outcome, Reason, ReasonKind, ShellCommands, Stage, StageResult
from dvc_runner.pipeline.ahead import likely
from dvc_runner.pipeline.desk import Desk
from dvc_runner.pipeline.mask import Mask
from dvc_runner.pipeline.preparations import Preparations
from dvc_runner.pipeline.record import Record
from dvc_runner.pipeline.shell import run_commands
from dvc_runner.pipeline.stage_run import Surroundings, run_stage
from dvc_runner.workspace import dvc_hashing, secrets
from dvc_runner.workspace.dvc_project import DvcProject

Job = Callable[[StageResult], StageResult]


@dataclass(slots=True)
class Jobs:
    """Makes jobs; they ask the main thread, at its desk, for what only it may do."""

    project: DvcProject
    around: Surroundings
    handling: Handling
    record: Record
    preparations: Preparations
    desk: Desk
    _is_ahead: bool = field(default=False, init=False)

    def prepare_ahead(self, address: str, order: Sequence[str], reasons: Callable[[str], tuple[Reason, ...]]) -> None:
        """As soon as the first stage runs, have what it and those after it run in made."""
        if self._is_ahead:
            return
        self._is_ahead = True
        later = order[order.index(address) + 1 :]
        if not any(self.project.kind(one) is Kind.OURS for one in (address, *later)):
            return

        def is_changed(one: str) -> bool:
            try:
                return bool(reasons(one))
            except DvcRunnerError:
                return False  # told when its turn comes

        runs = likely(address, later, upstream=self.project.upstream, changed=is_changed)
        ours = [one for one in (address, *runs) if self.project.kind(one) is Kind.OURS]
        self.preparations.begin(self.project.stage(one) for one in ours)

    def made_ready(self, address: str) -> Job:
        """Get a stage's inputs ready, in the main thread; give what a thread has to do for it."""
        if self.project.kind(address) is Kind.OURS:
            with INTERRUPTS.allowed():
                stage = self.project.begin(address)
            return partial(self._execute, stage)
        commands = self.project.shell(address, self.handling)
        return partial(self._in_shell, self.project.stage(address), commands)

    def _execute(self, stage: Stage, result: StageResult) -> StageResult:
        """Run a stage of ours."""
        with self.record.writing_log(stage.address) as log:
            performed = run_stage(
                stage,
                self.around,
                log.line,
                self.preparations.take,
                confirm=lambda: self.desk.call(lambda: self._confirm(stage.address)),
            )
        result = replace(
            result,
            image=performed.environment.reference,
            usage=performed.ended.usage,
            undeclared_writes=performed.undeclared_writes,
        )
        return self._done(result, performed.error)

    def _confirm(self, address: str) -> None:
        """See that a stage's outs are to be taken, and have no other dvc command at work until they are."""
        self.project.confirm_deps(address)
        self.project.turn.keep(address)

    def _in_shell(self, stage: Stage, commands: ShellCommands, result: StageResult) -> StageResult:
        """Run a stage of DVC's own kind."""
        settings = self.around.settings
        with self.record.writing_log(stage.address) as log:
            masked = Mask(secrets.values(settings, ()), log.line, joined=secrets.joined(settings))
            if commands.is_bare:
                why = "its command does not begin with dvc-runner exec"
                masked(f"warning: meta.container of {stage.address} is not used: {why}")
            usage, error = run_commands(stage, commands, masked)
            masked.flush()
        return self._done(replace(result, usage=usage), error)

    def _done(self, result: StageResult, error: DvcRunnerError | None) -> StageResult:
        """Give the result of a command that ended; the main thread has other work than to hash large outs."""
        if error:
            return failed(result, error)
        hashes = dvc_hashing.of_large(self.project.outs(result.stage))
        if hashes:
            self.desk.post(lambda: self.project.know(hashes))
        return result


def failed(result: StageResult, error: DvcRunnerError) -> StageResult:
    """Give a result that says how its stage failed."""
    return replace(result, outcome=Outcome.FAILED, error=str(error), remedy=error.remedy)


def not_run(address: str, because_of: str, outcome: Outcome) -> StageResult:
    """Give the result of a stage that does not run, since another failed."""
    reason = Reason(kind=ReasonKind.UPSTREAM, name=because_of, new="failed")
    return StageResult(stage=address, outcome=outcome, reasons=(reason,))
