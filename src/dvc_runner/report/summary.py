"""What a run comes to, at its end."""

from collections.abc import Sequence
from pathlib import Path

from dvc_runner.model import Outcome, StageResult, Usage
from dvc_runner.report import words
from dvc_runner.report.progress import of_result
from dvc_runner.workspace import quantities

MARKS = {
    Outcome.RAN: "✓",
    Outcome.WOULD_RUN: "▶",
    Outcome.WOULD_RESTORE: "↺",
    Outcome.RESTORED: "↺",
    Outcome.SKIPPED: "·",
    Outcome.FAILED: "✗",
    Outcome.BLOCKED: "-",
    Outcome.CANCELLED: "-",
}
LOG_TAIL = 10
TAIL_BYTES = 2**17


def table(results: Sequence[StageResult]) -> list[str]:
    """Give one line per stage: mark, name, outcome, time, what it took, reason; many that were skipped are one line."""
    skipped = [result for result in results if result.outcome is Outcome.SKIPPED]
    if len(skipped) > words.MANY:
        others = [result for result in results if result.outcome is not Outcome.SKIPPED]
        return [*table(others), f"  {MARKS[Outcome.SKIPPED]} {len(skipped)} stages  skipped  nothing changed"]
    rows = [
        (
            f"{MARKS[result.outcome]} {result.stage}",
            str(result.outcome),
            words.duration(result.seconds) if result.seconds else "",
            _took(result.usage),
            of_result(result.reasons),
        )
        for result in results
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return [_line(row, widths) for row in rows]


def _line(row: tuple[str, str, str, str, str], widths: Sequence[int]) -> str:
    name, outcome, seconds, took, reason = row
    cells = [f"{name:<{widths[0]}}", f"{outcome:<{widths[1]}}", f"{seconds:>{widths[2]}}"]
    return "  " + "  ".join([*cells, *([f"{took:>{widths[3]}}"] if widths[3] else []), reason])


def _took(usage: Usage | None) -> str:
    """Say CPU time and peak memory, as far as they are known."""
    if usage is None:
        return ""
    cpu = "" if usage.cpu_s is None else f"{usage.cpu_s:.1f} s CPU"
    peak = "" if usage.peak_memory_bytes is None else quantities.in_words(usage.peak_memory_bytes)
    return ", ".join(filter(None, (cpu, peak)))


def failures(root: Path, results: Sequence[StageResult]) -> list[str]:
    """Give, for each failed stage, what went wrong, its last words, its log, and the way on."""
    lines: list[str] = []
    for result in results:
        if result.outcome is not Outcome.FAILED:
            continue
        lines += ["", f"error: {result.error}", f"  {result.remedy}"]
        # What a failed build's error says ends with the name of its log, and has its last words before.
        is_told = result.log and result.error and result.log in result.error
        log = root / result.log if result.log and not is_told else None
        if log and log.is_file():
            tail = _last_lines(log)
            if tail:
                lines += [f"  its last words (all of them: {result.log}):", *(f"    {x}" for x in tail)]
    return lines


def _last_lines(log: Path) -> list[str]:
    """Read the end of a log, which may be larger than memory."""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - TAIL_BYTES, 0))
        return file.read().decode("utf-8", "replace").splitlines()[-LOG_TAIL:]
