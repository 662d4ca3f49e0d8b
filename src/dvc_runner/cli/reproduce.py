"""``dvc-runner models reproduce``: make a model again from its commit, and see whether it comes out the same."""

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from dvc_runner.cli import commands, options
from dvc_runner.cli.printing import err, out
from dvc_runner.cli.settings import Settings
from dvc_runner.errors import EXIT_STAGE_FAILED, ConfigurationError, StageError, UsageError
from dvc_runner.executors import processes
from dvc_runner.model import Handling, Selection
from dvc_runner.pipeline import reproduction
from dvc_runner.pipeline.record import Record
from dvc_runner.pipeline.reproduction import Recipe
from dvc_runner.pipeline.request import Request
from dvc_runner.pipeline.run import Run
from dvc_runner.report import models as report
from dvc_runner.report import summary
from dvc_runner.report.progress import Progress
from dvc_runner.tracking import lineage, models, pointer
from dvc_runner.tracking.models import Candidate, TrackedRun
from dvc_runner.tracking.server import TrackingServer
from dvc_runner.workspace import secrets
from dvc_runner.workspace.dvc_project import DvcProject
from dvc_runner.workspace.places import FOLDER
from dvc_runner.workspace.secrets import TRACKING_URI
from dvc_runner.workspace.worktree import checked_out


def reproduce(
    project: DvcProject, settings: Settings, one: Candidate, *, tracking_uri: str | None, as_json: bool
) -> int:
    """Run all stages of a version's commit anew, in a worktree; give 0 if the results are the same, 1 if not.

    Raises:
        UsageError: There is no other server for the runs of this to go to.
        ConfigurationError: The version's lineage does not say enough.
    """
    server = TrackingServer(settings.values)
    if not tracking_uri or tracking_uri.rstrip("/") == server.uri:
        raise UsageError(
            "the stages that run again need a tracking server of their own: at the one in use they would move aliases",
            remedy="make reproduce V=…  starts one; or name one:  --tracking-uri http://…",
        )
    if one.run is None:
        raise ConfigurationError(
            f"the run of version {one.version.version} is gone", remedy="reproduce another version"
        )
    recipe = _recipe(server, one.run)
    elsewhere = replace(settings, values={**secrets.elsewhere(settings.values), TRACKING_URI: tracking_uri})
    # DVC finds a target from the working folder.
    parent = project.root / FOLDER
    with checked_out(project.root, parent, recipe.commit, recipe.diff) as folder, contextlib.chdir(folder):
        now, run = _made_again(folder, project, elsewhere, recipe)
    found = reproduction.compare(recipe, one.run, now, run)
    is_same, words = reproduction.verdict(found, recipe)
    if as_json:
        compared = [{**asdict(row), "is_same": row.is_same} for row in found]
        out(json.dumps({"reproduced": is_same, "verdict": words, "compared": compared}, ensure_ascii=False))
    else:
        for line in [*report.of_reproduction(found), words]:
            out(line)
    return 0 if is_same else EXIT_STAGE_FAILED


def _made_again(folder: Path, like: DvcProject, settings: Settings, recipe: Recipe) -> tuple[Recipe, TrackedRun]:
    """Run everything; give what the model came from now, and its run."""
    with contextlib.closing(DvcProject(folder, like)) as project:
        # Elsewhere the code would run in something else than it did then.
        wanted = settings.executor or recipe.executor
        executor = commands.executor_of(project.root, settings, wanted, err)
        record = Record(project.root, [Progress(err)])
        preparations = commands.preparations_of(project, settings, executor)
        request = Request(
            selection=Selection(targets=(recipe.stage,), pipeline=True),
            handling=Handling(force=True, run_cache=False, commit=False),
            room=options.room(None),
        )
        project.fetch_sources()
        work = Run(project, commands.surroundings(project, settings, executor), request, record, preparations)
        with executor.opened(), processes.nursery(), preparations.opened():
            work.go()
        results = tuple(work.results.values())
        if work.exit_code:
            for line in summary.failures(project.root, results):
                err(line)
            raise StageError("it could not be made again", remedy="see above what failed, and why")
        server = TrackingServer(settings.values)
        run = _run_of(project, server, recipe.stage)
        return _recipe(server, run), run


def _recipe(server: TrackingServer, run: TrackedRun) -> Recipe:
    return reproduction.recipe(lineage.of(server, run), lineage.files(server, run))


def _run_of(project: DvcProject, server: TrackingServer, stage: str) -> TrackedRun:
    """Find the run of the model that a stage registered just now."""
    path = project.registers(stage)
    found = pointer.read(Path(path).read_text("utf-8")) if path else None
    run = models.run(server, found.run_id) if found else None
    if run is None:
        raise ConfigurationError(
            f"stage {stage} does not say which version it registered",
            remedy="name the out that does:  registers: PATH  below its meta.container",
        )
    return run
