"""What ``dvc-runner run`` promises: order, outcomes, exit codes, and what machines read."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.support.cases import cases
from tests.support.json_schema import problems, schema
from tests.support.projects import BIN, Finished, Project
from tests.support.trees import lay
from tests.support.waiting import until
from tests.support.ways import with_mark

from dvc_runner.errors import EXIT_BUSY, EXIT_CONFIGURATION, EXIT_STAGE_FAILED

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here: TypeAlias = Callable[..., Finished]


def chain(*, first: str = "true", last: str = "true") -> dict[str, Any]:
    """Stages a → b → c, and d beside them, as a shell runs them; written in another order."""
    return {
        "c": {"cmd": f"cp b.txt c.txt && {last}", "deps": ["b.txt"], "outs": ["c.txt"]},
        "a": {"cmd": f"cp in.txt a.txt && {first}", "deps": ["in.txt"], "outs": ["a.txt"]},
        "b": {"cmd": "cp a.txt b.txt", "deps": ["a.txt"], "outs": ["b.txt"]},
        "d": {"cmd": "echo d > d.txt", "outs": ["d.txt"]},
    }


@pytest.fixture
def chained(project: Project) -> Project:
    lay(project.root, {"in.txt": "1"})
    project.stages(**chain())
    return project


def test_stages_run_in_the_order_of_the_graph(chained: Project, here: Here) -> None:
    here(chained, "run").ended(0)
    order = list(chained.outcomes())
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("a") < order.index("b") < order.index("c")
    assert set(chained.outcomes().values()) == {"ran"}
    assert chained.read("c.txt") == "1"


@cases(
    "arguments, ran",
    {
        "all": ([], {"a", "b", "c", "d"}),
        "one, and what it needs": (["b"], {"a", "b"}),
        "two": (["a", "d"], {"a", "d"}),
        "one alone": (["--single-item", "a"], {"a"}),
        "by its file": (["dvc.yaml:a"], {"a"}),
        "a file": (["dvc.yaml"], {"a", "b", "c", "d"}),
    },
)
def test_targets(chained: Project, here: Here, arguments: list[str], ran: set[str]) -> None:
    here(chained, "run", *arguments).ended(0)
    assert {stage for stage, outcome in chained.outcomes().items() if outcome == "ran"} == ran
    assert set(chained.lock()) == ran


def test_what_did_not_change_is_skipped(chained: Project, here: Here) -> None:
    here(chained, "run").ended(0)
    before = chained.files()
    here(chained, "run").ended(0)
    assert chained.outcomes() == dict.fromkeys("abcd", "skipped")
    assert chained.files() == before
    lay(chained.root, {"in.txt": "2"})
    here(chained, "run").ended(0)
    assert chained.outcomes() == {**dict.fromkeys("abc", "ran"), "d": "skipped"}


def test_force_runs_what_did_not_change(chained: Project, here: Here) -> None:
    here(chained, "run").ended(0)
    here(chained, "run", "--force", "b").ended(0)
    assert chained.outcomes() == {"a": "ran", "b": "ran"}
    here(chained, "run", "--force", "--single-item", "b").ended(0)
    assert chained.outcomes() == {"b": "ran"}


@cases(
    "arguments, outcomes",
    {
        "the rest is left": ([], {"a": "failed", "b": "blocked", "c": "blocked"}),
        "the rest goes on": (["--keep-going"], {"a": "failed", "b": "blocked", "c": "blocked", "d": "ran"}),
    },
)
def test_a_failure_stops_what_depends_on_it(
    chained: Project, here: Here, arguments: list[str], outcomes: dict[str, str]
) -> None:
    chained.stages(**chain(first="exit 3"))
    done = here(chained, "run", *arguments).ended(EXIT_STAGE_FAILED)
    found = chained.outcomes()
    # Without --keep-going it depends on the order whether d comes before the failure.
    assert {stage: found[stage] for stage in outcomes} == outcomes
    assert found["d"] in {"ran", "cancelled"}
    assert "exit 3" in done.text


def test_the_next_run_goes_on_from_a_failure(chained: Project, here: Here) -> None:
    chained.stages(**chain(last="exit 3"))
    here(chained, "run", "--keep-going").ended(EXIT_STAGE_FAILED)
    chained.stages(**chain())
    here(chained, "run").ended(0)
    assert chained.outcomes() == {"a": "skipped", "b": "skipped", "c": "ran", "d": "skipped"}


def test_every_mistake_in_dvc_yaml_is_found_before_anything_runs(chained: Project, here: Here) -> None:
    broken = {"cmd": "dvc-runner exec true", "deps": ["c.txt"], "meta": {"container": {"imag": "x"}}}
    chained.stages(**chain(), broken=broken)
    here(chained, "run").ended(EXIT_CONFIGURATION)
    assert not (chained.root / "a.txt").exists()


def test_what_a_stage_lacks_is_named_before_any_other_runs(chained: Project, here: Here) -> None:
    last = chained.stage("last", "open('last.txt', 'w')", deps=["c.txt"], outs=["last.txt"])
    last["meta"]["container"]["secrets"] = ["A_TOKEN"]
    chained.stages(**chain(), last=last)
    assert "A_TOKEN" in here(chained, "run").ended(EXIT_CONFIGURATION).text
    assert not (chained.root / "a.txt").exists()
    here(chained, "run", env={"A_TOKEN": "tok-1234"}).ended(0)
    # What is up to date needs no secret; what may run again does.
    here(chained, "run", env={"A_TOKEN": ""}).ended(0)
    lay(chained.root, {"in.txt": "2"})
    assert "A_TOKEN" in here(chained, "run", env={"A_TOKEN": ""}).ended(EXIT_CONFIGURATION).text
    assert chained.read("a.txt") == "1"


def test_a_project_is_found_from_a_folder_inside(project: Project, here: Here) -> None:
    lay(project.root, {"sub": {"dvc.yaml": "stages:\n  s:\n    cmd: echo 1 > s.txt\n    outs: [s.txt]\n"}})
    inside = Project(root=project.root / "sub", env=project.env)
    here(inside, "run").ended(0)
    assert (project.root / "sub" / "s.txt").read_text() == "1\n"
    assert project.outcomes() == {"s": "ran"}


def test_a_shell_finds_dvc_runner_where_no_environment_is_active(project: Project) -> None:
    project.stages(a={"cmd": "command -v dvc-runner > a.txt", "outs": ["a.txt"]})
    project.run("run", env={**project.env, "PATH": os.defpath}).ended(0)
    assert Path(project.read("a.txt").strip()).parent == BIN


def test_walls_that_a_command_does_not_use_are_told(project: Project, here: Here) -> None:
    entry = project.stage("a", "", outs=["a.txt"])
    project.stages(
        a={**entry, "cmd": "echo > a.txt"},
        b={**project.stage("b", "", outs=["b.txt"]), "cmd": "true; dvc-runner exec true"},
    )
    told = here(project, "run", "a").ended(0).text
    assert "warning: meta.container of a is not used: its command does not begin with dvc-runner exec" in told
    assert "is not used" not in here(project, "run", "b").text


@cases("target", {"a stage": ("trian",), "of a file": ("dvc.yaml:trian",), "a file": ("trian.csv",)})
def test_a_target_that_is_not_there(chained: Project, here: Here, target: str) -> None:
    assert "name a stage, or a file that one writes" in here(chained, "run", target).ended(EXIT_CONFIGURATION).text


def test_a_tracked_file_can_be_a_dep(project: Project, here: Here) -> None:
    lay(project.root, {"data.csv": "1"})
    project.dvc("add", "data.csv").ended(0)
    project.stages(one={"cmd": "cp data.csv one.csv", "deps": ["data.csv"], "outs": ["one.csv"]})
    here(project, "run").ended(0)
    assert project.outcomes()["one"] == "ran"
    here(project, "run").ended(0)
    assert set(project.outcomes().values()) == {"skipped"}


# Stages of ours, as processes.

SHOUT = """\
import sys
print('to out')
print('to err', file=sys.stderr)
open('out.csv', 'w').write('1')
open('left over.txt', 'w')
"""


def test_output_goes_to_people_and_to_the_log(project: Project, here: Here) -> None:
    project.stages(one=project.stage("one", SHOUT, outs=["out.csv"]))
    done = here(project, "run").ended(0)
    (end,) = [event for event in project.records()[-1] if event["event"] == "stage_end"]
    log = project.read(end["log"])
    for text in (done.text, log):
        for said in ("to out", "to err", "left over.txt"):
            assert said in text
    assert not (project.root / "left over.txt").exists()


def test_the_log_of_a_stage_exists_or_is_not_named(project: Project, here: Here) -> None:
    lay(project.root, {"in.txt": "1"})
    bad = project.stage("bad", "print('oh'); raise SystemExit(3)", deps=["a.txt"], outs=["b.txt"])
    project.stages(a=chain()["a"], bad=bad)
    done = here(project, "run").ended(EXIT_STAGE_FAILED)
    ends = {event["stage"]: event for event in project.records()[-1] if event["event"] == "stage_end"}
    assert (project.root / ends["a"]["log"]).read_text().startswith("> ")
    assert (project.root / ends["bad"]["log"]).read_text().splitlines()[-1] == "oh"
    assert ends["bad"]["log"] in done.text


def test_secrets_reach_the_stage_that_names_them_and_no_log(project: Project, here: Here) -> None:
    code = """\
