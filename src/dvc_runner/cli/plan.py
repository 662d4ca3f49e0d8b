"""``dvc-runner plan`` and ``run --dry``: what a run is going to do, and why."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path

from dvc_runner.cli import settings as settings_file
from dvc_runner.cli.printing import err, machine_readable, out
from dvc_runner.errors import EXIT_STAGE_FAILED, ConfigurationError
from dvc_runner.model import Decision, Outcome, PlannedStage, StageResult
from dvc_runner.pipeline import record
from dvc_runner.pipeline.check import checked
from dvc_runner.pipeline.needs import needs_of
from dvc_runner.pipeline.plan import Plan
from dvc_runner.pipeline.registered import Registered
from dvc_runner.pipeline.request import Request
from dvc_runner.report import plan as report
from dvc_runner.report.progress import JsonLines
from dvc_runner.workspace.dvc_project import DvcProject

OUTCOMES = {
    Decision.RUN: Outcome.WOULD_RUN,
    Decision.RESTORE: Outcome.WOULD_RESTORE,
    Decision.SKIP: Outcome.SKIPPED,
    Decision.BLOCKED: Outcome.BLOCKED,
}


def plan(request: Request, *, as_json: bool, as_run: bool) -> int:
    """Print the plan of a request; give the exit code.

    Args:
        request: What would be run.
        as_json: Print JSON in place of words.
        as_run: In JSON, the events of a dry run in place of one object.

    Raises:
        ConfigurationError: The run would be refused; what it would do is printed all the same.
    """
    began = time.monotonic()
    write = machine_readable() if as_json else out
    with contextlib.closing(DvcProject(Path.cwd())) as project, project.session():
        values = settings_file.read(project.root).values
        registered = Registered(values)
        found = Plan(project, request, registered).make()
        seconds = record.last_seconds(project.root, [one.stage for one in found])
        stages = [dataclasses.replace(one, seconds=seconds.get(one.stage)) for one in found]
        refused = _refused(project, stages, values)
    code = EXIT_STAGE_FAILED if any(one.decision is Decision.BLOCKED for one in stages) else 0
    if as_json and as_run:
        _tell(record.Record(project.root, [JsonLines(write, err)], on_disk=False), request, stages, code, began)
    elif as_json:
        write(json.dumps(report.as_json(stages), ensure_ascii=False))
    else:
        for line in report.lines(stages):
            write(line)
    if registered.away:
        err(registered.away)
    if refused:
        raise refused
    return code


def _refused(project: DvcProject, stages: list[PlannedStage], values: Mapping[str, str]) -> ConfigurationError | None:
    """Say why a run would be refused, if it would."""
    try:
        project.check_config()
        for one in stages:
            stage = checked(project, one.stage)
            if one.decision is not Decision.SKIP:
                needs_of(stage, values)
    except ConfigurationError as error:
        return error
    return None


def _tell(dry: record.Record, request: Request, stages: list[PlannedStage], code: int, began: float) -> None:
    dry.run_started(targets=request.selection.targets, jobs=request.room.jobs, executor=None)
    for one in stages:
        dry.stage_ended(StageResult(stage=one.stage, outcome=OUTCOMES[one.decision], reasons=one.reasons))
    outcome = "failed" if code else "done"
    dry.run_ended(outcome=outcome, exit_code=code, seconds=time.monotonic() - began)
