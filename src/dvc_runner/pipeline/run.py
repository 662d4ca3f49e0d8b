"""A run: every stage that the targets need, in the order of the graph."""

import time
from dataclasses import dataclass, replace

from dvc_runner.errors import EXIT_INTERRUPTED, BuildError, ConfigurationError, DvcRunnerError, of_os_error
from dvc_runner.model import Outcome, Reason, ReasonKind, StageResult
from dvc_runner.pipeline.ahead import likely
from dvc_runner.pipeline.check import check
from dvc_runner.pipeline.needs import needs_of
from dvc_runner.pipeline.preparations import Preparations
from dvc_runner.pipeline.record import Record
from dvc_runner.pipeline.stage_run import Surroundings, run_stage
from dvc_runner.workspace.dvc_project import DvcProject


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a person asked of a run."""

    targets: tuple[str, ...] = ()
    force: bool = False
    single_item: bool = False
    keep_going: bool = False


class Run:
    """One run of a project's stages, one after the other.

    A failed stage blocks what reads its outs; the others go on only with ``keep_going``.
    """

    def __init__(
        self,
        project: DvcProject,
        around: Surroundings,
        request: Request,
        record: Record,
        preparations: Preparations,
    ) -> None:
        """Set up a run; nothing is read or run yet."""
        self._project = project
        self._around = around
        self._request = request
        self._record = record
        self._preparations = preparations
        self._order: tuple[str, ...] = ()
        self._is_ahead = False
        self.results: dict[str, StageResult] = {}
        self.interrupted = False

    def go(self) -> None:
        """Bring every stage up to date; ``results`` has one entry per stage, in order.

        An interrupt ends the stage at work, which counts as cancelled, and the run.

        Raises:
            ConfigurationError: dvc.yaml cannot be read, or a stage in it makes no sense; nothing has run.
        """
        request = self._request
        with self._project.session():
            self._order = self._project.plan(request.targets, single_item=request.single_item)
            for address in self._order:
                check(self._project.stage(address))
            self._check_needs(self._order)
            for address in self._order:
                result = self._stopped(address) or self._bring_up_to_date(address)
                self.results[address] = result
                self._record.stage_ended(result)
                if self.interrupted:
                    break

    def _check_needs(self, order: tuple[str, ...]) -> None:
        """See that every stage that may run has what it needs; one that is up to date needs nothing."""
        missing: dict[str, ConfigurationError] = {}
        for address in order:
            try:
                needs_of(self._project.stage(address), self._around.settings)
            except ConfigurationError as error:
                missing[address] = error
        may_run: set[str] = set()
        for address in order if missing else ():
            forced = self._request.force
            if not may_run.isdisjoint(self._project.upstream(address)) or self._project.reasons(address, forced=forced):
                may_run.add(address)
                if address in missing:
                    raise missing[address]

    @property
    def exit_code(self) -> int:
        """The code of the first failure, or of an interrupt."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return next((result.exit_code for result in self.results.values() if result.exit_code), 0)

    @property
    def outcome(self) -> str:
        """``done``, ``failed`` or ``cancelled``."""
        if self.interrupted:
            return "cancelled"
        return "failed" if self.exit_code else "done"

    def _stopped(self, address: str) -> StageResult | None:
        for upstream in self._project.upstream(address):
            found = self.results.get(upstream)
            if found and found.outcome in (Outcome.FAILED, Outcome.BLOCKED):
                return _not_run(address, upstream, Outcome.BLOCKED)
        failed = [r.stage for r in self.results.values() if r.outcome is Outcome.FAILED]
        if failed and not self._request.keep_going:
            return _not_run(address, failed[0], Outcome.CANCELLED)
        return None

    def _bring_up_to_date(self, address: str) -> StageResult:
        began = time.monotonic()
        result = StageResult(stage=address, outcome=Outcome.SKIPPED)
        try:
            reasons = self._project.reasons(address, forced=self._request.force)
            result = replace(result, reasons=reasons)
            if reasons and not self._request.force and self._project.restore(address):
                result = replace(result, outcome=Outcome.RESTORED)
            elif reasons:
                self._record.stage_started(address, reasons)
                self._prepare_ahead(address)
                result = replace(result, outcome=Outcome.RAN)
                stage = self._project.stage(address)
                if stage.argv is None or stage.container is None:
                    self._project.reproduce_as_dvc(address)
                else:
                    result = replace(result, log=self._record.log_of(address))
                    result = self._execute(address, result)
        except KeyboardInterrupt:
            self.interrupted = True
            result = replace(result, outcome=Outcome.CANCELLED)
        except BuildError as caught:
            result = replace(_failed(result, caught), log=self._preparations.log_of(address))
        except (DvcRunnerError, OSError) as caught:
            result = _failed(result, of_os_error(caught) if isinstance(caught, OSError) else caught)
        return replace(result, seconds=time.monotonic() - began)

    def _prepare_ahead(self, address: str) -> None:
        """As soon as the first stage runs, have what it and those after it run in made."""
        if self._is_ahead:
            return
        self._is_ahead = True
        later = self._order[self._order.index(address) + 1 :]
        runs = likely(address, later, upstream=self._project.upstream, changed=self._is_changed)
        stages = [self._project.stage(one) for one in (address, *runs)]
        self._preparations.begin(stage for stage in stages if stage.argv and stage.container)

    def _is_changed(self, address: str) -> bool:
        try:
            return bool(self._project.reasons(address, forced=self._request.force))
        except DvcRunnerError:
            return False  # told when its turn comes

    def _execute(self, address: str, result: StageResult) -> StageResult:
        """Run a stage of ours."""
        stage = self._project.hash_deps(address)
        with self._record.writing_log(address) as log, self._project.unlocked():
            performed = run_stage(
                stage,
                self._around,
                log.line,
                self._preparations.take,
                confirm=lambda: self._project.confirm_deps(address),
            )
        result = replace(
            result,
            image=performed.environment.reference,
            usage=performed.ended.usage,
            undeclared_writes=performed.undeclared_writes,
        )
        if performed.error:
            return _failed(result, performed.error)
        self._project.commit(address)
        return result


def _failed(result: StageResult, error: DvcRunnerError) -> StageResult:
    return replace(
        result,
        outcome=Outcome.FAILED,
        error=str(error),
        remedy=error.remedy,
        exit_code=error.exit_code,
    )


def _not_run(address: str, because_of: str, outcome: Outcome) -> StageResult:
    reason = Reason(kind=ReasonKind.UPSTREAM, name=because_of, new="failed")
    return StageResult(stage=address, outcome=outcome, reasons=(reason,))
