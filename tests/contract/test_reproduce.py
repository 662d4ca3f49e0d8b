"""``dvc-runner models reproduce``: the same commit, the same data, the same results; and what differs is named."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.mlflows import REGISTERS, MlflowServer, mlflow_server
from tests.support.projects import Project
from tests.support.waiting import until

from dvc_runner.errors import EXIT_CONFIGURATION, EXIT_ENGINE, EXIT_STAGE_FAILED, EXIT_USAGE

LOGS = """
score = float(open("half.csv").read()) + CHANCE
ask("runs/log-batch", run_id=run["run_id"], metrics=[{"key": "score", "value": score, "timestamp": 1, "step": 0}])
lineage = open(os.environ["LINEAGE_FILE"]).read()
place = run["artifact_uri"].replace("mlflow-artifacts:", "")
url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow-artifacts/artifacts" + place + "/lineage.json"
urllib.request.urlopen(urllib.request.Request(url, lineage.encode(), method="PUT")).close()
register("model")
"""
TRAIN = REGISTERS + LOGS
HALVE = "open('half.csv', 'w').write(str(float(open('rows.csv').read()) / 2))"


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, surroundings: None
) -> Iterator[tuple[MlflowServer, MlflowServer]]:
    """The server in use, and one to try things on."""
    del surroundings
    with (
        mlflow_server(tmp_path_factory.mktemp("used")) as used,
        mlflow_server(tmp_path_factory.mktemp("tried")) as tried,
    ):
        yield used, tried


def make(project: Project, uri: str, chance: str) -> Project:
    """A pipeline that was committed, run, and changed since."""
    project = project.with_env(MLFLOW_TRACKING_URI=uri)
    project.write("rows.csv", "3")
    project.dvc("add", "rows.csv").ended(0)
    halve = project.stage("halve", HALVE, deps=["rows.csv"], outs=["half.csv"])
    reaches = {"network": "tracking", "registers": "model.json"}
    code = TRAIN.replace("CHANCE", chance)
    project.stages(
        halve=halve, train=project.stage("train", code, deps=["half.csv"], outs=["model.json"], container=reaches)
    )
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "One")
    project.run("run").ended(0)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "Its lock")
    return project


def reproduce(project: Project, server: MlflowServer, code: int, *more: str) -> dict[str, Any]:
    version = str(json.loads(project.read("model.json"))["model_version"])
    done = project.run("models", "reproduce", version, "--tracking-uri", server.uri, "--json", *more).ended(code)
    found: dict[str, Any] = json.loads(done.out)
    return found


def nothing_is_left(project: Project) -> None:
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert not list((project.root / ".dvc" / "tmp" / "dvc-runner").glob("reproduce-*"))


def versions(server: MlflowServer) -> int:
    return len(server.ask("model-versions/search", filter="name='model'").get("model_versions", []))


def test_the_same_comes_out(project: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    made = make(project, servers[0].uri, "0.25")
    # What happened since does not matter.
    made.write("rows.csv", "9")
    made.dvc("add", "rows.csv").ended(0)
    made.write("stages/halve/halve.py", "raise SystemExit(1)")
    before, known = made.files(), versions(servers[0])
    found = reproduce(made, servers[1], 0)
    assert found["reproduced"]
    assert {(one["kind"], one["name"]): one["now"] for one in found["compared"] if one["kind"] == "metric"} == {
        ("metric", "score"): "1.75"
    }
    assert {one["name"] for one in found["compared"] if one["kind"] == "out"} >= {"half.csv"}
    assert all(one["is_same"] for one in found["compared"])
    assert made.files() == before
    assert versions(servers[0]) == known
    nothing_is_left(made)


def test_the_data_come_from_the_remote(
    project: Project, servers: tuple[MlflowServer, MlflowServer], tmp_path: Path
) -> None:
    made = make(project, servers[0].uri, "0.25")
    made.dvc("remote", "add", "--local", "--default", "there", str(tmp_path / "remote")).ended(0)
    made.dvc("push", "rows.csv").ended(0)
    made.write("rows.csv", "9")
    made.dvc("add", "rows.csv").ended(0)
    shutil.rmtree(made.root / ".dvc" / "cache")
    assert reproduce(made, servers[1], 0)["reproduced"]
    shutil.rmtree(made.root / ".dvc" / "cache")
    shutil.rmtree(tmp_path / "remote")
    version = str(json.loads(made.read("model.json"))["model_version"])
    failed = made.run("models", "reproduce", version, "--tracking-uri", servers[1].uri)
    assert failed.code not in {0, EXIT_USAGE}
    assert "rows.csv" in failed.err
    assert "Traceback" not in failed.err
    nothing_is_left(made)


def test_what_differs_is_named(project: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    made = make(project, servers[0].uri, "random.random()")
    found = reproduce(made, servers[1], EXIT_STAGE_FAILED)
    assert not found["reproduced"]
    assert [one["name"] for one in found["compared"] if not one["is_same"]] == ["score"]
    assert "score" in found["verdict"]
    nothing_is_left(made)


def test_what_was_changed_and_not_committed_is_there_again(
    project: Project, servers: tuple[MlflowServer, MlflowServer]
) -> None:
    made = make(project, servers[0].uri, "0.25")
    made.write("stages/halve/halve.py", HALVE.replace("/ 2", "/ 4"))
    made.run("run").ended(0)
    made.git("checkout", "--quiet", "stages")
    found = reproduce(made, servers[1], 0)
    assert [one["now"] for one in found["compared"] if one["kind"] == "metric"] == ["1.0"]


def test_it_runs_where_it_ran_then(project: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    made = make(project, servers[0].uri, "0.25").with_env(DVC_RUNNER_EXECUTOR="", DOCKER_HOST="unix:///nonexistent")
    assert reproduce(made, servers[1], 0)["reproduced"]
    pointer = json.loads(made.read("model.json"))
    lineage = made.run("models", "lineage", str(pointer["model_version"]), "--json").ended(0).out
    servers[0].upload(pointer["run_id"], "lineage.json", json.dumps({**json.loads(lineage), "executor": "docker"}))
    more = ("--tracking-uri", servers[1].uri)
    refused = made.run("models", "reproduce", str(pointer["model_version"]), *more).ended(EXIT_ENGINE)
    assert "no container engine" in refused.err
    made = made.with_env(DVC_RUNNER_EXECUTOR="process")
    assert reproduce(made, servers[1], 0)["reproduced"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_one_that_is_ended_leaves_nothing(
    project: Project, servers: tuple[MlflowServer, MlflowServer], number: signal.Signals
) -> None:
    used, tried = servers
    asleep = f'(0 if os.environ["MLFLOW_TRACKING_URI"] == "{used.uri}" else __import__("time").sleep(600))'
    made = make(project, used.uri, asleep)
    made.dvc("remote", "add", "--local", "mine", "s3://somewhere").ended(0)
    made.dvc("remote", "modify", "--local", "mine", "secret_access_key", "s3cret-key").ended(0)
    version = str(json.loads(made.read("model.json"))["model_version"])
    arguments = ("models", "reproduce", version, "--tracking-uri", tried.uri)
    with made.started("dvc-runner", *arguments) as running:
        until(lambda: any(made.root.glob(".dvc/tmp/dvc-runner/reproduce-*/tree/half.csv")))
        # Folders come and go meanwhile, which this walk takes as they are.
        assert [folder for folder, _, names in os.walk(made.root / ".dvc" / "tmp") if "config.local" in names] == []
        running.send_signal(number)
        running.wait(timeout=60)
    if number is signal.SIGKILL:
        # What a killed one leaves, the next removes.
        again = made.run("models", "reproduce", version, "--tracking-uri", "http://127.0.0.1:9")
        assert (again.code, "it could not be made again" in again.err) == (EXIT_STAGE_FAILED, True)
    nothing_is_left(made)


def test_it_needs_a_server_of_its_own(project: Project, servers: tuple[MlflowServer, MlflowServer]) -> None:
    made = make(project, servers[0].uri, "0.25")
    for more in ([], ["--tracking-uri", servers[0].uri]):
        assert "of their own" in made.run("models", "reproduce", "1", *more).ended(EXIT_USAGE).err


def test_a_commit_that_is_not_here_is_told(
    project: Project, servers: tuple[MlflowServer, MlflowServer], tmp_path: Path
) -> None:
    made = make(project, servers[0].uri, "0.25")
    version = str(json.loads(made.read("model.json"))["model_version"])
    (tmp_path / "other").mkdir()
    other = made.twin("other")
    made.git("-C", str(other.root), "update-ref", "-d", "HEAD")
    for command in (["reflog", "expire", "--expire=now", "--all"], ["gc", "--quiet", "--prune=now"]):
        other.git(*command)
    done = other.run("models", "reproduce", version, "--tracking-uri", servers[1].uri).ended(EXIT_CONFIGURATION)
    assert "git fetch" in done.err
    nothing_is_left(made)
