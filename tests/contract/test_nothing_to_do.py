"""A run with nothing to do asks nobody; whatever may have changed is asked about, and told as DVC would."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dvc
import pytest
import yaml
from tests.support.cases import cases
from tests.support.projects import Project
from tests.support.trees import lay

from dvc_runner.workspace import up_to_date

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here = Callable[..., Any]
OLD_NS = 10**18


@pytest.fixture
def ran(project: Project, here: Here) -> Project:
    """A pipeline that is up to date, and was found so."""
    lay(project.root, {"raw": {"a.csv": "1", "deep": {"b.csv": "2"}}, "one.csv": "3", "more.yaml": "x: 1\n"})
    project.params(n=1, other=1)
    pipeline = {
        "vars": ["more.yaml"],
        "stages": {
            "folder": {"cmd": "mkdir -p made && cat raw/a.csv > made/f", "deps": ["raw"], "outs": ["made"]},
            "file": {"cmd": "cat one.csv made/f > two.csv", "deps": ["one.csv", "made"], "outs": ["two.csv"]},
            "param": {"cmd": "echo ${x} > p.txt", "params": ["n"], "outs": [{"p.txt": {"cache": False}}]},
        },
    }
    project.write("dvc.yaml", yaml.safe_dump(pipeline, sort_keys=False))
    time.sleep(up_to_date.TICK_S)
    here(project, "run").ended(0)
    return project


def was_instant(project: Project) -> bool:
    """Say whether the last run chose no executor, since it asked nobody."""
    return bool(project.records()[-1][0]["executor"] is None)


def test_the_next_run_is_instant(ran: Project, here: Here) -> None:
    for _ in range(2):
        done = here(ran, "run").ended(0)
        assert was_instant(ran)
        assert ran.outcomes() == dict.fromkeys(["folder", "file", "param"], "skipped")
        assert "nothing changed" in done.out


WATCHED = """
import json, os, sys
seen = set()
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        seen.add(os.path.relpath(arguments[0]))
sys.addaudithook(watch)
from dvc_runner.cli.main import main
code = main(["run"])
libraries = {name.partition(".")[0] for name in sys.modules}
with open(os.environ["SEEN"], "w") as file:
    json.dump({"opened": sorted(seen), "imported": sorted(libraries)}, file)
