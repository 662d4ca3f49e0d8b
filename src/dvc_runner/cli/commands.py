"""What each command does, once its arguments are read."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dvc_runner.cli import owner, parents
from dvc_runner.cli import settings as settings_file
from dvc_runner.cli.printing import err, live, out
from dvc_runner.cli.settings import Settings
from dvc_runner.cli.telling import Telling
from dvc_runner.errors import EXIT_INTERRUPTED, DvcRunnerError, UsageError
from dvc_runner.executors import processes
from dvc_runner.executors.base import Executor
from dvc_runner.executors.table import choose
from dvc_runner.model import Revision, Selection
from dvc_runner.pipeline.check import checked
from dvc_runner.pipeline.origins import Origins
from dvc_runner.pipeline.preparations import Preparations
from dvc_runner.pipeline.request import Request
from dvc_runner.pipeline.run import Run
from dvc_runner.pipeline.stage_run import Surroundings, run_stage
from dvc_runner.report.preparing import Preparing
from dvc_runner.workspace import lifeline, up_to_date
from dvc_runner.workspace.aside import recover
from dvc_runner.workspace.dvc_project import DvcProject
from dvc_runner.workspace.places import ASIDE, BUILDS


def run(request: Request, executor_name: str | None, telling: Telling, name: str) -> int:
    """Bring the targets up to date, the run lock being held; give the exit code.

    What it all looks like at the end is kept under ``name``: the next run may have nothing to do.
    """
    with opened() as (project, settings):
        if settings.client_root and settings.container:
            project.seen_as(settings.client_root, settings.container)
        executor = executor_of(project.root, settings, executor_name, telling.write)
        record = telling.started(project.root, executor.name)
        watch = Preparing(telling.write, live())
        preparations = Preparations(executor, project.root, record.folder, settings.values, watch)
        around = surroundings(project, settings, executor)
        work = Run(project, around, request, record, preparations, is_watched=True)
        try:
            with executor.opened(), processes.nursery(), preparations.opened():
                work.go()
        except DvcRunnerError as error:
            telling.broken_off("failed", error.exit_code)
            raise
        except KeyboardInterrupt:
            telling.broken_off("cancelled", EXIT_INTERRUPTED)
            raise
        if work.registered.away:
            telling.write(work.registered.away)
        if work.look:
            up_to_date.keep(project.root, name, work.look)
        telling.ended(work.outcome, work.exit_code, tuple(work.results.values()))
    return work.exit_code


def execute(argv: list[str], executor_name: str | None) -> int:
    """Run the one stage that DVC is at, in its container; give the exit code."""
    address, home = settings_file.dvc_stage()
    if not argv:
        raise UsageError("exec has nothing to run", remedy="name a command:  dvc-runner exec python -m train")
    parents.end_with_dvc()
    with opened(home) as (project, settings), owner.has_our_folders(project.root):
        project.find(address, Path.cwd(), argv)
        # DVC's address of it, which is relative to another folder than ours.
        stage = dataclasses.replace(project.hash_deps(address), address=address, argv=tuple(argv))
        executor = executor_of(project.root, settings, executor_name, err)
        preparations = preparations_of(project, settings, executor)
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
        addresses = project.plan(Selection(targets=targets))
        wanted = [checked(project, address) for address in addresses if project.stage(address).container]
        executor = executor_of(project.root, settings, executor_name, err)
        preparations = preparations_of(project, settings, executor)
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


def preparations_of(project: DvcProject, settings: Settings, executor: Executor) -> Preparations:
    """Make what builds images or environments, outside a run's record."""
    return Preparations(executor, project.root, BUILDS, settings.values, Preparing(err, live()))


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


def executor_of(root: Path, settings: Settings, name: str | None, write: Callable[[str], None]) -> Executor:
    """Choose how stages run, and say why."""
    executor, why = choose(
        name or settings.executor,
        root,
        engine=settings.engine,
        cache=settings.cache,
    )
    write(f"executor: {why}")
    return executor


def revision(project: DvcProject, settings: Settings) -> Revision:
    """Give what git says of the project; in a container it does not know who would commit."""
    found = project.revision()
    return dataclasses.replace(found, user=found.user or settings.git_user)


def surroundings(project: DvcProject, settings: Settings, executor: Executor) -> Surroundings:
    """Give what is the same for every stage of a command."""
    return Surroundings(
        root=project.root,
        cache=project.cache,
        executor=executor,
        settings=settings.values,
        experiment=settings.experiment,
        origins=Origins(partial(revision, project, settings), settings.hidden),
    )
