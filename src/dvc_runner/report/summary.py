"""What a run comes to, at its end."""

from collections.abc import Sequence
from pathlib import Path

from dvc_runner.model import Outcome, StageResult
from dvc_runner.report import words
from dvc_runner.report.progress import of_result

MARKS = {
    Outcome.RAN: "✓",
    Outcome.RESTORED: "↺",
    Outcome.SKIPPED: "·",
    Outcome.FAILED: "✗",
    Outcome.BLOCKED: "-",
    Outcome.CANCELLED: "-",
}
LOG_TAIL = 10


def table(results: Sequence[StageResult]) -> list[str]:
    """Give one line per stage: mark, name, outcome, time, reason."""
    rows = [
        (
            f"{MARKS[result.outcome]} {result.stage}",
            str(result.outcome),
            words.duration(result.seconds) if result.seconds else "",
            of_result(result.reasons),
        )
        for result in results
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return [f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}" for row in rows]


def failures(root: Path, results: Sequence[StageResult]) -> list[str]:
    """Give, for each failed stage, what went wrong, its last words, its log, and the way on."""
    lines: list[str] = []
    for result in results:
        if result.outcome is not Outcome.FAILED:
            continue
        lines += ["", f"error: {result.error}", f"  {result.remedy}"]
        log = root / result.log if result.log else None
        if log and log.is_file():
            tail = log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL:]
            if tail:
                lines += [f"  its last words (all of them: {result.log}):", *(f"    {x}" for x in tail)]
    return lines
