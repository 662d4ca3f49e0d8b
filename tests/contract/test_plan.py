"""What ``plan`` and ``run --dry`` say, to people and to machines."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.json_schema import problems, schema
from tests.support.projects import BIN, LIMIT_S, Project
from tests.support.trees import Node, lay

from dvc_runner.cli.main import EXIT_PIPE
from dvc_runner.errors import EXIT_CONFIGURATION, EXIT_STAGE_FAILED

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here = Callable[..., Any]


@pytest.fixture
def chain(project: Project) -> Project:
    """raw.csv → one → two, and a stage with a param beside them."""
    lay(project.root, {"raw.csv": "1"})
    project.params(n=1)
    project.stages(
        one={"cmd": "cat raw.csv > one.csv", "deps": ["raw.csv"], "outs": ["one.csv"]},
        two={"cmd": "cat one.csv > two.csv", "deps": ["one.csv"], "outs": ["two.csv"]},
        beside={"cmd": "echo > b.txt", "params": ["n"], "outs": ["b.txt"]},
    )
    return project


def planned(project: Project, *arguments: str, code: int = 0) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Give decision and reasons of each stage, from the one JSON object that plan prints."""
    (found,) = project.run("plan", "--json", *arguments).ended(code).events
    assert problems(found, schema("run")) == []
    return {one["stage"]: (one["decision"], one["reasons"]) for one in found["stages"]}


def reason(kind: str, name: str = "", old: str | None = None, new: str | None = None) -> dict[str, str | None]:
    return {"kind": kind, "name": name, "old": old, "new": new}


def test_before_the_first_run(chain: Project) -> None:
    assert planned(chain) == {
        "one": ("run", [reason("new")]),
        "two": ("run", [reason("new"), reason("upstream", "one", new="runs")]),
        "beside": ("run", [reason("new")]),
    }


def test_old_and_new_are_told(chain: Project, here: Here) -> None:
    here(chain, "run").ended(0)
    chain.write("raw.csv", "22")
    chain.params(n=2)
    assert planned(chain) == {
        "one": ("run", [reason("dep", "raw.csv", "1 B, c4ca4238", "2 B, b6d767d2")]),
        "two": ("run", [reason("upstream", "one", new="runs")]),
        "beside": ("run", [reason("param", "n", "1", "2")]),
    }
    # In the order in which they are named, as they run.
    for names, decision in ((["one", "two"], "run"), (["two", "one"], "skip")):
        alone = planned(chain, "--single-item", *names)
        assert (alone["one"][0], alone["two"][0]) == ("run", decision)
    told = here(chain, "plan").ended(0).out
    assert "▶ one     run      raw.csv changed: 1 B, c4ca4238 → 2 B, b6d767d2  (took " in told
    assert "n 1 → 2" in told
    assert told.splitlines()[-1].startswith("3 to run; ")


def test_what_differs_in_a_folder_is_named(project: Project, here: Here) -> None:
    code: dict[str, Node] = {"a.py": "1", "b.py": "2", "c d": {"é.py": "3"}}
    lay(project.root, {"code": code})
    project.stages(
        one={"cmd": "cp -R code out", "deps": ["code"], "outs": ["out"]},
        two={"cmd": "cp out/a.py two.py", "deps": ["out"], "outs": ["two.py"]},
    )
    here(project, "run").ended(0)
    lay(project.root, {"code": {"c d": {"é.py": "33"}, **{f"new{n}.py": "" for n in range(4)}}})
    (project.root / "code/b.py").unlink()
    named = {"b.py": "removed", "c d/é.py": "changed", **{f"new{n}.py": "added" for n in range(3)}}
    told = {**reason("dep", "code", "3 B, 8cac7b76", "3 B, 6c25cd81"), "files": named, "more_files": 1}
    assert planned(project)["one"] == ("run", [told])
    text = (
        "B, 6c25cd81 (b.py removed, c d/é.py changed, new0.py added, new1.py added, new2.py added and 1 more)  (took "
    )
    assert text in here(project, "plan").ended(0).out
    here(project, "run").ended(0)

    shutil.rmtree(project.root / "code")
    lay(project.root, {"code": code})
    back = {"b.py": "added", "c d/é.py": "changed", **{f"new{n}.py": "removed" for n in range(3)}}
    restored = planned(project)
    assert [reasons[0]["files"] for _, reasons in restored.values()] == [back, back]
    assert restored["two"][1][0]["name"] == "out"

    here(project, "run").ended(0)
    project.write("out/a.py", "11")
    told = {**reason("out", "out", "3 B, 8cac7b76", "4 B, dba86cd3"), "files": {"a.py": "changed"}, "more_files": 0}
    assert planned(project)["one"] == ("restore", [told])
    assert "out was changed: 3 B, 8cac7b76 → 4 B, " in here(project, "plan").ended(0).out


