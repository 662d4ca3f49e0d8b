"""What a model was made from, and whether it came out the same."""

from typing import Any

import pytest
from tests.support.cases import cases

from dvc_runner.errors import ConfigurationError
from dvc_runner.pipeline.reproduction import compare, recipe, verdict
from dvc_runner.tracking.models import TrackedRun

LINEAGE: dict[str, Any] = {
    "stage": "train",
    "git_commit": "c0ffee",
    "git_dirty": False,
    "git_diff": None,
    "git_diff_whole": True,
    "image": {"key": "k2", "id": None},
    "upstream": [{"stage": "ingest", "image": {"key": "k1", "id": "x"}, "outs": {"rows.csv": "aa"}}],
}


def run(**metrics: float) -> TrackedRun:
    return TrackedRun(run_id="r", status="FINISHED", started_ms=0, params={"n": "1"}, metrics=metrics, tags={})


def test_a_recipe_has_all_that_is_made_again() -> None:
    found = recipe(LINEAGE)
    assert (found.stage, found.commit, found.diff) == ("train", "c0ffee", None)
    assert found.outs == {"rows.csv": "aa"}
    assert found.images == {"ingest": "k1", "train": "k2"}


def test_what_was_changed_then_belongs_to_it() -> None:
    assert recipe({**LINEAGE, "git_dirty": True, "git_diff": "--- a"}).diff == "--- a"


@cases(
    "change, named",
    {
        "no commit": [{"git_commit": None}, "git_commit"],
        "no stage": [{"stage": ""}, "stage"],
        "changes that nobody kept": [{"git_dirty": True}, "c0ffee"],
        "changes kept in part": [{"git_dirty": True, "git_diff": "--- a", "git_diff_whole": False}, "whole"],
    },
)
def test_one_that_says_too_little_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        recipe({**LINEAGE, **change})


@cases(
    "now, outs, is_same, named",
    {
        "all the same": [{"acc": 0.5}, {"rows.csv": "aa"}, True, "2 outs, files and metrics"],
        "a metric differs in the last digit": [{"acc": 0.5000000001}, {"rows.csv": "aa"}, False, "acc"],
        "a metric is gone": [{}, {"rows.csv": "aa"}, False, "acc"],
        "a metric is new": [{"acc": 0.5, "f1": 1.0}, {"rows.csv": "aa"}, False, "f1"],
        "an out differs": [{"acc": 0.5}, {"rows.csv": "bb"}, False, "rows.csv"],
        "an out is gone": [{"acc": 0.5}, {}, False, "rows.csv"],
    },
)
def test_the_verdict(now: dict[str, float], outs: dict[str, str], is_same: bool, named: str) -> None:  # noqa: FBT001
    ingest = {"stage": "ingest", "image": {"key": "k1", "id": "y"}, "outs": outs}
    made = recipe({**LINEAGE, "upstream": [ingest], "image": {"key": "other", "id": None}})
    found = compare(recipe(LINEAGE), run(acc=0.5), made, run(**now))
    same, words = verdict(found, recipe(LINEAGE))
    assert same is is_same
    assert named in words
    assert words.endswith("in other images than then: train")
    assert [(one.name, one.is_same) for one in found if one.kind == "image"] == [("ingest", True), ("train", False)]


def test_without_results_nothing_is_proved() -> None:
    made = recipe({**LINEAGE, "upstream": []})
    assert not verdict(compare(made, run(), made, run()), made)[0]


def test_what_was_logged_with_it_is_compared_too() -> None:
    logged = {"evaluate/matrix.csv": "a,b", "evaluate/lineage.json": '{"git_commit": "c0ffee"}'}
    then = recipe(LINEAGE, logged)
    assert verdict(compare(then, run(), recipe(LINEAGE, logged), run()), then)[0]
    differing = recipe(LINEAGE, {**logged, "evaluate/matrix.csv": "a,c"})
    assert "evaluate/matrix.csv" in verdict(compare(then, run(), differing, run()), then)[1]


def test_who_logged_later_from_another_commit_is_named() -> None:
    then = recipe(LINEAGE, {"evaluate/lineage.json": '{"git_commit": "0123456789"}'})
    words = verdict(compare(then, run(acc=0.5), then, run(acc=0.6)), then)[1]
    assert words.endswith("evaluate/lineage.json is of commit 01234567")


def test_an_image_that_nobody_noted_is_not_said_to_be_another() -> None:
    then = recipe({**LINEAGE, "upstream": [{"stage": "ingest", "image": None, "outs": {"rows.csv": "aa"}}]})
    assert "other images" not in verdict(compare(then, run(), recipe(LINEAGE), run()), then)[1]
