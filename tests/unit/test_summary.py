"""The table at the end of a run, and the last words of what failed."""

from pathlib import Path

from dvc_runner.model import Outcome, Reason, ReasonKind, StageResult, Usage
from dvc_runner.report import summary

REASON = Reason(kind=ReasonKind.FORCED)


def test_what_a_stage_took_is_in_its_row() -> None:
    usage = Usage(how="counted", peak_memory_bytes=3 * 2**20, cpu_s=1.26)
    results = [
        StageResult(stage="train", outcome=Outcome.RAN, reasons=(REASON,), seconds=2, usage=usage),
        StageResult(stage="use", outcome=Outcome.RAN, reasons=(REASON,), seconds=12, usage=Usage(how="", cpu_s=0.1)),
        StageResult(stage="a", outcome=Outcome.SKIPPED),
    ]
    assert summary.table(results) == [
        "  ✓ train  ran       2.0 s  1.3 s CPU, 3 MiB  forced",
        "  ✓ use    ran      12.0 s         0.1 s CPU  forced",
        "  · a      skipped                            nothing changed",
    ]


def test_where_nothing_is_known_there_is_no_column() -> None:
    result = StageResult(stage="train", outcome=Outcome.RAN, reasons=(REASON,), seconds=2)
    assert summary.table([result]) == ["  ✓ train  ran  2.0 s  forced"]


def test_the_last_words_are_the_ends_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("é" * 2**20 + "".join(f"\nline {n}" for n in range(20)))
    result = StageResult(stage="train", outcome=Outcome.FAILED, error="broke", remedy="mend", log="log")
    lines = summary.failures(tmp_path, [result])
    assert lines[:3] == ["", "error: broke", "  mend"]
    assert [line.strip() for line in lines[4:]] == [f"line {n}" for n in range(10, 20)]


def test_many_that_were_skipped_are_one_line() -> None:
    results = [StageResult(stage=f"s{n}", outcome=Outcome.SKIPPED) for n in range(50)]
    ran = StageResult(stage="one", outcome=Outcome.RAN, seconds=1)
    assert [line.split() for line in summary.table([*results, ran])] == [
        ["✓", "one", "ran", "1.0", "s", "nothing", "changed"],
        ["·", "50", "stages", "skipped", "nothing", "changed"],
    ]
