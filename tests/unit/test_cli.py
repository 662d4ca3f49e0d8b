"""The command line: help, versions, and the exit codes that need neither stages nor an engine."""

import os
import shlex
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.support import projects
from tests.support.cases import cases
from tests.support.people import as_somebody
from tests.support.projects import Finished, Project

from dvc_runner import errors
from dvc_runner.cli import options
from dvc_runner.cli.main import _parser, main
from dvc_runner.workspace import run_lock
from dvc_runner.workspace.places import FOLDER

# pygtrie, which DVC walks its index with.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
Here: TypeAlias = Callable[..., Finished]
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Start the command line in this process; give its exit code and what it printed."""
    with pytest.raises(SystemExit) as raised:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(raised.value.code or 0), out, err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--version") == (0, f"dvc-runner {version('dvc-runner')}\n", "")


@cases(
    "arguments, named",
    {
        "of all": ([], ["run", "build", "show", "doctor", "exec", "--version", "example:"]),
        "of run": (["run"], ["--force", "--single-item", "--keep-going", "--json", "--executor", "example:"]),
        "of show": (["show"], ["--json", "example:"]),
        "of doctor": (["doctor"], ["--json", "example:"]),
        "of build": (["build"], ["--executor", "example:"]),
        "of exec": (["exec"], ["--executor", "example:"]),
    },
)
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str], named: list[str]) -> None:
    code, out, err = told(capsys, *arguments, "--help")
    assert (code, err) == (0, "")
    for word in named:
        assert word in out


@cases(
    "arguments, expected",
    {
        "as it is": (["train", "a b;c", "-k", "-j2"], "--jobs 2 --keep-going train 'a b;c'"),
        "without what begins anew": (["-fsj", "3", "--force-downstream", "train"], "--single-item --jobs 3 train"),
        "of many stages": (
            ["-pPR", "--downstream", "--glob"],
            "--pipeline --all-pipelines --recursive --downstream --glob",
        ),
        "of the cache": (["--pull", "--no-run-cache", "--no-commit"], "--pull --no-run-cache --no-commit"),
        "how it runs and is told": (["--executor", "process", "--json"], "--executor process --json"),
        "waiting": (["train", "--wait"], "--wait -- train"),
        "waiting for a time": (["--wait", "1.5h", "train"], "--wait 5400s train"),
        "a target like an option": (["--fail-fast", "--", "-train"], "--fail-fast -- -train"),
    },
)
def test_the_command_that_goes_on(arguments: list[str], expected: str) -> None:
    again = options.again(_parser().parse_args(["run", *arguments]))
    assert again == f"dvc-runner run {expected}"
    parsed = [vars(_parser().parse_args(line)) for line in (["run", *arguments], shlex.split(again)[1:])]
    assert parsed[1] == {**parsed[0], "force": False, "force_downstream": False}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_there_are_as_many_jobs_as_cores() -> None:
    cores = os.sched_getaffinity(0)

    def jobs() -> int:
        return options.request(_parser().parse_args(["run"])).room.jobs

    assert jobs() == len(cores)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert jobs() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_help_documents_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = told(capsys, "--help")
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert len(codes) == 7
    for code in codes | {0}:
        assert f" {code} " in out


@cases(
    "arguments",
    {
        "nothing": [[]],
        "an unknown command": [["fly"]],
        "an unknown option": [["run", "--fast"]],
        "an option without its value": [["run", "--executor"]],
    },
)
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = told(capsys, *arguments)
    assert (code, out) == (errors.EXIT_USAGE, "")
    assert "usage" in err


def test_exec_outside_dvc(project: Project) -> None:
    done = project.run("exec", "true").ended(errors.EXIT_USAGE)
    assert "DVC_STAGE" in done.err
    assert done.out == ""


def test_exec_of_nothing(project: Project, here: Here) -> None:
    project.stages(one={"cmd": "dvc-runner exec", "meta": {"container": {"image": "a@sha256:0"}}})
    done = here(project, "exec", env={"DVC_STAGE": "one", "DVC_ROOT": str(project.root)})
    done.ended(errors.EXIT_USAGE)


def test_a_folder_without_a_project(project: Project, here: Here, tmp_path: Path) -> None:
    outside = Project(root=tmp_path, env=project.env)
    for command in ("run", "build"):
        here(outside, command).ended(errors.EXIT_CONFIGURATION)


@cases(
    "arguments, env, code, named",
    {
        "no such executor": (["--executor", "podman"], {}, errors.EXIT_USAGE, "podman"),
        "no such executor in the environment": ([], {"DVC_RUNNER_EXECUTOR": "podman"}, errors.EXIT_USAGE, "podman"),
        "no engine": (["--executor", "docker"], NO_ENGINE, errors.EXIT_ENGINE, "/nonexistent/docker.sock"),
    },
)
def test_executors(
    project: Project, here: Here, arguments: list[str], env: dict[str, str], code: int, named: str
) -> None:
    project.stages(one={"cmd": "true"})
    done = here(project, "run", *arguments, env=env).ended(code)
    assert named in done.err
    assert not (project.root / "dvc.lock").exists()


def test_the_option_wins_over_the_environment(project: Project, here: Here) -> None:
    project.stages(one={"cmd": "true"})
    done = here(project, "run", "--executor", "process", env={**NO_ENGINE, "DVC_RUNNER_EXECUTOR": "docker"})
    done.ended(0)
    (events,) = project.records()
    assert events[0]["executor"] == "process"


def test_without_an_engine_processes_are_chosen_and_told_once(project: Project, here: Here) -> None:
    project.stages(one={"cmd": "true"})
    done = here(project, "run", env={**NO_ENGINE, "DVC_RUNNER_EXECUTOR": ""}).ended(0)
    assert [line for line in done.text.splitlines() if line.startswith("executor: process")]
    assert done.text.count("/nonexistent/docker.sock") == 1


@cases(
    "arguments, code, named",
    {
        "without containers": (["one", "--executor", "process"], errors.EXIT_USAGE, "docker run"),
        "without an engine": (["one"], errors.EXIT_ENGINE, "/nonexistent/docker.sock"),
        "of no stage": (["two"], errors.EXIT_CONFIGURATION, "two"),
        "of several": (["each"], errors.EXIT_USAGE, "each@a, each@b"),
    },
)
def test_show(project: Project, here: Here, arguments: list[str], code: int, named: str) -> None:
    each = {"foreach": ["a", "b"], "do": {"cmd": "true"}}
    project.stages(one={"cmd": "true"}, each=each)
    done = here(project, "show", *arguments, env=NO_ENGINE).ended(code)
    assert named in done.err
    assert done.out == ""


@cases("arguments, waits", {"at once": [[], False], "after a time": [["--wait", "1s"], True]})
def test_a_workspace_that_is_busy(project: Project, here: Here, arguments: list[str], *, waits: bool) -> None:
    project.stages(one={"cmd": "true"})
    with run_lock.held(project.root / FOLDER):
        done = here(project, "run", *arguments).ended(errors.EXIT_BUSY)
    holder = f"another run is at work here (process {os.getpid()} on {socket.gethostname()}, since 2"
    assert f"error: {holder}" in done.err
    assert (f"waiting for another run that is at work here {holder.partition('here ')[2]}" in done.err) is waits
    assert not (project.root / "dvc.lock").exists()


def test_a_project_that_is_somebody_elses(project: Project) -> None:
    project.stages(one={"cmd": "true"})
    folder = project.root
    for parent in [*folder.parents][:3]:
        if parent.stat().st_uid == os.geteuid() and parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    before = project.files()
    somebody = Project(root=folder, env=project.env, prefix=projects.as_other_user())
    done = somebody.run("run")
    assert done.code in {errors.EXIT_STAGE_FAILED, errors.EXIT_CONFIGURATION}
    assert "Traceback" not in done.text
    assert str(folder) in done.text
    assert project.files() == before


def test_settings_that_cannot_be_read(project: Project, here: Here) -> None:
    project.stages(one={"cmd": "true"})
    (project.root / ".env").write_bytes(b"A=\xff")
    assert ".env" in here(project, "run").ended(errors.EXIT_CONFIGURATION).err


def test_a_terminal_without_unicode(project: Project) -> None:
    project.stages(one={"cmd": "true"})
    project.run("run", env={"PYTHONIOENCODING": "ascii"}).ended(0)


def test_standard_output_that_nobody_reads(project: Project) -> None:
    project.stages(one={"cmd": "true"})
    with project.started("dvc-runner", "run") as process:
        assert process.stdout
        process.stdout.close()
        process.wait(60)
    assert process.returncode in {0, errors.EXIT_STAGE_FAILED}


def test_as_somebody_is_somebody() -> None:
    def act() -> None:
        assert os.geteuid() != 0

    as_somebody(act)
