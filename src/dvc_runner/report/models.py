"""Models, versions and aliases, for people and for machines."""

import datetime as dt
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dvc_runner.pipeline.reproduction import Compared
from dvc_runner.tracking.aliases import ARCHIVED, Move
from dvc_runner.tracking.lineage import PREFIX as LINEAGE
from dvc_runner.tracking.models import Candidate, ModelVersion, RegisteredModel

DIFFERS, SAME, MISSING, UNKNOWN = "≠", " ", "-", "unknown"
SHORT = 8
Row = tuple[str, str, tuple[str, ...]]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1c2733}}table{{border-collapse:collapse}}
th,td{{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #d9e0e7;font-variant-numeric:tabular-nums}}
tr.differs td{{background:#fff4d6}}caption{{text-align:left;font-weight:600;padding:1rem 0 .3rem}}</style>
<h1>{title}</h1>
{tables}
</html>
"""


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Give rows as lines, their columns below each other."""
    rows = [[cell if cell.isspace() else " ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)] if rows else []
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def of_models(found: Sequence[tuple[RegisteredModel, Sequence[ModelVersion]]]) -> list[str]:
    """Give a line per model: its newest version, and its aliases."""
    if not found:
        return ["no model is registered"]
    rows = [
        (
            one.name,
            f"version {versions[0].version}" if versions else "no version",
            ", ".join(f"{alias} → {version}" for alias, version in sorted(one.aliases.items())),
        )
        for one, versions in found
    ]
    return table(rows)


def of_versions(known: RegisteredModel, found: Sequence[ModelVersion]) -> list[str]:
    """Give a line per version, the newest first: when, run, commit, aliases."""
    rows = [
        (
            f"version {one.version}",
            when(one.created_ms),
            f"run {one.run_id[:SHORT]}",
            f"commit {one.tags.get(f'{LINEAGE}git_commit', MISSING)[:SHORT]}",
            ", ".join([*known.aliases_of(one.version), *([ARCHIVED] if ARCHIVED in one.tags else [])]),
        )
        for one in found
    ]
    return table(rows) or [f"{known.name} has no version"]


def of_one(known: RegisteredModel, one: Candidate, moves: Sequence[Move]) -> list[str]:
    """Give all that is known of a version, without its lineage."""
    version, run = one.version, one.run
    head = [
        ("model", known.name),
        ("version", version.version),
        ("aliases", ", ".join(known.aliases_of(version.version)) or MISSING),
        ("made", when(version.created_ms)),
        ("run", f"{version.run_id} ({run.status.lower() if run else 'gone'})"),
    ]
    lines = table(head)
    for title, values in (("params", run.params if run else {}), ("metrics", run.metrics if run else {})):
        if values:
            lines += ["", title, *(f"  {line}" for line in table([(k, shown(v)) for k, v in sorted(values.items())]))]
    return [*lines, *(["", "history", *(f"  {line}" for line in of_moves(moves))] if moves else [])]


def of_moves(moves: Sequence[Move]) -> list[str]:
    """Give a line per move of an alias, the newest first."""
    return table(
        [
            (
                one.at or UNKNOWN,
                one.alias,
                f"{one.from_version or MISSING} → {one.to_version or MISSING}",
                one.who or UNKNOWN,
                one.why,
            )
            for one in reversed(moves)
        ]
    )


def rows_of(found: Sequence[Candidate], stage_params: Sequence[Mapping[str, str]]) -> list[tuple[str, list[Row]]]:
    """Give what versions have beside each other: a title, and rows of mark, name and values.

    Args:
        found: The versions.
        stage_params: For each of them, what its stages were given.
    """
    params = [one.run.params if one.run else {} for one in found]
    metrics = [one.run.metrics if one.run else {} for one in found]
    lineage = [
        {key.removeprefix(LINEAGE): value for key, value in one.version.tags.items() if key.startswith(LINEAGE)}
        for one in found
    ]
    parts: list[tuple[str, Sequence[Mapping[str, object]]]] = [
        ("params", params),
        ("metrics", metrics),
        ("params of stages", stage_params),
        ("lineage", lineage),
    ]
    return [(title, _rows(values)) for title, values in parts if any(values)]


def comparison(found: Sequence[Candidate], stage_params: Sequence[Mapping[str, str]]) -> list[str]:
    """Give it as lines; ``≠`` marks what differs."""
    names = [f"version {one.version.version}" for one in found]
    lines: list[str] = []
    for title, rows in rows_of(found, stage_params):
        lines += [
            *([""] if lines else []),
            *table([("", title, *names), *((mark, name, *cut) for mark, name, cut in _cut(rows))]),
        ]
    return lines


def page(title: str, found: Sequence[Candidate], stage_params: Sequence[Mapping[str, str]]) -> str:
    """Give it as an HTML page; what differs is coloured."""
    names = "".join(f"<th>version {html.escape(one.version.version)}</th>" for one in found)
    tables = []
    for name, rows in rows_of(found, stage_params):
        body = "".join(
            f"<tr{' class=differs' if mark == DIFFERS else ''}><td>{mark}</td><td>{html.escape(key)}</td>"
            + "".join(f"<td>{html.escape(value)}</td>" for value in values)
            + "</tr>\n"
            for mark, key, values in rows
        )
        tables.append(f"<table><caption>{name}</caption><tr><th></th><th></th>{names}</tr>\n{body}</table>")
    return PAGE.format(title=html.escape(title), tables="\n".join(tables))


def of_lineage(found: Mapping[str, Any]) -> list[str]:
    """Give what a version comes from, a line per value."""
    lines: list[str] = []
    for key, value in found.items():
        if isinstance(value, Mapping):
            lines += [key, *(f"  {line}" for line in of_lineage(value))]
        elif isinstance(value, list):
            lines.append(key)
            for one in value:
                inner = of_lineage(one) if isinstance(one, Mapping) else [str(one)]
                lines += [f"  {'-' if n == 0 else ' '} {line}" for n, line in enumerate(inner)]
        elif "\n" in str(value):
            lines += [key, *(f"  {line}" for line in str(value).splitlines())]
        else:
            lines.append(f"{key}  {value if isinstance(value, str) else json.dumps(value)}")
    return lines


def of_reproduction(found: Sequence[Compared]) -> list[str]:
    """Give what was made then and now beside each other."""
    rows = [
        (SAME if one.is_same else DIFFERS, one.kind, one.name, one.then or MISSING, one.now or MISSING) for one in found
    ]
    return table([("", "", "", "then", "now"), *rows])


def as_json(known: RegisteredModel, one: Candidate) -> dict[str, Any]:
    """Give a version as ``docs/MODELS.md`` describes."""
    return {
        **asdict(one.version),
        "aliases": list(known.aliases_of(one.version.version)),
        "run": asdict(one.run) if one.run else None,
    }


def when(time_ms: int) -> str:
    """Give a time in UTC."""
    return f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%Y-%m-%d %H:%M}"


def shown(value: object) -> str:
    """Give a value as people read it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rows(values: Sequence[Mapping[str, object]]) -> list[Row]:
    keys = sorted({key for one in values for key in one})
    rows = [(key, [one.get(key, MISSING) for one in values]) for key in keys]
    # Two numbers may differ in a digit that is not shown.
    return [(DIFFERS if len(set(cells)) > 1 else SAME, key, tuple(map(shown, cells))) for key, cells in rows]


def _cut(rows: Sequence[Row], longest: int = 40) -> list[Row]:
    """Keep lines readable: a diff, or a list of hashes, is long."""
    return [
        (mark, name, tuple(cell if len(cell) <= longest else f"{cell[: longest - 1]}…" for cell in cells))
        for mark, name, cells in rows
    ]