sys.exit(code)
"""
DEAR = {"asyncio", "docker", "dvc", "dvc_data", "dvc_objects", "jsonschema", "networkx", "requests", "ruamel", "yaml"}

# What only containers need, or stages of ours.
OF_OTHERS = {"docker", "requests", "pygit2"}


def watched(project: Project) -> dict[str, set[str]]:
    """Run in a process of its own; give the files that it opened and the libraries that it imported."""
    told = project.root.parent / "seen.json"
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=project.root, env={**project.env, "SEEN": str(told)}, check=False
    )
    assert done.returncode == 0
    return {key: set(values) for key, values in json.loads(told.read_text()).items()}


def test_it_imports_no_library_and_reads_no_data(ran: Project, here: Here) -> None:
    data = {"raw/a.csv", "raw/deep/b.csv", "one.csv", "made/f", "two.csv", "p.txt"}
    ran.write("one.csv", "4")
    # Shows what the watch sees where there is something to do.
    seen = watched(ran)
    assert "one.csv" in seen["opened"]
    assert {"dvc", "ruamel"} <= seen["imported"]
    assert not seen["imported"] & OF_OTHERS
    time.sleep(up_to_date.TICK_S)
    here(ran, "run").ended(0)
    seen = watched(ran)
    assert was_instant(ran)
    assert not seen["opened"] & data
    assert not seen["imported"] & DEAR


def test_so_is_one_after_another_environment_got_a_link_to_the_program(ran: Project, here: Here) -> None:
    here(ran, "run").ended(0)
    link = Path(dvc.__file__).with_suffix(".link")
    os.link(dvc.__file__, link)
    link.unlink()
    here(ran, "run").ended(0)
    assert was_instant(ran)


def test_so_is_one_of_other_targets_once_it_was_found_up_to_date(ran: Project, here: Here) -> None:
    for expected in (False, True):
        here(ran, "run", "file").ended(0)
        assert was_instant(ran) is expected
        assert list(ran.outcomes()) == ["folder", "file"]


def test_so_is_one_after_a_run_that_looked_ahead(project: Project, here: Here) -> None:
    code = "open('{0}.txt', 'w').write(open('in.txt').read())"
    project.write("in.txt", "1")
    first = project.stage("a", code.format("a"), deps=["in.txt"], outs=["a.txt"])
    second = project.stage("b", code.format("b").replace("in.txt", "a.txt"), deps=["a.txt"], outs=["b.txt"])
    project.stages(a=first, b=second)
    here(project, "run").ended(0)
    for text in ("2", "3"):
        project.write("in.txt", text)
        time.sleep(up_to_date.TICK_S)
        here(project, "run").ended(0)
        assert project.outcomes() == {"a": "ran", "b": "ran"}
        here(project, "run").ended(0)
        assert was_instant(project)


def rewritten(path: Path) -> None:
    """Change a file in place, and give it its old time and size."""
    state = path.stat()
    text = path.read_text()
    path.write_text("9" * len(text))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def edited(name: str, old: str, new: str) -> Callable[[Project], None]:
    def act(project: Project) -> None:
        text = project.read(name)
        assert old in text
        project.write(name, text.replace(old, new))

    return act


def without(*names: str) -> Callable[[Project], None]:
    def act(project: Project) -> None:
        for name in names:
            path = project.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def cache_of(name: str) -> Callable[[Project], None]:
    def act(project: Project) -> None:
        md5 = project.lock()[name]["outs"][0]["md5"]
        (project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()

    return act


def added(project: Project) -> None:
    lay(project.root / "raw", {"new.csv": "new"})


@cases(
    "change, outcomes",
    {
        "a dep is touched": [lambda p: os.utime(p.root / "one.csv", ns=(OLD_NS, OLD_NS)), {}],
        "a dep is written again": [lambda p: p.write("one.csv", "3"), {}],
        "a dep": [lambda p: p.write("one.csv", "other"), {"file": "ran"}],
        "a dep, with its old time and size": [lambda p: rewritten(p.root / "one.csv"), {"file": "ran"}],
        "a file in a folder, with its old time and size": [
            lambda p: rewritten(p.root / "raw/a.csv"),
            {"folder": "ran", "file": "ran"},
        ],
        "a file more in a folder": [added, {"folder": "ran"}],
        "a file less in a folder": [without("raw/deep/b.csv"), {"folder": "ran"}],
        "an out is gone": [without("two.csv"), {"file": "restored"}],
        "a folder of an out is gone": [without("made"), {"folder": "restored"}],
        "an out": [lambda p: p.write("two.csv", "other"), {"file": "restored"}],
        "an out that is not in the cache": [without("p.txt"), {"param": "ran"}],
        "an out's cache": [cache_of("file"), {"file": "ran"}],
        "a param": [lambda p: p.params(n=2, other=1), {"param": "ran"}],
        "another's param": [lambda p: p.params(n=1, other=2), {}],
        "a variable": [edited("more.yaml", "1", "2"), {"param": "ran"}],
        "a command": [edited("dvc.yaml", "cat one.csv made/f", "cat made/f one.csv"), {"file": "ran"}],
        "a comment in dvc.yaml": [lambda p: p.write("dvc.yaml", p.read("dvc.yaml") + "# a comment\n"), {}],
        "dvc.lock is gone": [without("dvc.lock"), {"folder": "restored", "file": "restored", "param": "ran"}],
        "a setting of DVC's": [lambda p: p.dvc("config", "--local", "core.analytics", "false").ended(0), {}],
        "another dvc.yaml": [lambda p: p.write("sub/dvc.yaml", "stages: {x: {cmd: echo, outs: [y]}}\n"), {}],
        "a file that DVC adds": [lambda p: (p.write("more", "x"), p.dvc("add", "-q", "more").ended(0)), {}],
        ".dvcignore": [lambda p: p.write(".dvcignore", "a.csv\n"), {"folder": "ran"}],
    },
)
def test_what_changed_is_seen(
    ran: Project, here: Here, change: Callable[[Project], object], outcomes: dict[str, str]
) -> None:
    change(ran)
    time.sleep(up_to_date.TICK_S)
    here(ran, "run").ended(0)
    assert not was_instant(ran)
    assert ran.outcomes() == {**dict.fromkeys(["folder", "file", "param"], "skipped"), **outcomes}
    assert ran.dvc("status", "dvc.yaml").out.strip() == "Data and pipelines are up to date."
    here(ran, "run").ended(0)
    assert was_instant(ran)


@cases(
    "before, arguments",
    {
        "another request": [[], ["file"]],
        "another request, after one that did not look at the file": [["param"], ["file"]],
        "one that is never instant": [[], ["--pull"]],
    },
)
def test_a_rewritten_dep_is_seen_by_a_request_that_never_ran(
    ran: Project, here: Here, tmp_path: Path, before: list[str], arguments: list[str]
) -> None:
    ran.dvc("remote", "add", "-q", "-d", "far", str(tmp_path / "remote")).ended(0)
    ran.dvc("push", "-q", "--run-cache").ended(0)
    if before:
        here(ran, "run", *before).ended(0)
    rewritten(ran.root / "one.csv")
    here(ran, "run", *arguments).ended(0)
    assert ran.outcomes()["file"] == "ran"


@cases(
    "other, code",
    {
        "failed": [{"cmd": "exit 3"}, 1],
        "always runs": [{"cmd": "echo", "always_changed": True}, 0],
    },
)
def test_a_rewritten_dep_is_seen_after_a_run_in_which_another_stage(
    project: Project, here: Here, other: dict[str, Any], code: int
) -> None:
    project.write("one.csv", "3")
    stage = {"cmd": "cat one.csv > two.csv", "deps": ["one.csv"], "outs": ["two.csv"]}
    project.stages(other=other, file=stage)
    here(project, "run", "--keep-going").ended(code)
    rewritten(project.root / "one.csv")
    here(project, "run", "--keep-going").ended(code)
    assert project.outcomes()["file"] == "ran"


def test_a_dep_rewritten_after_its_stage_failed_is_known_as_it_is(ran: Project, here: Here) -> None:
    ran.write("one.csv", "5")
    edited("dvc.yaml", "cat one.csv made/f", "exit 3; cat one.csv made/f")(ran)
    here(ran, "run").ended(1)
    rewritten(ran.root / "one.csv")
    edited("dvc.yaml", "exit 3; ", "")(ran)
    here(ran, "run").ended(0)
    deps = {dep["path"]: dep["md5"] for dep in ran.lock()["file"]["deps"]}
    assert deps["one.csv"] == hashlib.md5(b"9").hexdigest()


@pytest.mark.parametrize("arguments", [[], ["file"], ["--allow-missing"]])
def test_the_plan_sees_a_rewritten_dep_as_the_run_does(ran: Project, here: Here, arguments: list[str]) -> None:
    rewritten(ran.root / "one.csv")
    seen = ran.files()
    for _ in range(2):
        (found,) = ran.run("plan", "--json", *arguments).ended(0).events
        decisions = {one["stage"]: one["decision"] for one in found["stages"]}
        assert decisions["file"] == "run"
    assert ran.files() == seen
    here(ran, "run", *arguments).ended(0)
    assert ran.outcomes()["file"] == "ran"


def test_what_dvc_did_meanwhile_is_seen(ran: Project, here: Here) -> None:
    ran.write("one.csv", "other")
    ran.dvc("repro").ended(0)
    here(ran, "run").ended(0)
    assert set(ran.outcomes().values()) == {"skipped"}
    assert not was_instant(ran)


@pytest.mark.parametrize("name", ["dvc.yaml", "one.csv", "params.yaml"])
def test_an_edit_while_a_stage_runs_is_seen_by_the_next(ran: Project, here: Here, name: str) -> None:
    text = {"dvc.yaml": ("cat one.csv made/f", "cat made/f one.csv"), "one.csv": ("3", "4"), "params.yaml": ("1", "2")}
    old, new = text[name]
    ran.write("edit.sh", f"sed -i 's|{old}|{new}|' {name}\n")
    edited("dvc.yaml", "echo ${x} > p.txt", "echo ${x} > p.txt; sh edit.sh")(ran)
    before = ran.read(name)
    here(ran, "run").ended(0)
    assert ran.read(name) != before
    here(ran, "run").ended(0)
    assert not was_instant(ran)


@pytest.mark.parametrize("option", ["--force", "--pull"])
def test_what_asks_for_more_is_not_instant(ran: Project, here: Here, option: str) -> None:
    here(ran, "run", option)
    assert not was_instant(ran)


def test_the_run_after_a_forced_one_is_instant_and_sees_a_rewritten_dep(ran: Project, here: Here) -> None:
    ran.write("one.csv", "4")
    here(ran, "run", "--force").ended(0)
    time.sleep(up_to_date.TICK_S)
    here(ran, "run").ended(0)
    assert was_instant(ran)
    here(ran, "run", "--force", "file").ended(0)
    rewritten(ran.root / "one.csv")
    here(ran, "run").ended(0)
    assert ran.outcomes()["file"] == "ran"


def test_a_stage_that_always_runs_is_never_instant(project: Project, here: Here) -> None:
    project.stages(one={"cmd": "echo 1 > a.txt", "outs": ["a.txt"], "always_changed": True})
    for _ in range(2):
        here(project, "run").ended(0)
        assert project.outcomes() == {"one": "ran"}


def test_a_stage_whose_variables_lie_somewhere_is_never_instant(project: Project, here: Here) -> None:
    lay(project.root, {"deep": {"more.yaml": "x: 1\n", "in": ""}})
    project.params(where="deep")
    stage = {"cmd": "echo ${x} > a.txt", "wdir": "${where}", "vars": ["more.yaml"], "outs": ["a.txt"], "deps": ["in"]}
    project.write("dvc.yaml", yaml.safe_dump({"vars": ["params.yaml"], "stages": {"one": stage}}))
    time.sleep(up_to_date.TICK_S)
    for text, outcome in (("x: 1\n", "ran"), ("x: 1\n", "skipped"), ("x: 2\n", "ran")):
        project.write("deep/more.yaml", text)
        here(project, "run").ended(0)
        assert project.outcomes() == {"one": outcome}
        assert not was_instant(project)


def test_a_failed_run_is_not_instant_the_next_time(ran: Project, here: Here) -> None:
    edited("dvc.yaml", "echo ${x} > p.txt", "exit 3")(ran)
    for _ in range(2):
        here(ran, "run").ended(1)
        assert ran.outcomes()["param"] == "failed"
