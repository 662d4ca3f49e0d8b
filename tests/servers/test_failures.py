"""A server that fails while a stage is at work: one line within seconds, and nothing left half."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.servers.conftest import Fronts
from tests.support.cases import cases
from tests.support.mlflow_servers import NEWEST, MlflowServer, mlflow_server
from tests.support.projects import Project
from tests.support.servers import EMPTY, Told, forwarding
from tests.support.waiting import until

RUNNING_S = 60
TOLD_WITHIN_S = 60


def runs(uri: str, experiment: str = "iris") -> list[dict[str, Any]]:
    found = requests.get(
        f"{uri}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": experiment}, timeout=30
    )
    if found.status_code == 404:
        return []
    body = {"experiment_ids": [found.json()["experiment"]["experiment_id"]]}
    answer = requests.post(f"{uri}/api/2.0/mlflow/runs/search", json=body, timeout=30).json()
    return list(answer.get("runs", []))


def versions(uri: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{uri}/api/2.0/mlflow/model-versions/search", timeout=30).json()
    return list(answer.get("model_versions", []))


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with mlflow_server(NEWEST, tmp_path / "mlflow") as server:
        yield server


@contextlib.contextmanager
def training(pipeline: Project, uri: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a train stage of some seconds, and wait for its run."""
    params = pipeline.read("params.yaml")
    pipeline.write("params.yaml", re.sub("n_estimators: .*", "n_estimators: 3000", params, count=1))
    at_server = pipeline.with_env(MLFLOW_TRACKING_URI=uri)
    try:
        with at_server.started("dvc-runner", "run", "--force", "--single-item", "train") as process:
            assert until(lambda: any(run["info"]["status"] == "RUNNING" for run in runs(uri)), RUNNING_S)
            yield process
    finally:
        pipeline.write("params.yaml", params)


def test_a_server_killed_while_train_runs_is_told_and_the_next_training_ends_its_run(
    pipeline: Project, server: MlflowServer
) -> None:
    with training(pipeline, server.uri) as process:
        server.kill()
        began = time.monotonic()
        printed, _ = process.communicate(timeout=TOLD_WITHIN_S)
    assert time.monotonic() - began < TOLD_WITHIN_S
    assert process.returncode == 1, printed
    assert f"ERROR MLflow at {server.uri}: refused the connection" in printed
    assert "TRACKING_OFFLINE=1" in printed
    assert "Traceback" not in printed

    server.start()
    [left] = runs(server.uri)
    assert left["info"]["status"] == "RUNNING"
    assert versions(server.uri) == []
    # Five minutes later, as far as the next training can tell.
    silent = {"run_id": left["info"]["run_id"], "key": "alive_at", "value": str(int(time.time()) - 400)}
    requests.post(f"{server.uri}/api/2.0/mlflow/runs/set-tag", json=silent, timeout=30).raise_for_status()
    pipeline.run("run", "--force", "--single-item", "train", env={"MLFLOW_TRACKING_URI": server.uri}).ended(0)
    assert sorted(run["info"]["status"] for run in runs(server.uri)) == ["FAILED", "FINISHED"]
    assert len(versions(server.uri)) == 1


def test_a_server_that_falls_silent_while_train_runs_is_told_and_waited_for(
    pipeline: Project, server: MlflowServer
) -> None:
    with training(pipeline, server.uri) as process:
        assert process.stdout
        with server.paused():
            printed = next(line for line in process.stdout if "timeout" in line)
            assert f"MLflow at {server.uri}: timeout, no answer: look at its log" in printed
            assert "TRACKING_OFFLINE=1" in printed
        rest, _ = process.communicate(timeout=RUNNING_S)
    assert process.returncode == 0, rest
    [run] = runs(server.uri)
    assert run["info"]["status"] == "FINISHED"
    assert len(versions(server.uri)) == 1


@pytest.fixture(scope="module")
def trained(pipeline: Project, serve: Callable[[str], Fronts]) -> str:
    """Train, for evaluations that fail; give the server's address."""
    uri = serve(NEWEST).server.uri
    pipeline.run("run", "--force", "--single-item", "train", env={"MLFLOW_TRACKING_URI": uri}).ended(0)
    return uri


@cases(
    "at, answer, named",
    {
        "reads the version: 401": ("/model-versions/get", 401, "MLFLOW_TRACKING_USERNAME"),
        "fetches the model: hangs up": ("/mlflow-artifacts/artifacts/", 0, "TRACKING_OFFLINE=1"),
        "fetches the model: 500": ("/mlflow-artifacts/artifacts/", 500, "TRACKING_OFFLINE=1"),
        "reads the alias: 403": ("/registered-models/get", 403, "may not do this"),
        "logs: hangs up": ("/runs/log-inputs", 0, "TRACKING_OFFLINE=1"),
        "logs: 404": ("/runs/log-inputs", 404, "MLFLOW_TRACKING_URI"),
        "logs: a page": ("/runs/log-inputs", 200, "MLFLOW_TRACKING_URI"),
        "takes the claim: nothing": ("/registered-models/set-tag", EMPTY, "MLFLOW_TRACKING_URI"),
        "moves the alias: hangs up": ("/registered-models/alias", 0, "TRACKING_OFFLINE=1"),
    },
)
def test_a_server_that_fails_while_evaluate_runs_is_told_and_moves_no_alias(
    pipeline: Project, trained: str, at: str, answer: int | Told, named: str
) -> None:
    uri = trained
    pointer = json.loads(pipeline.read("models/model_metadata.json"))
    dead = [False]

    def seen(method: str, path: str, when: str) -> int | Told | None:
        del method, when
        dead[0] = dead[0] or at in path
        return answer if dead[0] else None

    with forwarding(uri, seen) as front:
        began = time.monotonic()
        env = {"MLFLOW_TRACKING_URI": front}
        ended = pipeline.run("run", "--force", "--single-item", "evaluate", env=env).ended(1)
        assert time.monotonic() - began < TOLD_WITHIN_S
        assert f"ERROR MLflow at {front}" in ended.text
        assert named in ended.text
    assert dead[0]
    model = requests.get(
        f"{uri}/api/2.0/mlflow/registered-models/get", params={"name": pointer["model_name"]}, timeout=30
    ).json()["registered_model"]
    aliases = {alias["alias"]: alias["version"] for alias in model.get("aliases", [])}
    assert pointer["model_version"] not in aliases.values()
    # Its claim could not be removed, and others would wait for that to expire.
    claim = {"name": pointer["model_name"], "key": "promotion.claim"}
    requests.delete(f"{uri}/api/2.0/mlflow/registered-models/delete-tag", json=claim, timeout=30)


@cases("status", {"503": (503,), "hung up on": (0,)})
def test_a_server_that_stumbles_now_and_then_is_tried_again(
    pipeline: Project, serve: Callable[[str], Fronts], status: int
) -> None:
    uri = serve(NEWEST).server.uri
    before = len(runs(uri)), len(versions(uri))
    numbers = iter(range(1, 10**6))

    def seen(method: str, path: str, when: str) -> int | None:
        asked = method == "GET" and "max_results=1" in path  # what a stage asks before it starts
        return status if when == "answered" and not asked and next(numbers) % 4 == 0 else None

    with forwarding(uri, seen) as front:
        env = {"MLFLOW_TRACKING_URI": front}
        pipeline.run("run", "--force", "--single-item", "train", "evaluate", env=env).ended(0)
    assert (len(runs(uri)), len(versions(uri))) == (before[0] + 1, before[1] + 1)
