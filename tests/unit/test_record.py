"""The record of a run: its events, their keys, their order on disk."""

import json
import re
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.json_schema import problems, schema

from dvc_runner.model import Decision, Outcome, Reason, ReasonKind, StageResult
from dvc_runner.pipeline.record import LOOKED_AT, Record, last_seconds
from dvc_runner.report.progress import JsonLines, Progress

REASON = Reason(kind=ReasonKind.PARAM, name="train.n", old="1", new="2")
PLAIN = {"kind": "param", "name": "train.n", "old": "1", "new": "2"}
COMMON = {"event", "time", "run"}


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.lines: list[tuple[str, str]] = []

    def event(self, event: str, values: dict[str, object]) -> None:
        assert values["event"] == event
        self.events.append(values)

    def line(self, stage: str, line: str) -> None:
        self.lines.append((stage, line))


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def record(tmp_path: Path, listener: Listener) -> Record:
    return Record(tmp_path, [listener])


def play(record: Record) -> None:
    """A run of one stage that failed, and one that did not."""
    record.run_started(targets=("train",), jobs=1, executor="process")
    record.stage_started("train", (REASON,))
    record.stage_ended(
        StageResult(
            stage="train",
            outcome=Outcome.FAILED,
            reasons=(REASON,),
            seconds=1.23456,
            image="dvc-runner/train:0",
            log=record.log_of("train"),
            error="it bröke",
            remedy="mend it",
        )
    )
    record.stage_ended(StageResult(stage="evaluate", outcome=Outcome.BLOCKED))
    record.waits("for another")
    record.run_ended(outcome="failed", exit_code=1, seconds=2.0004)


def test_events_and_their_keys(record: Record, listener: Listener) -> None:
    play(record)
    found = [{key: value for key, value in event.items() if key not in {"time", "run"}} for event in listener.events]
    assert found == [
        {"event": "run_start", "schema_version": 1, "targets": ["train"], "jobs": 1, "executor": "process"},
        {"event": "stage_start", "stage": "train", "reasons": [PLAIN]},
        {
            "event": "stage_end",
            "stage": "train",
            "outcome": "failed",
            "reasons": [PLAIN],
            "seconds": 1.235,
            "image": "dvc-runner/train:0",
            "log": record.log_of("train"),
            "error": "it bröke",
            "remedy": "mend it",
        },
        {
            "event": "stage_end",
            "stage": "evaluate",
            "outcome": "blocked",
            "reasons": [],
            "seconds": 0.0,
            "image": None,
            "log": None,
        },
        {"event": "waiting", "told": "for another"},
        {"event": "run_end", "outcome": "failed", "exit_code": 1, "seconds": 2.0},
    ]
    assert [found for event in listener.events for found in problems(event, schema("run"))] == []


def test_the_schema_knows_the_words_that_we_use() -> None:
    told = schema("run")["$defs"]
    assert told["stage_end"]["properties"]["outcome"]["enum"] == list(Outcome)
    assert told["planned"]["properties"]["decision"]["enum"] == list(Decision)
    assert told["reason"]["properties"]["kind"]["enum"] == list(ReasonKind)


def run_of(root: Path, number: int, outcomes: dict[str, Outcome], executor: str | None = "process") -> Path:
    """A run that some seconds of a day began, in which each stage took as many seconds; give its record."""
    found = Record(root, [])
    found.run_started(targets=(), jobs=1, executor=executor)
    for stage, outcome in outcomes.items():
        found.stage_ended(StageResult(stage=stage, outcome=outcome, seconds=number))
    found.run_ended(outcome="done", exit_code=0, seconds=number)
    folder = root / found.folder
    return folder.rename(folder.with_name(f"20260101T{number:06}-abcdef")) / "record.jsonl"


def test_the_last_time_of_each_stage_is_known(tmp_path: Path) -> None:
    run_of(tmp_path, 1, {"a": Outcome.RAN, "b": Outcome.RAN, "c": Outcome.SKIPPED})
    run_of(tmp_path, 2, {"a": Outcome.RAN, "b": Outcome.FAILED, "c": Outcome.RESTORED})
    assert last_seconds(tmp_path, ["a", "b", "c"]) == {"a": 2.0, "b": 1.0}


