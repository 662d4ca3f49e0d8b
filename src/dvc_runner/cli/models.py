"""``dvc-runner models``: what the registry in use holds, and the moving of aliases."""

import argparse
import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc_runner.cli.commands import opened, revision
from dvc_runner.cli.printing import err, out
from dvc_runner.cli.reproduce import reproduce
from dvc_runner.errors import ConfigurationError, UsageError
from dvc_runner.pipeline.origins import system_user
from dvc_runner.report import models as report
from dvc_runner.tracking import aliases, lineage, models, pointer
from dvc_runner.tracking.models import Candidate, RegisteredModel
from dvc_runner.tracking.server import TrackingServer
from dvc_runner.workspace.dvc_project import DvcProject

FEWEST_COMPARED = 2


def run(parsed: argparse.Namespace) -> int:
    """Do what the arguments say; give the exit code."""
    with opened() as (project, settings):
        server = TrackingServer(settings.values)
        if parsed.action == "list":
            return _list(server, parsed)
        if "alias" in parsed:
            aliases.check_name(parsed.alias)
        known = models.model(server, parsed.model or _of_project(project, server))
        if parsed.action == "reproduce":
            one = _candidate(server, known, parsed.version)
            return reproduce(project, settings, one, tracking_uri=parsed.tracking_uri, as_json=parsed.json)
        parsed.who = revision(project, settings).user or system_user() or f"user {os.getuid()}"
        return COMMANDS[parsed.action](server, known, parsed)


def _of_project(project: DvcProject, server: TrackingServer) -> str:
    """Give the model that the project's stages register, or the only one that there is."""
    for stage in project.stages():
        path = stage.container.registers if stage.container else None
        file = project.root / path if path else None
        found = pointer.read(file.read_text("utf-8", "replace")) if file and file.is_file() else None
        if found:
            return found.name
    names = models.names(server)
    if len(names) == 1:
        return names[0]
    raise UsageError(
        f"which model is meant? {server.uri} has {len(names)}: {', '.join(names) or 'none'}",
        remedy="name it:  dvc-runner models --model NAME …",
    )


def _list(server: TrackingServer, parsed: argparse.Namespace) -> int:
    wanted = parsed.model_name or parsed.model
    names = [wanted] if wanted else models.names(server)
    found = [(models.model(server, name), models.versions(server, name)) for name in names]
    listed = [{**dataclasses.asdict(one), "versions": [dataclasses.asdict(v) for v in vs]} for one, vs in found]
    return _told(parsed, {"models": listed}, report.of_versions(*found[0]) if wanted else report.of_models(found))


def _show(server: TrackingServer, known: RegisteredModel, parsed: argparse.Namespace) -> int:
    one = _candidate(server, known, parsed.version)
    about = [m for m in aliases.all_moves(known) if one.version.version in (m.from_version, m.to_version)]
    found = {**report.as_json(known, one), "history": [dataclasses.asdict(m) for m in about]}
    return _told(parsed, found, report.of_one(known, one, about))


def _compare(server: TrackingServer, known: RegisteredModel, parsed: argparse.Namespace) -> int:
    if len(parsed.versions) < FEWEST_COMPARED:
        raise UsageError("compare takes two versions or more", remedy="as in  dvc-runner models compare production 4")
    found = [_candidate(server, known, wanted) for wanted in parsed.versions]
    if parsed.html == "":
        raise UsageError("--html needs the name of a file", remedy="as in  --html compared.html")
    params = [lineage.params_of_stages(lineage.of_version(server, one)) for one in found]
    if parsed.html:
        page = report.page(f"{known.name}: versions compared", found, params)
        Path(parsed.html).write_text(page, encoding="utf-8")
    listed = [{**report.as_json(known, one), "stage_params": given} for one, given in zip(found, params, strict=True)]
    return _told(parsed, {"versions": listed}, report.comparison(found, params))


def _history(server: TrackingServer, known: RegisteredModel, parsed: argparse.Namespace) -> int:
    del server
    moves = aliases.history(known, parsed.alias)
    lines = report.of_moves(moves) or [f"{parsed.alias} of {known.name} has no history"]
    return _told(parsed, {"history": [dataclasses.asdict(m) for m in moves]}, lines)


def _promote(server: TrackingServer, known: RegisteredModel, parsed: argparse.Namespace) -> int:
    one = _candidate(server, known, parsed.version)
    wanted = one.version.version
    if one.run is None or one.run.status == models.DELETED:
        raise ConfigurationError(
            f"{known.name} version {wanted} is of a run that was deleted",
            remedy="restore the run in MLflow, or promote another version",
        )
    if known.aliases.get(parsed.alias) == wanted:
        out(f"{parsed.alias} of {known.name} stands at version {wanted} already")
        return 0
    return _move(server, known, wanted, parsed)


def _rollback(server: TrackingServer, known: RegisteredModel, parsed: argparse.Namespace) -> int:
    # It may be gone; then nothing moves.
    wanted = models.version(server, known, aliases.previous(known, parsed.alias)).version
    return _move(server, known, wanted, parsed)


def _move(server: TrackingServer, known: RegisteredModel, to: str, parsed: argparse.Namespace) -> int:
    wanted = aliases.Move(
        alias=parsed.alias,
        at=None,
        who=parsed.who,
        from_version=known.aliases.get(parsed.alias),
        to_version=to,
        why=parsed.why,
    )
    done = aliases.move(server, known, wanted, tell=err)
    out(f"{done.alias} of {known.name}: version {done.from_version or 'none'} → {done.to_version}")
    return 0


def _lineage(server: TrackingServer, known: RegisteredModel, parsed: argparse.Namespace) -> int:
    one = _candidate(server, known, parsed.version)
    found = lineage.of_version(server, one)
    if not found:
        raise ConfigurationError(
            f"{known.name} version {one.version.version} has no lineage: what made it did not log any",
            remedy="let a stage log LINEAGE_FILE, as docs/LINEAGE.md says",
        )
    return _told(parsed, found, report.of_lineage(found))


def _told(parsed: argparse.Namespace, found: Mapping[str, Any], lines: Sequence[str]) -> int:
    for line in [json.dumps(found, ensure_ascii=False)] if parsed.json else lines:
        out(line)
    return 0


def _candidate(server: TrackingServer, known: RegisteredModel, wanted: str) -> Candidate:
    return models.candidate(server, models.version(server, known, wanted))


COMMANDS: dict[str, Callable[[TrackingServer, RegisteredModel, argparse.Namespace], int]] = {
    "show": _show,
    "compare": _compare,
    "history": _history,
    "promote": _promote,
    "rollback": _rollback,
    "lineage": _lineage,
}
