"""A run: every stage that the targets need, several at once, each after what it reads."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from dvc_runner.errors import EXIT_INTERRUPTED, EXIT_STAGE_FAILED, BuildError, DvcRunnerError, of_os_error
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Kind, Limits, Outcome, Reason, ReasonKind, StageResult
from dvc_runner.pipeline.check import checked
from dvc_runner.pipeline.desk import Desk
from dvc_runner.pipeline.jobs import Job, Jobs, failed, not_run
from dvc_runner.pipeline.needs import lacking
from dvc_runner.pipeline.preparations import Preparations
from dvc_runner.pipeline.record import Record
from dvc_runner.pipeline.registered import Registered
from dvc_runner.pipeline.request import Request
from dvc_runner.pipeline.schedule import Schedule
from dvc_runner.pipeline.stage_run import Surroundings
from dvc_runner.workspace.dvc_project import DvcProject
from dvc_runner.workspace.up_to_date import Look

UNHURT = (Outcome.RAN, Outcome.RESTORED, Outcome.SKIPPED)


class Run:
    """One run of a project's stages.

    The main thread asks DVC, decides, and keeps the books; threads of the run's own start commands and wait
    for them. A failed stage blocks what reads its outs; the others go on only with ``keep_going``.
    """

    def __init__(
        self,
        project: DvcProject,
        around: Surroundings,
        request: Request,
        record: Record,
        preparations: Preparations,
        *,
        is_watched: bool = False,
    ) -> None:
        """Set up a run; nothing is read or run yet.

        If the project ``is_watched``, ``look`` is what it looks like at the end.
        """
        self._project = project
        self._around = around
        self._request = request
        self._record = record
        self._preparations = preparations
        self._is_watched = is_watched
        self.registered = Registered(around.settings)
        self.look: Look | None = None
        self._order: tuple[str, ...] = ()
        self._schedule = Schedule((), {}, request.room)
        self._desk = Desk()
        self._jobs = Jobs(project, around, request.handling, record, preparations, self._desk)
        self._forced: set[str] = set()
        self._failed: list[str] = []
        self._ended: deque[tuple[StageResult, float]] = deque()
        self._begun: dict[str, StageResult] = {}
        self.results: dict[str, StageResult] = {}
        self.interrupted = False

    def go(self) -> None:
        """Bring every stage up to date; ``results`` has one entry per stage, in order.

        An interrupt ends the stages at work, which count as cancelled, and the run.

        Raises:
            ConfigurationError: dvc.yaml cannot be read, or a stage in it makes no sense; nothing has run.
        """
        request = self._request
        with self._project.session(is_watched=self._is_watched, on_wait=self._record.waits):
            if request.handling.pull and request.handling.run_cache:
                self._project.pull_run_cache()
            self._order = self._project.plan(request.selection)
            self._project.sweep()
            self._project.see_project()
            self._project.check_config()
            for address in self._order:
                checked(self._project, address)
            if any(self._project.kind(address) is Kind.OURS for address in self._order):
                self._around.origins.revision()
            self._check_needs(self._order)
            self._schedule = Schedule(self._order, self._after(), request.room)
            with INTERRUPTS.postponed(), ThreadPoolExecutor(request.room.jobs) as threads:
                try:
                    self._loop(threads)
                except BaseException:
                    INTERRUPTS.end_all()
                    raise
                finally:
                    self._desk.close()
            self.results = {address: self.results[address] for address in self._order if address in self.results}
            done = [address for address, one in self.results.items() if one.outcome in UNHURT]
            self.look = self._project.look([] if self.interrupted else done)

    def _after(self) -> dict[str, tuple[str, ...]]:
        """Say what each stage comes after."""
        if self._request.selection.single_item:
            # As they were named: whether one reads what another makes is the person's business.
            return {later: (first,) for first, later in zip(("", *self._order), self._order, strict=False)}
        return {address: self._project.upstream(address) for address in self._order}

    def _check_needs(self, order: tuple[str, ...]) -> None:
        """See that every stage that may run has what it needs; one that is up to date needs nothing."""
        missing = lacking((self._project.stage(address) for address in order), self._around.settings)
        may_run: set[str] = set()
        for address in order if missing else ():
            if not may_run.isdisjoint(self._project.upstream(address)) or self._reasons(address):
                may_run.add(address)
                if address in missing:
                    raise missing[address]

    @property
    def exit_code(self) -> int:
        """One code for failed stages, whatever made them fail."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_STAGE_FAILED if self._failed else 0

    @property
    def outcome(self) -> str:
        """``done``, ``failed`` or ``cancelled``."""
        if self.interrupted:
            return "cancelled"
        return "failed" if self.exit_code else "done"

    def _loop(self, threads: ThreadPoolExecutor) -> None:
        """Look at stages, start them and take what comes of them, until there is nothing left to do."""
        while True:
            self._desk.serve()
            self.interrupted = INTERRUPTS.taken() or self.interrupted
            if not self._project.turn.is_held:
                # The interrupt came while another dvc command had DVC's lock: nothing is noted any more.
                self._drop_ended()
                if not self._schedule.at_work:
                    return
                self._desk.wait(None, until_interrupted=False)
                continue
            # Whoever could be at work goes before the books.
            if not self.interrupted and self._start_one(threads):
                continue
            if self._ended:
                self._keep_books(*self._ended.popleft())
                continue
            if not self.interrupted and self._look_at_one():
                continue
            if not self._schedule.at_work:
                return
            seconds = self._project.write_lock()
            with self._project.turn.let_go():
                self._desk.wait(seconds, until_interrupted=not self.interrupted and not self._is_ending)

    @property
    def _is_ending(self) -> bool:
        """Whether what runs was told to end."""
        return self._request.fail_fast and bool(self._failed)

    def _look_at_one(self) -> bool:
        """Settle a stage that needs no command, or queue it; say whether there was one to look at."""
        address = self._schedule.opened()
        if address is None:
            return False
        stopped = self._stopped(address)
        if stopped:
            self._settle(stopped)
            return True
        began = time.monotonic()
        result = self._guarded(StageResult(stage=address, outcome=Outcome.SKIPPED), partial(self._look_at, address))
        if result.outcome is Outcome.RAN and self._project.kind(address) is not Kind.DVC:
            self._begun[address] = result
            self._schedule.queue(address, self._limits(address))
        else:
            self._settle(replace(result, seconds=time.monotonic() - began))
        return True

    def _limits(self, address: str) -> Limits:
        container = self._project.stage(address).container
        return container.limits if container else Limits()

    def _stopped(self, address: str) -> StageResult | None:
        for upstream in self._project.upstream(address):
            found = self.results.get(upstream)
            if found and found.outcome in (Outcome.FAILED, Outcome.BLOCKED):
                return not_run(address, upstream, Outcome.BLOCKED)
        if self._failed and not self._request.keep_going:
            return not_run(address, self._failed[0], Outcome.CANCELLED)
        return None

    def _is_forced(self, address: str) -> bool:
        return self._request.handling.force or address in self._forced

    def _reasons(self, address: str) -> tuple[Reason, ...]:
        found = self._project.reasons(
            address, forced=self._is_forced(address), allow_missing=self._request.handling.allow_missing
        )
        return found or self.registered.reasons(self._project, address)

    def _look_at(self, address: str, result: StageResult) -> StageResult:
        """Say what is to become of a stage; do it, unless a command has to run for it."""
        with INTERRUPTS.allowed():
            reasons = self._reasons(address)
        return self._guarded(replace(result, reasons=reasons), partial(self._take_up, address)) if reasons else result

    def _take_up(self, address: str, result: StageResult) -> StageResult:
        """Do what is to become of a stage that has reasons, unless a command has to run for it."""
        handling = self._request.handling
        forced = self._is_forced(address)
        may_pull = handling.pull and not forced and result.reasons[0].kind is not ReasonKind.REGISTRY
        if may_pull and self._project.pull(address) and not self.registered.reasons(self._project, address):
            return replace(result, outcome=Outcome.RESTORED)
        if self._project.kind(address) is Kind.DVC:
            self._record.stage_started(address, result.reasons)
            self._project.reproduce_as_dvc(address, handling, forced=forced)
        elif not forced and self._project.restore(address, handling, self.registered.holds):
            return replace(result, outcome=Outcome.RESTORED)
        return replace(result, outcome=Outcome.RAN)

    def _start_one(self, threads: ThreadPoolExecutor) -> bool:
        """Start a queued stage, if there is one and room for it; say whether that was so."""
        address = self._schedule.start()
        if address is None:
            return False
        stopped = self._stopped(address)
        if stopped:
            self._schedule.leave(address)
            self._settle(stopped)
            return True
        self._record.stage_started(address, self._begun[address].reasons)
        began = time.monotonic()
        self._jobs.prepare_ahead(address, self._order, self._reasons)

        def begin(result: StageResult) -> StageResult:
            job = self._jobs.made_ready(address)
            result = replace(result, log=self._record.log_of(address))
            threads.submit(self._at_work, result, job, began)
            return result

        result = self._guarded(self._begun.pop(address), begin)
        if result.outcome is not Outcome.RAN:
            self._schedule.leave(address)
            self._settle(replace(result, seconds=time.monotonic() - began))
        return True

    def _at_work(self, result: StageResult, job: Job, began: float) -> None:
        """Do a stage's job, in a thread of the run's own."""
        try:
            result = self._guarded(result, job)
        except BaseException as error:  # noqa: BLE001 - a bug of ours: the main thread ends with it
            caught = error
            self._desk.post(lambda: _raise(caught))
            return
        self._desk.post(lambda: self._leave(result, began))

    def _leave(self, result: StageResult, began: float) -> None:
        """Take that a stage's command has ended: its place is free."""
        self._schedule.leave(result.stage)
        if result.outcome is Outcome.RAN:
            self._ended.append((result, began))
        else:
            self._keep_books(result, began)

    def _keep_books(self, result: StageResult, began: float) -> None:
        """Take what came of a stage's command."""
        if result.outcome is Outcome.RAN:
            result = self._guarded(result, self._kept)
        self._settle(replace(result, seconds=time.monotonic() - began))

    def _drop_ended(self) -> None:
        """Take that stages whose commands have ended are to be run again."""
        while self._ended:
            result, began = self._ended.popleft()
            self._settle(replace(result, outcome=Outcome.CANCELLED, seconds=time.monotonic() - began))

    def _kept(self, result: StageResult) -> StageResult:
        handling = self._request.handling
        if self._project.kind(result.stage) is Kind.OURS:
            self._project.commit(result.stage, handling)
            self._around.origins.keep(self._around.root, self._project.past(result.stage))
        else:
            self._project.record(result.stage, handling)
        return result

    def _guarded(self, result: StageResult, act: Callable[[StageResult], StageResult]) -> StageResult:
        """Give what ``act`` makes of a result, also where it fails."""
        try:
            return act(result)
        except KeyboardInterrupt:
            self.interrupted = self.interrupted or not self._is_ending
            return replace(result, outcome=Outcome.CANCELLED)
        except BuildError as caught:
            return replace(failed(result, caught), log=self._preparations.log_of(result.stage))
        except (DvcRunnerError, OSError) as caught:
            return failed(result, of_os_error(caught) if isinstance(caught, OSError) else caught)

    def _settle(self, result: StageResult) -> None:
        """Take a stage's result, and tell it."""
        self.results[result.stage] = result
        self._project.leave(result.stage)
        if result.outcome is Outcome.FAILED:
            self._failed.append(result.stage)
        forces = result.outcome in (Outcome.RAN, Outcome.RESTORED) or self._is_forced(result.stage)
        if self._request.handling.force_downstream and forces and result.outcome in UNHURT:
            self._forced.update(self._project.downstream(result.stage))
        self._schedule.settle(result.stage)
        self._record.stage_ended(result)
        if self._is_ending:
            INTERRUPTS.end_all()


def _raise(error: BaseException) -> None:
    raise error