@pytest.mark.parametrize("executor", [None, "process"])
def test_runs_in_which_nothing_ran_hide_no_time(tmp_path: Path, executor: str | None) -> None:
    run_of(tmp_path, 1, {"a": Outcome.RAN})
    for number in range(2, 2 * LOOKED_AT):
        run_of(tmp_path, number, {"a": Outcome.SKIPPED}, executor)
    assert last_seconds(tmp_path, ["a"]) == {"a": 1.0}


@cases(
    "runs, stages",
    {
        "each time is known": [1, ["a"]],
        "enough was read for one that never ran": [LOOKED_AT, ["a", "never"]],
    },
)
def test_no_more_is_read_for_times_than_needed(tmp_path: Path, runs: int, stages: list[str]) -> None:
    unreadable = run_of(tmp_path, 0, {"a": Outcome.RAN})
    unreadable.unlink()
    unreadable.mkdir()
    for number in range(1, runs + 1):
        run_of(tmp_path, number, {"a": Outcome.RAN})
    assert last_seconds(tmp_path, stages) == {"a": runs}


def test_every_event_has_its_time_and_run(record: Record, listener: Listener) -> None:
    play(record)
    for event in listener.events:
        assert event["run"] == record.run
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(event["time"]))
    assert [event["time"] for event in listener.events] == sorted(str(event["time"]) for event in listener.events)


def test_the_file_holds_the_same_events_one_a_line(tmp_path: Path, record: Record, listener: Listener) -> None:
    play(record)
    (file,) = tmp_path.glob(".dvc/tmp/dvc-runner/runs/*/record.jsonl")
    assert file.parent.name == record.run
    assert [json.loads(line) for line in file.read_text("utf-8").splitlines()] == listener.events


def test_machines_get_the_same_events_one_a_line(tmp_path: Path, listener: Listener) -> None:
    written: list[str] = []
    aside: list[str] = []
    record = Record(tmp_path, [JsonLines(written.append, aside.append), listener])
    play(record)
    with record.writing_log("train") as log:
        log.line("hello")
    assert [json.loads(line) for line in written] == listener.events
    assert all("\n" not in line for line in written)
    assert "hello" in "".join(aside)


def test_people_are_told_of_starts_waits_and_lines(tmp_path: Path) -> None:
    written: list[str] = []
    record = Record(tmp_path, [Progress(written.append)])
    play(record)
    with record.writing_log("train") as log:
        log.line("hello")
    assert len(written) == 3
    assert "train" in written[0]
    assert "train.n 1 → 2" in written[0]
    assert written[1] == "for another"
    assert "hello" in written[2]


def test_two_runs_have_two_names(tmp_path: Path) -> None:
    assert len({Record(tmp_path, []).run for _ in range(20)}) == 20


@cases(
    "stage",
    {
        "plain": ["train"],
        "in another dvc.yaml": ["sub/deep/dvc.yaml:train"],
        "of a foreach": ["train@a"],
        "accents": ["évalue"],
    },
)
def test_log_is_a_file_of_the_run(tmp_path: Path, record: Record, listener: Listener, stage: str) -> None:
    with record.writing_log(stage) as log:
        log.line("premier: é")
        log.line("")
    path = tmp_path / record.log_of(stage)
    assert path.parent.name == record.run
    assert path.read_text("utf-8") == "premier: é\n\n"
    assert listener.lines == [(stage, "premier: é"), (stage, "")]


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path, record: Record) -> None:
    with record.writing_log("train") as log:
        log.line("warning: train wrote b\udcff")
    record.stage_ended(StageResult(stage="train", outcome=Outcome.FAILED, error="b\udcff", remedy="r"))
    assert "warning: train wrote b" in (tmp_path / record.log_of("train")).read_text("utf-8")
