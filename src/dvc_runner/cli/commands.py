"""What each command does, once its arguments are read."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dvc_runner.cli import parents, quick
from dvc_runner.cli import settings as settings_file
from dvc_runner.cli.printing import err, live, machine_readable, out
from dvc_runner.cli.settings import Settings
from dvc_runner.errors import EXIT_INTERRUPTED, DvcRunnerError, UsageError
from dvc_runner.executors import processes
from dvc_runner.executors.base import Executor
from dvc_runner.executors.table import choose
from dvc_runner.model import Selection
from dvc_runner.pipeline.check import check
from dvc_runner.pipeline.preparations import Preparations
from dvc_runner.pipeline.record import Observer, Record
from dvc_runner.pipeline.request import Request
from dvc_runner.pipeline.run import Run
from dvc_runner.pipeline.stage_run import Surroundings, run_stage
from dvc_runner.report import summary, words
from dvc_runner.report.preparing import Preparing
from dvc_runner.report.progress import JsonLines, Progress
from dvc_runner.workspace import lifeline, up_to_date
from dvc_runner.workspace.aside import recover
from dvc_runner.workspace.dvc_project import DvcProject
from dvc_runner.workspace.places import ASIDE, FOLDER


def run(request: Request, executor_name: str | None, *, as_json: bool) -> int:
    """Bring the targets up to date, the run lock being held; give the exit code."""
    began = time.monotonic()
    write = err if as_json else out
    observer: Observer = JsonLines(machine_readable(), err) if as_json else Progress(out)
    with opened() as (project, settings):
        executor = _executor(project.root, settings, executor_name, write)
        record = Record(project.root, [observer])
        record.run_started(targets=request.selection.targets, jobs=request.room.jobs, executor=executor.name)
        watch = Preparing(write, live())
        preparations = Preparations(executor, project.root, record.folder, settings.values, watch)
        name = quick.key(request, Path.cwd().resolve())
        last = up_to_date.read(project.root, name) if name else None
        work = Run(project, surroundings(project, settings, executor), request, record, preparations, last)
        try:
            with executor.opened(), processes.nursery(), preparations.opened():
                work.go()
        except DvcRunnerError as error:
            record.run_ended(outcome="failed", exit_code=error.exit_code, seconds=time.monotonic() - began)
            raise
        except KeyboardInterrupt:
            record.run_ended(outcome="cancelled", exit_code=EXIT_INTERRUPTED, seconds=time.monotonic() - began)
            raise
        if name and work.look:
            up_to_date.keep(project.root, name, work.look)
        seconds = time.monotonic() - began
        record.run_ended(outcome=work.outcome, exit_code=work.exit_code, seconds=seconds)
        results = tuple(work.results.values())
        for line in [*summary.table(results), *summary.failures(project.root, results)]:
            write(line)
    write(f"{work.outcome} in {words.duration(seconds)}; record: {FOLDER.as_posix()}/runs/{record.run}")
    if work.outcome == "failed":
        write("once that is mended, the same command goes on from there")
    return work.exit_code


def execute(argv: list[str], executor_name: str | None) -> int:
    """Run the one stage that DVC is at, in its container; give the exit code."""
    address, home = settings_file.dvc_stage()
    if not argv:
        raise UsageError("exec has nothing to run", remedy="name a command:  dvc-runner exec python -m train")
    parents.end_with_dvc()
    with opened(home) as (project, settings):
        project.find(address, Path.cwd(), argv)
        # DVC's address of it, which is relative to another folder than ours.
        stage = dataclasses.replace(project.hash_deps(address), address=address, argv=tuple(argv))
        executor = _executor(project.root, settings, executor_name, err)
        preparations = _preparations(project, settings, executor)
        with executor.opened(), preparations.opened():
            around = surroundings(project, settings, executor)
            confirm = partial(project.confirm_deps, address)
            performed = run_stage(stage, around, out, preparations.take, confirm=confirm)
            if performed.error:
                raise performed.error
    return 0


def build(targets: tuple[str, ...], executor_name: str | None) -> int:
    """Make the images (or environments) of the targets' stages, where missing; give the exit code."""
    with opened() as (project, settings):
        stages = [project.stage(address) for address in project.plan(Selection(targets=targets))]
        wanted = [stage for stage in stages if stage.container]
        for stage in wanted:
            check(stage)
        executor = _executor(project.root, settings, executor_name, err)
        preparations = _preparations(project, settings, executor)
        codes = [0]
        with executor.opened(), preparations.opened():
            preparations.begin(wanted)
            for stage in wanted:
                try:
                    out(f"{stage.address}: {preparations.take(stage).reference}")
                except DvcRunnerError as error:
                    err(f"error: {stage.address}: {error}\n  {error.remedy}")
                    codes.append(error.exit_code)
    return next(filter(None, codes), 0)


def _preparations(project: DvcProject, settings: Settings, executor: Executor) -> Preparations:
    return Preparations(executor, project.root, FOLDER / "builds", settings.values, Preparing(err, live()))


@contextlib.contextmanager
def opened(home: Path | None = None) -> Iterator[tuple[DvcProject, Settings]]:
    """Open the project of the working folder; its settings are in ``home``, if given, else at its root."""
    with contextlib.closing(DvcProject(Path.cwd())) as project:
        for path in recover(project.root / ASIDE):
            err(f"{path.relative_to(project.root)} is back: a run that was killed had set it aside")
        settings = settings_file.read(home or project.root)
        client = project.root / settings.client if settings.client else None
        with lifeline.tied(client, end=lambda: os.kill(os.getpid(), signal.SIGTERM)):
            yield project, settings


def _executor(root: Path, settings: Settings, name: str | None, write: Callable[[str], None]) -> Executor:
    executor, why = choose(
        name or settings.executor,
        root,
        engine=settings.engine,
        cache=settings.cache,
    )
    write(f"executor: {why}")
    return executor


def surroundings(project: DvcProject, settings: Settings, executor: Executor) -> Surroundings:
    """Give what is the same for every stage of a command."""
    return Surroundings(
        root=project.root,
        cache=project.cache,
        executor=executor,
        settings=settings.values,
        revision=project.revision(),
        experiment=settings.experiment,
    )