import configparser, os, pathlib
home = pathlib.Path.home()
found = sorted(str(path.relative_to(home)) for path in home.rglob('*') if path.is_file())
token = home / '.secrets' / 'A_TOKEN'
print('has', found, token.read_text() if token.exists() else '')
print('env', [name for name in os.environ if 'TOKEN' in name or 'PASSWORD' in name])
credentials = home / '.mlflow' / 'credentials'
if credentials.exists():
    parser = configparser.ConfigParser()
    parser.read(credentials)
    print(dict(parser['mlflow']) == {'mlflow_tracking_username': 'me', 'mlflow_tracking_password': 'p%ss=word 1'})
"""
    names = {"both": ["A_TOKEN", "mlflow"], "none": []}
    project.stages(**{name: project.stage(name, code, container={"secrets": value}) for name, value in names.items()})
    project.write(
        ".env",
        "A_TOKEN=tok-1234\nMLFLOW_TRACKING_USERNAME=me\nMLFLOW_TRACKING_PASSWORD='p%ss=word 1'\n",
    )
    done = here(project, "run").ended(0)
    logs = {event["stage"]: event["log"] for event in project.records()[-1] if event["event"] == "stage_end"}
    both, none = (project.read(logs[name]).splitlines() for name in ("both", "none"))
    assert both[0] == "has ['.mlflow/credentials', '.secrets/A_TOKEN'] *****"
    assert both[1:] == ["env []", "True"]
    assert none == ["has [] ", "env []"]
    everything = [done.text, *(path.read_text("utf-8", "replace") for path in project.root.rglob("*.log"))]
    everything += [project.read("dvc.lock"), json.dumps(project.records())]
    for text in everything:
        assert "tok-1234" not in text
        assert "p%ss=word 1" not in text


def test_stages_are_told_of_dvcs_experiment(project: Project, here: Here) -> None:
    code = "import os; print(sorted((name, value) for name, value in os.environ.items() if name[:4] == 'DVC_'))"
    project.stages(one=project.stage("one", code))
    done = here(project, "run", env={"DVC_EXP_NAME": "bold-try", "DVC_EXP_BASELINE_REV": "abc"}).ended(0)
    assert "[('DVC_EXP_BASELINE_REV', 'abc'), ('DVC_EXP_NAME', 'bold-try'), ('DVC_ROOT', " in done.out


# What machines read.


def test_json_is_events_and_nothing_else(project: Project) -> None:
    lay(project.root, {"in.txt": "1"})
    bad = project.stage("bad", SHOUT + "raise SystemExit(3)", deps=["a.txt"], outs=["out.csv"])
    next_ = {"cmd": "true", "deps": ["out.csv"]}
    project.stages(a={**chain()["a"], "cmd": "echo from a shell; cp in.txt a.txt"}, bad=bad, after=next_)
    done = project.json().ended(EXIT_STAGE_FAILED)
    events = done.events
    assert [found for event in events for found in problems(event, schema("run"))] == []
    assert events[0]["event"] == "run_start"
    assert events[-1] == {**events[-1], "event": "run_end", "outcome": "failed", "exit_code": EXIT_STAGE_FAILED}
    assert done.outcomes == {"a": "ran", "bad": "failed", "after": "blocked"}
    assert [event["stage"] for event in events if "usage" in event] == ["a", "bad"]
    starts = [event["stage"] for event in events if event["event"] == "stage_start"]
    assert starts == ["a", "bad"]
    assert events == project.records()[-1]
    for said in ("from a shell", "to out", "to err"):
        assert said in done.err


def test_a_flood_of_odd_names_and_bytes(project: Project) -> None:
    code = "import os; os.write(1, b'odd \\xff\\n'); open(b'odd \\xff.txt', 'w'); open('out.csv', 'w')"
    project.stages(one=project.stage("one", code, outs=["out.csv"]))
    done = project.json().ended(0)
    assert done.outcomes == {"one": "ran"}


def test_build_makes_what_is_missing_and_runs_nothing(project: Project, here: Here) -> None:
    project.stages(one=project.stage("one", "open('out.csv', 'w')", outs=["out.csv"]), two={"cmd": "touch two"})
    first = here(project, "build").ended(0)
    second = here(project, "build", "one").ended(0)
    environment = Path(first.out.split("one: ", 1)[1].splitlines()[0])
    assert environment.is_dir()
    assert str(environment) in second.out
    assert not (project.root / "out.csv").exists()
    assert not (project.root / "two").exists()
    assert not (project.root / "dvc.lock").exists()


def test_two_runs_at_once_do_not_meet(project: Project) -> None:
    """One runs; the other is told so, and changes nothing."""
    code = "import pathlib, time\nwhile not pathlib.Path('gate/open').exists(): time.sleep(0.05)\nopen('out.csv', 'w')"
    lay(project.root, {"gate": {"closed": ""}})
    project.stages(one=project.stage("one", "print('begun', flush=True)\n" + code, deps=["gate"], outs=["out.csv"]))
    with project.started("dvc-runner", "run") as first:
        assert first.stdout
        while "begun" not in (line := first.stdout.readline()):
            assert line, "it ended before it began"
        project.run("run").ended(EXIT_BUSY)
        (project.root / "gate" / "open").touch()
        first.communicate(timeout=60)
    # The gate is a dep, and changed while the stage ran.
    assert first.returncode == EXIT_STAGE_FAILED


WAIT = """
import time
print("begun", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_stage_ends_with_a_runner_that_is_killed(project: Project) -> None:
    project.stages(one=project.stage("one", WAIT))
    with project.started("dvc-runner", "run") as process:
        assert any("begun" in line for line in process.stdout or ())
        (scratch,) = (project.root / ".dvc/tmp/dvc-runner").glob("scratch/one-*")
        assert with_mark(str(scratch))
        process.kill()
        process.wait()
    assert until(lambda: not with_mark(str(scratch)), 10)


ENDS_WELL_AT_THE_SIGNAL = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('begun', flush=True)
time.sleep(60)
"""


@cases(
    "code, container, begun, told",
    {
        "timed out": (ENDS_WELL_AT_THE_SIGNAL, {"timeout": "1s"}, 2, "timeout"),
        "hidden from it": ("print('begun', flush=True); open('in.txt')", {}, 1, "not among its deps"),
    },
)
def test_a_repeat_is_for_what_it_may_mend(
    project: Project, code: str, container: dict[str, Any], begun: int, told: str
) -> None:
    lay(project.root, {"in.txt": "1"})
    project.stages(one=project.stage("one", code, outs=["out.txt"], container={"retries": 1, **container}))
    done = project.json()
    assert done.code == EXIT_STAGE_FAILED, done.text
    (end,) = [event for event in done.events if event["event"] == "stage_end"]
    assert project.read(end["log"]).splitlines().count("begun") == begun
    assert told in end["error"]
