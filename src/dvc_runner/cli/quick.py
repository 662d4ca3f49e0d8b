"""``dvc-runner run``; with nothing to do it is told without DVC, whose import takes longer than all of this."""

import argparse
import contextlib
import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from dvc_runner.cli import options, settings
from dvc_runner.cli.printing import err
from dvc_runner.cli.telling import Telling
from dvc_runner.model import Outcome, StageResult
from dvc_runner.pipeline.request import Request
from dvc_runner.workspace import run_lock, stamps, up_to_date
from dvc_runner.workspace.places import ASIDE, FOLDER


def _key(request: Request, folder: Path) -> str:
    """Give what a request is known by; what it forces or pulls makes no difference to how all looks at its end."""
    dvc = find_spec("dvc")
    asked = dataclasses.asdict(request.selection)
    # A newer program may find something to do where an older one did not. uv gives each environment links to its files.
    programs = [stamps.of_content(name) for name in (__file__, dvc.origin if dvc and dvc.origin else "")]
    return up_to_date.key([str(folder), asked, request.handling.allow_missing, settings.that_dvc_reads(), programs])


def run(parsed: argparse.Namespace) -> int:
    """Bring the targets up to date; give the exit code. Nobody else runs here meanwhile."""
    request = options.request(parsed)
    folder = Path.cwd().resolve()
    root = up_to_date.project_of(folder)
    telling = Telling(request, settings.again() or options.again(parsed), as_json=parsed.json)
    name = _key(request, folder)
    with contextlib.ExitStack() as stack:
        if root:
            found = settings.read(root)
            stack.enter_context(run_lock.held(root / FOLDER, found.container, wait_s=parsed.wait, on_wait=err))
            more = request.handling.force or request.handling.pull
            look = None if more else _proof(root, name)
            if look and _is_registered(look, found.values, telling):
                return _told(root, look, telling)
        # DVC takes most of a second to import; where there is no project, it says so.
        from dvc_runner.cli import commands  # noqa: PLC0415

        return commands.run(request, parsed.executor, telling, name)


def _proof(root: Path, name: str) -> up_to_date.Look | None:
    """Give what proves that nothing is to do, as far as that can be told without DVC."""
    look = up_to_date.read(root, name)
    return look if up_to_date.is_proof(look) and not any((root / ASIDE).glob("*")) else None


def _is_registered(look: up_to_date.Look, values: Mapping[str, str], telling: Telling) -> bool:
    """Say whether the model registry has what outs name, as far as it tells."""
    if not look.pointers:
        return True
    # What speaks HTTP takes long to import, too.
    from dvc_runner.pipeline.registered import Registered  # noqa: PLC0415

    registered = Registered(values)
    is_there = not any(registered.reasons_at(Path(path)) for path in look.pointers)
    if is_there and registered.away:
        telling.write(registered.away)
    return is_there


def _told(root: Path, look: up_to_date.Look, telling: Telling) -> int:
    """Tell a run with nothing to do, and give its exit code."""
    record = telling.started(root, executor=None)
    results = [StageResult(stage=stage, outcome=Outcome.SKIPPED) for stage in look.stages]
    for result in results:
        record.stage_ended(result)
    telling.ended("done", 0, results)
    return 0
