"""A run with nothing to do, told without DVC: importing it alone takes longer than all of this."""

import argparse
import dataclasses
import time
from importlib.util import find_spec
from pathlib import Path

from dvc_runner.cli import options, settings
from dvc_runner.cli.printing import err, machine_readable, out
from dvc_runner.model import Outcome, StageResult
from dvc_runner.pipeline.record import Observer, Record
from dvc_runner.pipeline.request import Request
from dvc_runner.report import summary, words
from dvc_runner.report.progress import JsonLines, Progress
from dvc_runner.workspace import run_lock, up_to_date
from dvc_runner.workspace.places import ASIDE, FOLDER


def key(request: Request, folder: Path) -> str | None:
    """Give what a request is known by; None if it is one that may have to do with more than files."""
    handling = request.handling
    if handling.force or handling.pull:
        return None
    dvc = find_spec("dvc")
    asked = dataclasses.asdict(request.selection)
    # A newer program may find something to do where an older one did not.
    programs = [up_to_date.stamp(name) for name in (__file__, dvc.origin if dvc and dvc.origin else "")]
    return up_to_date.key([str(folder), asked, handling.allow_missing, settings.that_dvc_reads(), programs])


def nothing_to_do(parsed: argparse.Namespace) -> int | None:
    """Tell a run with nothing to do, and give its exit code; None if there may be something."""
    began = time.monotonic()
    request = options.request(parsed)
    folder = Path.cwd().resolve()
    root = up_to_date.project_of(folder)
    name = key(request, folder)
    if parsed.dry or root is None or name is None or any((root / ASIDE).glob("*")):
        return None
    found = settings.read(root)
    look = up_to_date.read(root, name)
    if look is None or not up_to_date.is_proof(look):
        return None
    with run_lock.held(root / FOLDER, found.container, wait_s=parsed.wait, on_wait=err):
        if not up_to_date.is_proof(look):
            return None
        write = err if parsed.json else out
        observer: Observer = JsonLines(machine_readable(), err) if parsed.json else Progress(out)
        record = Record(root, [observer])
        record.run_started(targets=request.selection.targets, jobs=request.room.jobs, executor=None)
        results = [StageResult(stage=stage, outcome=Outcome.SKIPPED) for stage in look.stages]
        for result in results:
            record.stage_ended(result)
        seconds = time.monotonic() - began
        record.run_ended(outcome="done", exit_code=0, seconds=seconds)
    for line in summary.table(results):
        write(line)
    write(f"done in {words.duration(seconds)}; record: {FOLDER.as_posix()}/runs/{record.run}")
    return 0
