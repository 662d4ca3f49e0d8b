"""What people read: reasons, times, the summary of a run."""

from pathlib import Path

from tests.support.cases import cases

from dvc_runner.model import Outcome, Reason, ReasonKind, StageResult
from dvc_runner.report import summary, words
from dvc_runner.report.progress import of_result


@cases(
    "seconds, text",
    {
        "nothing": (0, "0.0 s"),
        "part of a second": (0.26, "0.3 s"),
        "just below a minute": (59.94, "59.9 s"),
        "rounded up to a minute": (59.96, "1 min 00 s"),
        "a minute": (60, "1 min 00 s"),
        "minutes": (125.4, "2 min 05 s"),
        "rounded up to the next minute": (119.7, "2 min 00 s"),
        "hours": (3725, "62 min 05 s"),
    },
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@cases(
    "reason, told",
    {
        "new": (Reason(kind=ReasonKind.NEW), []),
        "dep": (Reason(kind=ReasonKind.DEP, name="a.csv", old="12", new="34"), ["a.csv"]),
        "missing dep": (Reason(kind=ReasonKind.DEP, name="a.csv", old="12", new="missing"), ["a.csv", "missing"]),
        "param": (Reason(kind=ReasonKind.PARAM, name="train.n", old="1", new="2"), ["train.n 1 → 2"]),
        "param that is new": (Reason(kind=ReasonKind.PARAM, name="train.n", old=None, new="2"), ["train.n", "2"]),
        "param that is zero now": (Reason(kind=ReasonKind.PARAM, name="n", old="1", new="0"), ["n 1 → 0"]),
        "out": (Reason(kind=ReasonKind.OUT, name="b.csv", new="deleted"), ["b.csv", "missing"]),
        "command": (Reason(kind=ReasonKind.COMMAND, old="a", new="b"), []),
        "forced": (Reason(kind=ReasonKind.FORCED), []),
        "always changed": (Reason(kind=ReasonKind.ALWAYS_CHANGED), []),
        "upstream": (Reason(kind=ReasonKind.UPSTREAM, name="train", new="failed"), ["train", "failed"]),
    },
)
def test_every_kind_of_reason_has_words(reason: Reason, told: list[str]) -> None:
    text = of_result((reason,))
    assert text
    for part in told:
        assert part in text


def test_every_kind_is_in_the_table_above() -> None:
    for kind in ReasonKind:
        assert of_result((Reason(kind=kind, name="x"),))


def test_reasons_beyond_the_first_are_counted() -> None:
    found = [Reason(kind=ReasonKind.DEP, name=name) for name in ("a", "b", "c")]
    assert of_result(tuple(found)) == f"{of_result((found[0],))} (+2 more)"


def test_a_long_reason_is_cut() -> None:
    text = of_result((Reason(kind=ReasonKind.PARAM, name="x" * 200, old="1", new="2"),))
    assert len(text) == words.LONGEST
    assert text.endswith("…")


RESULTS = [
    StageResult(stage="ingest", outcome=Outcome.RAN, seconds=1.5, reasons=(Reason(kind=ReasonKind.NEW),)),
    StageResult(stage="sub/dvc.yaml:train@a", outcome=Outcome.FAILED, seconds=60, error="it broke", remedy="mend it"),
    StageResult(stage="évalue", outcome=Outcome.BLOCKED),
]


def test_table_has_a_line_per_stage_in_columns() -> None:
    lines = summary.table(RESULTS)
    assert len(lines) == len(RESULTS)
    for line, result in zip(lines, RESULTS, strict=True):
        assert result.stage in line
        assert str(result.outcome) in line
    assert len({line.index(str(result.outcome)) for line, result in zip(lines, RESULTS, strict=True)}) == 1
    assert "1.5 s" in lines[0]
    assert "1 min 00 s" in lines[1]


def test_table_of_nothing() -> None:
    assert summary.table([]) == []


def test_every_outcome_has_a_mark() -> None:
    assert set(summary.MARKS) == set(Outcome)


def test_failures_give_error_remedy_and_last_words(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"\n".join(b"line %d" % n for n in range(30)) + b"\n\xff\n")
    failed = StageResult(stage="t", outcome=Outcome.FAILED, error="it broke", remedy="mend it", log="train.log")
    lines = summary.failures(tmp_path, [RESULTS[0], failed])
    text = "\n".join(lines)
    assert "it broke" in text
    assert "mend it" in text
    assert "train.log" in text
    assert "line 29" in text
    assert "line 5" not in text


def test_failure_without_a_log_file(tmp_path: Path) -> None:
    failed = StageResult(stage="t", outcome=Outcome.FAILED, error="it broke", remedy="mend it", log="gone.log")
    assert "it broke" in "\n".join(summary.failures(tmp_path, [failed]))
    assert summary.failures(tmp_path, [RESULTS[0]]) == []
