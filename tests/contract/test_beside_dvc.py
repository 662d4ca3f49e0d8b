"""Other commands of DVC's at work in the same project while a run is."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.cases import cases
from tests.support.projects import Project
from tests.support.waiting import until

from dvc_runner.errors import EXIT_INTERRUPTED
from dvc_runner.workspace import dvc_waiting, outs

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here = Callable[..., Any]
LIMIT_S = 60
# Longer than one try, which is the limit here.
HELD_S = 6
STAGES = 8
# Holds DVC's lock, as any dvc command does, until it is told to end.
HOLDER = """
import sys
from dvc.repo import Repo
with Repo().lock:
    print("held", flush=True)
    sys.stdin.read()
"""
WAITS = "touch {0}.begun; until test -e go; do sleep 0.05; done; echo {0} > {0}.txt"


@contextlib.contextmanager
def holder(project: Project) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds DVC's lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=project.root,
        env=project.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process


def waits(project: Project) -> list[str]:
    """Give what the last run said that it waits for."""
    return [event["told"] for event in project.records()[-1] if event["event"] == "waiting"]


def begun(project: Project, *names: str) -> bool:
    return all((project.root / f"{name}.begun").exists() for name in names)


@contextlib.contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread; what it raises is raised at the end."""
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(act)
        yield
        done.result()


BY_LINKS = "[core]\n    hardlink_lock = true\n"


@cases("config, named", {"flock": ("", "(process {})"), "hard links": (BY_LINKS, "")})
def test_a_lock_held_for_long_is_waited_for(
    project: Project, here: Here, monkeypatch: pytest.MonkeyPatch, config: str, named: str
) -> None:
    project.write(".dvc/config", config)
    monkeypatch.setattr(dvc_waiting, "LOCK_TRIES", 1)
    project.stages(
        **{n: {"cmd": WAITS.format(n), "outs": [f"{n}.txt"]} for n in "ab"},
        after={"cmd": "cat a.txt b.txt > c.txt", "deps": ["a.txt", "b.txt"], "outs": ["c.txt"]},
    )
    held: list[int] = []

    def hold() -> None:
        assert until(lambda: begun(project, "a", "b"), LIMIT_S)
        with holder(project) as process:
            held.append(process.pid)
            project.write("go", "")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(HELD_S)

    with meanwhile(hold):
        here(project, "run", "--jobs", "2").ended(0)
    assert project.outcomes() == {"a": "ran", "b": "ran", "after": "ran"}
    (told,) = waits(project)
    assert named.format(held[0]) in told
    twin = project.twin()
    (twin.root / "dvc.lock").unlink()
    twin.dvc("repro").ended(0)
    assert project.read("dvc.lock") == twin.read("dvc.lock")


@cases(
    "number, config",
    {
        "Ctrl-C": (signal.SIGINT, ""),
        "SIGTERM": (signal.SIGTERM, ""),
        "Ctrl-C, hard links": (signal.SIGINT, BY_LINKS),
    },
)
def test_an_interrupt_ends_a_run_that_waits(project: Project, here: Here, number: signal.Signals, config: str) -> None:
    project.write(".dvc/config", config)
    slow = {"cmd": "touch slow.begun; sleep 600; echo > slow.txt", "outs": ["slow.txt"]}
    project.stages(
        first={"cmd": "echo > first.txt", "outs": ["first.txt"]},
        a={"cmd": WAITS.format("a"), "deps": ["first.txt"], "outs": ["a.txt"]},
        slow=slow,
    )
    with project.started("dvc-runner", "run", "--jobs", "2") as run:
        assert until(lambda: begun(project, "a", "slow"), LIMIT_S)
        with holder(project):
            project.write("go", "")
            assert until(lambda: bool(waits(project)), LIMIT_S)
            run.send_signal(number)
            text, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == EXIT_INTERRUPTED, text
    assert "Traceback" not in text
    assert project.outcomes() == {"first": "ran", "a": "cancelled", "slow": "cancelled"}
    assert project.records()[-1][-1]["outcome"] == "cancelled"
    assert list(project.lock()) == ["first"]
    project.stages(slow={**slow, "cmd": "echo > slow.txt"}, a={"cmd": WAITS.format("a"), "outs": ["a.txt"]})
    here(project, "run").ended(0)


