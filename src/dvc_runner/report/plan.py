"""A plan, for people and for machines."""

from collections.abc import Sequence
from typing import Any

from dvc_runner.model import Decision, PlannedStage
from dvc_runner.pipeline.record import SCHEMA_VERSION, plain
from dvc_runner.report import words

MARKS = {Decision.RUN: "▶", Decision.RESTORE: "↺", Decision.SKIP: "·", Decision.BLOCKED: "✗"}


def lines(stages: Sequence[PlannedStage]) -> list[str]:
    """Give a line per stage, one more for each further reason, and what it comes to."""
    shown = [one for one in stages if one.decision is not Decision.SKIP or len(stages) <= words.MANY]
    width = max((len(one.stage) for one in shown), default=0)
    found: list[str] = []
    for one in shown:
        first, *rest = [*map(words.whole, one.reasons)] or ["nothing changed"]
        taken = f"  (took {words.duration(one.seconds)})" if one.seconds and one.decision is Decision.RUN else ""
        found.append(f"  {MARKS[one.decision]} {one.stage:<{width}}  {one.decision:<7}  {first}{taken}")
        found += [f"{'':<{width + 15}}{reason}" for reason in rest]
    return [*found, total(stages)]


def total(stages: Sequence[PlannedStage]) -> str:
    """Say how many stages run, and how long that takes, as far as earlier runs tell."""
    told = {Decision.RUN: "to run", Decision.RESTORE: "to restore", Decision.BLOCKED: "blocked"}
    counts = [(sum(one.decision is d for one in stages), text) for d, text in told.items()]
    if not any(count for count, _ in counts):
        return "nothing to do"
    running = [one.seconds for one in stages if one.decision is Decision.RUN]
    known = sum(filter(None, running))
    unknown = running.count(None)
    time = f"; {words.duration(known)} of commands, by the last time" if known else ""
    time += f", without {unknown} that never ran" if known and unknown else ""
    return ", ".join(f"{count} {text}" for count, text in counts if count) + time


def as_json(stages: Sequence[PlannedStage]) -> dict[str, Any]:
    """Give it as ``docs/ARCHITECTURE.md`` describes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "stages": [
            {
                "stage": one.stage,
                "decision": str(one.decision),
                "reasons": plain(one.reasons),
                "seconds": one.seconds,
            }
            for one in stages
        ],
    }