def test_what_a_restored_stage_brings_is_known(chain: Project, here: Here) -> None:
    here(chain, "run").ended(0)
    chain.write("raw.csv", "22")
    here(chain, "run").ended(0)
    chain.write("raw.csv", "1")
    assert planned(chain) == {
        "one": ("restore", [reason("dep", "raw.csv", "2 B, b6d767d2", "1 B, c4ca4238")]),
        "two": ("restore", [reason("dep", "one.csv", "2 B, b6d767d2", "c4ca4238")]),
        "beside": ("skip", []),
    }
    here(chain, "run").ended(0)
    assert chain.outcomes() == {"one": "restored", "two": "restored", "beside": "skipped"}


def test_what_is_in_a_folder_that_is_brought_is_not_yet_known(project: Project, here: Here) -> None:
    project.stages(
        one={"cmd": "mkdir made && echo > made/x", "outs": ["made"]},
        two={"cmd": "cp made/x two", "deps": ["made/x"], "outs": ["two"]},
    )
    here(project, "run").ended(0)
    (project.root / "made/x").unlink()
    assert planned(project)["two"] == ("run", [reason("upstream", "one", new="runs")])
    here(project, "run").ended(0)
    assert project.outcomes() == {"one": "ran", "two": "skipped"}


def test_what_a_pull_brings_is_known(chain: Project, here: Here, dvc_in: Callable[..., int], tmp_path: Path) -> None:
    dvc_in(chain, "remote", "add", "-d", "store", str(tmp_path / "store"))
    for text in ("1", "22"):
        chain.write("raw.csv", text)
        here(chain, "run").ended(0)
        assert dvc_in(chain, "push", "--run-cache") == 0
    shutil.rmtree(chain.root / ".dvc/cache/files")
    (chain.root / "b.txt").unlink()
    shutil.rmtree(tmp_path / "store/files/md5" / hashlib.md5(b"\n").hexdigest()[:2])
    for text in ("1", "22"):
        chain.write("raw.csv", text)
        plan = planned(chain, "--pull")
        assert {name: decision for name, (decision, _) in plan.items()} == {
            "one": "restore",
            "two": "restore",
            "beside": "run" if text == "1" else "skip",
        }
        # DVC's logger warns, to the stream that it saw first in a process.
        chain.run("run", "--pull").ended(0)
        assert set(chain.outcomes().values()) == {"restored", "ran" if text == "1" else "skipped"}


def test_a_dep_that_nobody_makes_blocks(chain: Project, here: Here) -> None:
    (chain.root / "raw.csv").unlink()
    assert planned(chain, code=EXIT_STAGE_FAILED) == {
        "one": ("blocked", [reason("new")]),
        "two": ("blocked", [reason("upstream", "one", new="blocked")]),
        "beside": ("run", [reason("new")]),
    }
    assert "2 blocked" in here(chain, "plan").ended(EXIT_STAGE_FAILED).out