def notes(project: Project, *paths: str, pid: int) -> str:
    """What DVC notes of a command that reads paths."""
    by = {"pid": pid, "cmd": "dvc repro other"}
    return json.dumps({"write": {}, "read": {str(project.root / path): [by] for path in paths}})


@contextlib.contextmanager
def reader(project: Project) -> Iterator[int]:
    """A process that lives until the run has said that it waits, and a second more."""
    with subprocess.Popen(["sleep", str(LIMIT_S)]) as process:

        def end() -> None:
            until(lambda: bool(project.records()) and bool(waits(project)), LIMIT_S / 3)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            process.kill()
            process.wait()

        with meanwhile(end):
            yield process.pid


def test_an_out_that_another_command_uses_is_noted_afterwards(project: Project, here: Here) -> None:
    project.stages(a={"cmd": "cp notes .dvc/tmp/rwlock; echo > a.txt", "outs": ["a.txt"]})
    with reader(project) as pid:
        project.write("notes", notes(project, "a.txt", pid=pid))
        here(project, "run").ended(0)
    assert project.outcomes() == {"a": "ran"}
    (told,) = waits(project)
    assert "a.txt" in told
    assert f"(PID {pid}): dvc repro other" in told
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."


@pytest.mark.parametrize("outcome", ["ran", "restored"])
def test_an_out_that_another_command_uses_is_left_to_it(project: Project, here: Here, outcome: str) -> None:
    project.write("in.txt", "")
    project.stages(a={"cmd": "echo > a.txt", "deps": ["in.txt"], "outs": ["a.txt"]})
    if outcome == "restored":
        here(project, "run").ended(0)
        (project.root / "a.txt").unlink()
    else:
        project.write("a.txt", "before")
    with reader(project) as pid:
        project.write(".dvc/tmp/rwlock", notes(project, "a.txt", pid=pid))
        here(project, "run").ended(0)
    assert project.outcomes() == {"a": outcome}
    assert len(waits(project)) == 1
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."


def test_an_interrupt_ends_a_run_that_waits_for_an_out(project: Project) -> None:
    project.stages(a={"cmd": "cp notes .dvc/tmp/rwlock; echo > a.txt", "outs": ["a.txt"]})
    with subprocess.Popen(["sleep", str(LIMIT_S)]) as process:
        project.write("notes", notes(project, "a.txt", pid=process.pid))
        with project.started("dvc-runner", "run") as run:
            assert until(lambda: bool(project.records()) and bool(waits(project)), LIMIT_S)
            run.send_signal(signal.SIGINT)
            text, _ = run.communicate(timeout=LIMIT_S)
        process.kill()
    assert run.returncode == EXIT_INTERRUPTED, text
    assert "Traceback" not in text
    assert project.outcomes() == {"a": "cancelled"}


