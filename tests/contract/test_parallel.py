"""Stages at once: how many, in which order what they leave, and what becomes of the others when one fails."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc_data.hashfile import hash as dvc_hash
from tests.support.cases import cases
from tests.support.projects import BIN, Project
from tests.support.trees import lay
from tests.support.waiting import until
from tests.support.ways import with_mark

from dvc_runner.errors import EXIT_BUSY, EXIT_CONFIGURATION, EXIT_INTERRUPTED, EXIT_STAGE_FAILED, EXIT_USAGE
from dvc_runner.workspace import dvc_hashing

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here = Callable[..., Any]
Dvc = Callable[..., int]
LIMIT_S = 60
# Ends well only if the other one is at work as well.
MEETS = (
    "touch {me}.here; for n in $(seq 600); do test -e {other}.here && echo > {me}.txt && exit; sleep 0.1; done; exit 1"
)


def pair(**more: Any) -> dict[str, Any]:
    """Two stages that end only if both are at work at once."""
    names = {"a": "b", "b": "a"}
    return {me: {"cmd": MEETS.format(me=me, other=other), "outs": [f"{me}.txt"], **more} for me, other in names.items()}


def test_independent_stages_run_at_once(project: Project, here: Here) -> None:
    project.stages(**pair())
    here(project, "run", "--jobs", "2").ended(0)
    assert project.outcomes() == {"a": "ran", "b": "ran"}
    assert project.records()[-1][0]["jobs"] == 2


def test_stages_of_ours_run_at_once_too(project: Project, here: Here) -> None:
    body = "import time; time.sleep(2); open('{0}.txt', 'w').write('{0}')"
    names = ("a", "b", "c", "d")
    project.stages(**{n: project.stage(n, body.format(n), outs=[f"{n}.txt"]) for n in names})
    # What their commands begin with, nobody starts: it could not be found.
    here(project, "run", "--jobs", "4", env={"PATH": "/usr/bin:/bin"}).ended(0)
    events = [(e["event"], e["stage"]) for e in project.records()[-1] if e["event"].startswith("stage_")]
    assert {kind for kind, _ in events[:4]} == {"stage_start"}


def test_large_outs_are_not_hashed_by_the_thread_that_starts_stages(
    project: Project, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: dict[str, list[bool]] = {}
    file_md5 = dvc_hash.file_md5

    def noted(path: str, *arguments: Any, **more: Any) -> str:
        hashed.setdefault(Path(path).name, []).append(threading.current_thread() is threading.main_thread())
        return str(file_md5(path, *arguments, **more))

    monkeypatch.setattr(dvc_hash, "file_md5", noted)
    code = f"open('ours', 'wb').write(b'1' * {dvc_hashing.LARGE})"
    project.stages(
        one=project.stage("one", code, outs=["ours"]),
        two={"cmd": f"mkdir many; head -c {dvc_hashing.LARGE} /dev/zero > many/large", "outs": ["many"]},
    )
    here(project, "run", "--executor", "process").ended(0)
    assert {name: hashed[name] for name in ("ours", "large")} == {"ours": [False], "large": [False]}
    twin = project.twin()
    (twin.root / "dvc.lock").unlink()
    twin.dvc("commit", "--force").ended(0)
    assert project.read("dvc.lock") == twin.read("dvc.lock")


def test_one_job_is_one_at_a_time(project: Project, here: Here) -> None:
    note = "echo begin >> notes; sleep 0.3; echo end >> notes; echo > {0}.txt"
    project.stages(**{n: {"cmd": note.format(n), "outs": [f"{n}.txt"]} for n in "abc"})
    here(project, "run", "--jobs", "1").ended(0)
    assert project.read("notes").split() == ["begin", "end"] * 3


def test_what_ends_last_does_not_come_last(project: Project, here: Here) -> None:
    stages = {n: {"cmd": f"sleep 0.{9 - n}; echo {n} > o{n}.txt", "outs": [f"o{n}.txt"]} for n in range(8)}
    project.stages(**{f"s{n}": one for n, one in stages.items()})
    twin = project.twin()
    here(project, "run", "--jobs", "8").ended(0)
    ended = [event["stage"] for event in project.records()[-1] if event["event"] == "stage_end"]
    assert ended != sorted(ended)
    twin.dvc("repro").ended(0)
    assert project.files() == twin.files()


@cases("comment", {"none": [""], "one": ["# mine\n"]})
def test_what_ends_last_does_not_come_last_where_commands_hold_comments(
    project: Project, here: Here, comment: str
) -> None:
    old = {"cmd": "echo > old.txt # old", "outs": ["old.txt"]}
    project.stages(old=old)
    here(project, "run").ended(0)
    project.write("dvc.lock", comment + project.read("dvc.lock"))
    fresh = {n: {"cmd": f"sleep 0.{9 - n * 4}; echo > o{n}.txt # {n}", "outs": [f"o{n}.txt"]} for n in range(3)}
    project.stages(old=old, **{f"s{n}": one for n, one in fresh.items()})
    twin = project.twin()
    here(project, "run", "--jobs", "3").ended(0)
    twin.dvc("repro").ended(0)
    assert project.files() == twin.files()


def failing() -> dict[str, Any]:
    """One that fails at once, what reads it, one that takes longer, and what reads that."""
    return {
        "bad": {"cmd": "echo oh dear; exit 3", "outs": ["bad.txt"]},
        "after": {"cmd": "cat bad.txt > after.txt", "deps": ["bad.txt"], "outs": ["after.txt"]},
        "slow": {"cmd": "sleep 1; echo > slow.txt", "outs": ["slow.txt"]},
        "last": {"cmd": "cat slow.txt > last.txt", "deps": ["slow.txt"], "outs": ["last.txt"]},
    }


@cases(
    "options, outcomes",
    {
        "what runs is let finish": [[], {"slow": "ran", "last": "cancelled"}],
        "all else is finished": [["--keep-going"], {"slow": "ran", "last": "ran"}],
        "what runs is ended": [["--fail-fast"], {"slow": "cancelled", "last": "blocked"}],
    },
)
def test_when_one_fails(project: Project, here: Here, options: list[str], outcomes: dict[str, str]) -> None:
    project.stages(**failing())
    if options == ["--fail-fast"]:
        outcomes = {"slow": "cancelled"}
    done = here(project, "run", "--jobs", "2", *options).ended(EXIT_STAGE_FAILED)
    found = project.outcomes()
    assert {name: found[name] for name in outcomes} == outcomes
    assert (found["bad"], found["after"]) == ("failed", "blocked")
    assert "oh dear" in done.out
    assert ".dvc/tmp/dvc-runner/runs/" in done.out
    again = shlex.join(["dvc-runner", "run", "--jobs", "2", *options])
    assert done.out.splitlines()[-1] == f"once that is mended, this goes on from there:  {again}"
    project.write("bad.txt", "")
    project.stages(**{**failing(), "bad": {"cmd": "echo > bad.txt", "outs": ["bad.txt"]}})
    here(project, *shlex.split(again)[1:]).ended(0)
    assert project.outcomes()["slow"] == ("skipped" if outcomes["slow"] == "ran" else "ran")


def test_whoever_started_it_says_how_to_go_on(project: Project, here: Here) -> None:
    project.stages(bad={"cmd": "exit 3"})
    done = here(project, "run", env={"DVC_RUNNER_AGAIN": "make run"}).ended(EXIT_STAGE_FAILED)
    assert done.out.splitlines()[-1] == "once that is mended, this goes on from there:  make run"


def test_fail_fast_and_keep_going_contradict_each_other(project: Project, here: Here) -> None:
    done = here(project, "run", "--fail-fast", "--keep-going").ended(EXIT_USAGE)
    assert "contradict" in done.err


@cases(
    "arguments, named",
    {
        "--interactive": [["--interactive"], "plan"],
        "-i": [["-i"], "--interactive"],
        "--ignore-errors": [["--ignore-errors"], "--keep-going"],
        "no jobs": [["--jobs", "0"], "1 or more"],
        "jobs in words": [["--jobs", "many"], "'many'"],
        "no time": [["--wait", "soon"], "'soon'"],
        "something else": [["--no-such-option"], "--no-such-option"],
    },
)
def test_what_is_not_known_is_refused_by_name(project: Project, here: Here, arguments: list[str], named: str) -> None:
    assert named in here(project, "run", *arguments).ended(EXIT_USAGE).err


def everywhere(project: Project) -> None:
    """Pipelines in two folders, with groups, and one that depends on another."""
    lay(project.root, {"in.txt": "1", "sub": {"deep": {}}})
    project.stages(
        first={"cmd": "cat in.txt > first.txt", "deps": ["in.txt"], "outs": ["first.txt"]},
        each={
            "foreach": ["x", "y"],
            "do": {"cmd": "cat first.txt > ${item}", "deps": ["first.txt"], "outs": ["${item}"]},
        },
        grid={"matrix": {"k": [1, 2]}, "cmd": "cat x > g${item.k}", "deps": ["x"], "outs": ["g${item.k}"]},
        alone={"cmd": "echo > alone.txt", "outs": ["alone.txt"]},
    )
    below = {
        "low": {"cmd": "cat ../first.txt > low.txt", "deps": ["../first.txt"], "outs": ["low.txt"]},
        "lower": {"cmd": "cat low.txt > deep/lower.txt", "deps": ["low.txt"], "outs": ["deep/lower.txt"]},
    }
    project.write("sub/dvc.yaml", yaml.safe_dump({"stages": below}))


@cases(
    "arguments",
    {
        "nothing": [[]],
        "a stage": [["each@x"]],
        "two stages": [["alone", "first"]],
        "a group": [["each"]],
        "a group of a matrix": [["grid"]],
        "a stage elsewhere": [["sub/dvc.yaml:lower"]],
        "a file of stages": [["sub/dvc.yaml"]],
        "single": [["--single-item", "first", "alone"]],
        "single of another order": [["-s", "alone", "first"]],
        "a group with a star": [["each@*"]],
        "patterns": [["--glob", "g*", "each@*"]],
        "a folder": [["--recursive", "sub"]],
        "a pipeline": [["--pipeline", "sub/dvc.yaml:low"]],
        "every pipeline": [["--all-pipelines"]],
        "downstream": [["--downstream", "each@x"]],
        "forced": [["--force", "alone"]],
        "no run-cache": [["--no-run-cache"]],
        "no commit": [["--no-commit"]],
        "forced downstream": [["--force-downstream"]],
        "missing is fine": [["--allow-missing"]],
    },
)
def test_options_mean_what_they_mean_to_dvc(project: Project, here: Here, dvc_in: Dvc, arguments: list[str]) -> None:
    everywhere(project)
    twin = project.twin()
    has_failed = False
    for change in (None, "in.txt", None, "first.txt"):
        for one in (project, twin):
            if change == "in.txt":
                one.write("in.txt", "2")
            elif change:
                (one.root / change).unlink(missing_ok=True)
        ours = here(project, "run", "--jobs", "4", "--keep-going", *arguments)
        # In this process too: the order of DVC's plan depends on how Python hashes here.
        code = dvc_in(twin, "repro", "--keep-going", *arguments)
        assert bool(ours.code) == bool(code), ours.text
        left = [{**one.files(), **one.cache()} for one in (project, twin)]
        # A dvc repro in which anything failed takes back the entries of all that succeeded.
        has_failed = has_failed or bool(code)
        for files in left if has_failed else ():
            files.pop(".gitignore", None)
        assert left[0] == left[1]


def test_what_changed_is_staged_in_git_as_dvc_does(project: Project, here: Here, dvc_in: Dvc) -> None:
    everywhere(project)
    project.git("add", ".")
    twin = project.twin()
    for one in (project, twin):
        assert dvc_in(one, "config", "core.autostage", "true") == 0
    for changed in ("in.txt", "untracked.txt"):
        # Of another size: git does not look into a file that changed within a tick of the clock.
        project.write(changed, "22")
        twin.write(changed, "22")
        here(project, "run", "--all-pipelines").ended(0)
        assert dvc_in(twin, "repro", "--all-pipelines") == 0
        staged = project.git("status", "--porcelain")
        assert staged == twin.git("status", "--porcelain")
        assert {"A  dvc.lock", "A  .gitignore", "A  sub/dvc.lock", "A  sub/.gitignore"} <= set(staged.splitlines())


def test_a_project_that_wants_to_be_asked_is_refused(project: Project, here: Here, dvc_in: Dvc) -> None:
    project.stages(one={"cmd": "echo > out.txt", "outs": ["out.txt"]})
    assert dvc_in(project, "config", "--local", "core.interactive", "true") == 0
    for command in (["run"], ["run", "--dry"], ["plan"]):
        done = here(project, *command).ended(EXIT_CONFIGURATION)
        assert ("core.interactive" in done.err, "dvc config --unset" in done.err) == (True, True)
    assert not (project.root / "out.txt").exists()


def test_outs_of_a_stage_that_cannot_run_stay(project: Project, here: Here) -> None:
    everywhere(project)
    here(project, "run").ended(0)
    (project.root / "in.txt").unlink()
    here(project, "run").ended(EXIT_STAGE_FAILED)
    assert project.read("first.txt") == "1"


@pytest.mark.parametrize("target", ["no-such-stage", "no/such/dvc.yaml", "sub/dvc.yaml:no-such-stage", "in.txt"])
def test_a_target_that_is_none_is_named(project: Project, here: Here, target: str) -> None:
    everywhere(project)
    done = here(project, "run", target).ended(EXIT_CONFIGURATION)
    assert target.rpartition(":")[2] in done.err


def test_what_was_pushed_is_pulled(project: Project, here: Here, tmp_path: Path) -> None:
    everywhere(project)
    project.dvc("remote", "add", "-d", "store", str(tmp_path / "store")).ended(0)
    here(project, "run").ended(0)
    project.dvc("push", "--run-cache").ended(0)
    for name in (".dvc/cache", "first.txt", "x", "y"):
        path = project.root / name
        if path.is_dir():
            for below in sorted(path.rglob("*"), reverse=True):
                below.rmdir() if below.is_dir() else below.unlink()
        else:
            path.unlink()
    here(project, "run", "--pull").ended(0)
    assert "ran" not in project.outcomes().values()
    assert project.read("x") == "1"


def starts(project: Project, *arguments: str, count: int) -> list["subprocess.Popen[str]"]:
    """Start several runs at once."""
    command = [str(BIN / "dvc-runner"), "run", *arguments]
    return [
        subprocess.Popen(
            command, cwd=project.root, env=project.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(count)
    ]


@cases("wait, codes", {"they wait": [["--wait"], {0}], "they say who runs": [[], {0, EXIT_BUSY}]})
def test_of_many_starts_at_once_one_runs(project: Project, wait: list[str], codes: set[int]) -> None:
    project.stages(one={"cmd": "echo >> ran; sleep 1; echo > a.txt", "outs": ["a.txt"]})
    ended = [(one.communicate(timeout=LIMIT_S)[0], one.returncode) for one in starts(project, *wait, count=100)]
    assert {code for _, code in ended} == codes, ended
    assert project.read("ran") == "\n"
    for text, code in ended:
        assert "Traceback" not in text
        if code:
            assert "another run is at work here (process " in text


def test_dvc_in_another_terminal_does_not_disturb(project: Project) -> None:
    project.stages(**{f"s{n}": {"cmd": f"sleep 0.2; echo {n} > {n}.txt", "outs": [f"{n}.txt"]} for n in range(12)})
    (run,) = starts(project, "--jobs", "2", count=1)
    while run.poll() is None:
        project.dvc("status").ended(0)
    text, _ = run.communicate()
    assert run.returncode == 0, text
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_that_run_at_once_end_with_the_run(project: Project, number: signal.Signals) -> None:
    project.stages(**{n: {"cmd": f"echo begun; sleep 600; echo > {n}.txt", "outs": [f"{n}.txt"]} for n in "abc"})
    mark = f"{project.root}-{number}"
    marked = project.with_env(A_MARK=mark)
    (run,) = starts(marked, "--jobs", "3", count=1)
    try:
        assert until(lambda: len(with_mark(mark)) > 6, LIMIT_S)  # the run, three supervisors, three shells
        os.kill(run.pid, number)
        text, _ = run.communicate(timeout=LIMIT_S)
        assert run.returncode == (-number if number == signal.SIGKILL else EXIT_INTERRUPTED), text
        assert until(lambda: not with_mark(mark))
        assert "Traceback" not in text
    finally:
        for pid in with_mark(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_what_a_killed_dvc_left_beside_outs_is_removed(project: Project, here: Here) -> None:
    lay(project.root, {"in.txt": "1", "below": {}})
    project.stages(one={"cmd": "echo > a.txt; echo > below/b.txt", "outs": ["a.txt", "below/b.txt"]})
    left = [".FaEbcbCMX-fHpY_cFlMzDg.tmp", "below/.sLx6Au_n6o1zWxhyxbUzDA.tmp"]
    others = [".mine.tmp", "FaEbcbCMX-fHpY_cFlMzDg.tmp", "below/.sLx6Au_n6o1zWxhyxbUzDA.txt"]
    for name in (*left, *others):
        project.write(name, "")
    here(project, "run").ended(0)
    assert set(others) <= set(project.files())
    assert not set(left) & set(project.files())


def test_an_entry_is_in_dvc_lock_soon_after_its_stage(project: Project) -> None:
    project.stages(
        quick={"cmd": "echo > a.txt", "outs": ["a.txt"]},
        slow={"cmd": "sleep 600", "outs": ["b.txt"]},
    )
    (run,) = starts(project, "--jobs", "2", count=1)
    try:
        assert until((project.root / "dvc.lock").is_file, LIMIT_S)
        assert list(project.lock()) == ["quick"]
    finally:
        run.kill()
        run.communicate()


# Nothing is written after the first time, but at the end.
HELD_BACK = """
from dvc_runner.cli.main import main
from dvc_runner.workspace import pace
pace.REST = 10**6
main(["run", "--jobs", "2"])
"""


def ended(project: Project) -> int:
    """Count the stages that ended in the only run so far."""
    return sum(
        path.read_text().count('"stage_end"') for path in project.root.glob(".dvc/tmp/dvc-runner/runs/*/*.jsonl")
    )


@pytest.fixture
def killed(project: Project) -> tuple[Project, Project]:
    """A run that was killed in its last stage, with only one in dvc.lock; and what it was before."""
    project.write("in.txt", "1")
    stages: dict[str, Any] = {
        "first": {"cmd": "echo > first.txt", "outs": ["first.txt"]},
        "reads_nothing": {"cmd": "echo >> ran; echo > a.txt", "outs": ["a.txt"]},
        "stays": {"cmd": "echo >> ran; echo > b.txt", "deps": ["in.txt"], "outs": [{"b.txt": {"persist": True}}]},
        "uncached": {"cmd": "echo >> ran; echo > c.txt", "deps": ["in.txt"], "outs": [{"c.txt": {"cache": False}}]},
        "folder": {"cmd": "echo >> ran; mkdir d; echo > d/d", "deps": ["a.txt"], "outs": ["d"]},
        "last": {"cmd": "test -e go || sleep 600; echo > e.txt", "outs": ["e.txt"]},
    }
    project.stages(**stages)
    before = project.twin()
    with subprocess.Popen([sys.executable, "-c", HELD_BACK], cwd=project.root, env=project.env) as run:
        try:
            assert until(lambda: ended(project) == len(stages) - 1, LIMIT_S)
        finally:
            run.kill()
    assert len(project.lock()) == 1
    for one in (project, before):
        one.write("go", "")
    return project, before


def test_no_stage_that_ended_before_a_kill_runs_again(killed: tuple[Project, Project], here: Here) -> None:
    project, twin = killed
    assert here(project, "plan").ended(0).out.count("skip") == len(project.outcomes())
    here(project, "run").ended(0)
    assert [name for name, outcome in project.outcomes().items() if outcome != "skipped"] == ["last"]
    twin.dvc("repro").ended(0)
    left = [one.files() for one in (project, twin)]
    for files in left:
        # What a kill left there in the order in which stages ended stays so.
        for name in ("dvc.lock", ".gitignore"):
            files[name] = b"\n".join(sorted(files[name].splitlines()))
    assert left[0] == left[1]
    assert project.lock() == twin.lock()


def test_what_dvc_wrote_after_a_kill_stays(killed: tuple[Project, Project], here: Here) -> None:
    project, _ = killed
    project.write("in.txt", "2")
    project.dvc("repro", "stays", "uncached").ended(0)
    newer = project.lock()
    here(project, "run").ended(0)
    assert {name: project.lock()[name] for name in newer} == newer
    outcomes = project.outcomes()
    assert {outcomes[name] for name in newer} == {"skipped"}
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."