@cases("text", {"the param is gone": ("m: 1\n",), "its file is": (None,)})
def test_a_param_that_is_not_there_blocks(project: Project, here: Here, text: str | None) -> None:
    project.params(n=1)
    project.stages(a={"cmd": "echo > a.txt", "params": ["n"], "outs": ["a.txt"]})
    here(project, "run").ended(0)
    (project.root / "params.yaml").unlink()
    if text:
        project.write("params.yaml", text)
    assert planned(project, code=EXIT_STAGE_FAILED)["a"][0] == "blocked"
    assert "params.yaml" in here(project, "run").ended(EXIT_STAGE_FAILED).text
    assert project.outcomes() == {"a": "failed"}


def test_the_time_of_the_last_run_is_told(chain: Project, here: Here) -> None:
    here(chain, "run").ended(0)
    took = {event["stage"]: event["seconds"] for event in chain.records()[-1] if event["event"] == "stage_end"}
    for _ in range(2):
        here(chain, "run", "two").ended(0)
    chain.write("raw.csv", "22")
    (found,) = chain.run("plan", "--json").ended(0).events
    assert {one["stage"]: one["seconds"] for one in found["stages"]} == took
    assert all(0 < seconds < LIMIT_S for seconds in took.values())


def test_nothing_to_do(chain: Project, here: Here) -> None:
    here(chain, "run").ended(0)
    assert {decision for decision, _ in planned(chain).values()} == {"skip"}
    assert here(chain, "plan").ended(0).out.splitlines()[-1] == "nothing to do"


@cases(
    "arguments, decisions",
    {
        "forced": [["--force"], {"one": "run", "two": "run", "beside": "run"}],
        "a target": [["two"], {"one": "skip", "two": "skip"}],
        "single": [["--single-item", "two"], {"two": "skip"}],
        "downstream": [["--downstream", "one"], {"one": "skip", "two": "skip"}],
    },
)
def test_it_takes_the_options_of_run(
    chain: Project, here: Here, arguments: list[str], decisions: dict[str, str]
) -> None:
    here(chain, "run").ended(0)
    assert {name: decision for name, (decision, _) in planned(chain, *arguments).items()} == decisions


def test_a_dry_run_tells_events_and_does_nothing(chain: Project, here: Here) -> None:
    here(chain, "run").ended(0)
    chain.write("raw.csv", "22")
    before, records = chain.files(), len(chain.records())
    events = chain.json("--dry").ended(0).events
    assert [event["event"] for event in events] == ["run_start", *["stage_end"] * 3, "run_end"]
    assert [found for event in events for found in problems(event, schema("run"))] == []
    outcomes = {event["stage"]: event["outcome"] for event in events[1:-1]}
    assert outcomes == {"one": "would_run", "two": "would_run", "beside": "skipped"}
    assert (chain.files(), len(chain.records())) == (before, records)


def test_what_a_run_would_refuse_is_told(chain: Project, here: Here) -> None:
    stage = chain.stage("three", "pass", outs=["c.txt"], container={"secrets": ["A_TOKEN"]})
    chain.stages(three=stage)
    done = here(chain, "plan").ended(EXIT_CONFIGURATION)
    assert "three" in done.out
    assert "A_TOKEN" in done.err


def test_ten_thousand_stages_that_are_skipped_are_one_line(chain: Project, here: Here) -> None:
    chain.stages(**{f"s{n}": {"cmd": f"echo > {n}.txt", "outs": [f"{n}.txt"]} for n in range(45)})
    here(chain, "run").ended(0)
    assert here(chain, "plan").ended(0).out.splitlines() == ["nothing to do"]


def test_plan_json_is_one_line(chain: Project) -> None:
    assert json.loads(chain.run("plan", "--json").ended(0).out)


def test_whoever_reads_it_may_stop(project: Project) -> None:
    project.stages(one={"cmd": "true", "outs": ["x"]})
    read, write = os.pipe()
    os.close(read)
    command = [str(BIN / "dvc-runner"), "plan"]
    done = subprocess.run(command, cwd=project.root, env=project.env, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (EXIT_PIPE, b"")