@cases(
    "command, fails",
    {
        # Files that no dvc.lock tells of yet are in its way.
        "checkout": (["checkout"], {True, False}),
        "status": (["status"], {False}),
        "push": (["push"], {False}),
        "repro of another stage": (["repro", "--force", "other"], {False}),
    },
)
def test_real_commands_beside_a_run(project: Project, command: list[str], fails: set[bool]) -> None:
    store = project.root.with_name("store")
    project.write(".dvc/config", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {store}\n")
    project.stages(
        **{f"s{n}": {"cmd": f"sleep 0.5; echo {n} > {n}.txt", "outs": [f"{n}.txt"]} for n in range(STAGES)},
        other={"cmd": "sleep 0.5; echo > other.txt", "outs": ["other.txt"]},
    )
    count = 0
    with project.started("dvc-runner", "run", "--jobs", "2", "--glob", "s*") as run:
        assert until(lambda: bool(project.records()), LIMIT_S)
        while run.poll() is None:
            done = project.dvc(*command)
            assert bool(done.code) in fails, done.text
            assert "Traceback" not in done.text
            count += 1
        text, _ = run.communicate()
    if run.returncode and command == ["checkout"]:
        # As beside dvc repro, it has taken away what a command had just written; nothing else may fail.
        assert "does not exist after the stage ended" in text
        assert set(project.outcomes().values()) <= {"ran", "failed", "cancelled"}
        project.run("run", "--glob", "s*").ended(0)
    else:
        assert run.returncode == 0, text
        assert set(project.outcomes().values()) == {"ran"}
    assert count
    project.dvc("repro", "other").ended(0)
    assert len(project.lock()) == STAGES + 1
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."


def noted(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.read(".dvc/tmp/rwlock"))
    return {Path(path).name: infos for path, infos in found.get("read", {}).items()}


@contextlib.contextmanager
def written_early(project: Project) -> Iterator["subprocess.Popen[str]"]:
    """A run whose stage has written its out, which differs from the one in dvc.lock, and does not end yet."""
    project.write("in.txt", "1")
    project.stages(a={"cmd": "cat in.txt > a.txt; touch begun; until test -e go; do sleep 0.05; done",
                      "deps": ["in.txt"], "outs": ["a.txt"]})  # fmt: skip
    project.write("go", "")
    project.dvc("repro").ended(0)
    for name in ("go", "begun"):
        (project.root / name).unlink()
    project.write("in.txt", "2")
    with project.started("dvc-runner", "run") as run:
        assert until((project.root / "begun").exists, LIMIT_S)
        yield run


@cases("command", {"repro": [["repro"]], "remove": [["remove", "--outs", "a"]]})
def test_what_a_stage_at_work_uses_is_left_to_it(project: Project, command: list[str]) -> None:
    with written_early(project) as run:
        done = project.dvc(*command)
        assert done.code
        assert f"(PID {run.pid})" in done.text
        project.dvc("status").ended(0)
        assert project.read("a.txt") == "2"
        project.write("go", "")
        text, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0, text
    assert not noted(project)
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."


def test_a_note_of_a_killed_run_is_in_nobodys_way(project: Project) -> None:
    with written_early(project) as run:
        run.kill()
        run.wait()
    assert {"in.txt", "a.txt"} == set(noted(project))
    # As it is read elsewhere: of a container that is gone, the number may be one of another process.
    note = project.read(".dvc/tmp/rwlock").replace(f'"pid": {run.pid}', f'"pid": {os.getpid()}')
    project.write(".dvc/tmp/rwlock", note)
    project.write("go", "")
    project.run("run").ended(0)
    assert not waits(project)
    assert not noted(project)


def test_a_run_in_a_container_notes_paths_as_others_know_them(project: Project) -> None:
    project.stages(a={"cmd": "until cp .dvc/tmp/rwlock seen; do sleep 0.05; done; echo > a.txt", "outs": ["a.txt"]})
    env = {"DVC_RUNNER_CLIENT_ROOT": "/their/project", "DVC_RUNNER_CONTAINER": "runner-1"}
    project.run("run", env={**project.env, **env}).ended(0)
    readers = json.loads(project.read("seen"))["read"]
    assert readers["/their/project/a.txt"] == [{"pid": 1, "cmd": "dvc-runner run, in the container runner-1"}]
    assert str(project.root / "a.txt") in readers
    assert not noted(project)


def test_outs_of_a_stage_of_ours_are_never_checked_out_between(
    project: Project, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("in.txt", "1")
    project.stages(one=project.stage("one", "open('out.txt', 'w').write(open('in.txt').read())", deps=["in.txt"],
                                     outs=["out.txt"]))  # fmt: skip
    here(project, "run", "--executor", "process").ended(0)
    project.write("in.txt", "2")
    collect, seen = outs.collect, []

    def collected(*arguments: Any) -> Any:
        found = collect(*arguments)
        seen.append(project.dvc("checkout", "--force", "one").text)
        return found

    monkeypatch.setattr(outs, "collect", collected)
    here(project, "run", "--executor", "process").ended(0)
    assert "Unable to acquire lock" in seen[0]
    assert project.read("out.txt") == "2"
    assert project.dvc("status").out.strip() == "Data and pipelines are up to date."
