"""The pipeline with every MLflow server from 2.7 on, as it is and behind a real nginx.

``TEST_SERVERS=all`` tries all versions; without it, the oldest and the newest.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import pytest
import requests
from bench import tracking
from tests.servers.conftest import Fronts, Place
from tests.support.mlflow_servers import NEWEST, chosen
from tests.support.projects import Finished, Project

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

import summary  # noqa: E402

MODEL = "iris-classifier"
WAYS = ["as it is", "basic auth", "below a path"]
if "TEST_SERVERS" in os.environ:
    WAYS.append("below a path, open")


def ask(place: Place, path: str) -> dict[str, object]:
    answer = requests.get(f"{place.uri}/api/2.0/mlflow/{path}", auth=place.auth, timeout=30)
    answer.raise_for_status()
    loaded: dict[str, object] = answer.json()
    return loaded


@pytest.mark.parametrize("way", WAYS)
def test_the_pipeline_leaves_a_run_a_version_and_its_alias(pipeline: Project, fronts: Fronts, way: str) -> None:
    place = fronts.place(way)
    registry = summary.Registry(uri=place.uri, user=place.user, password=place.settings.get("MLFLOW_TRACKING_PASSWORD"))
    try:
        before = registry.aliases(MODEL).get("production")
    except summary.RegistryError:
        before = None  # there is no such model yet
    pipeline.run("run", "--force", "--single-item", "train", "evaluate", env=place.settings).ended(0)
    pointer = json.loads(pipeline.read("models/model_metadata.json"))

    run = ask(place, f"runs/get?run_id={pointer['run_id']}")["run"]
    assert isinstance(run, dict)
    assert run["info"]["status"] == "FINISHED"
    assert {"oob_accuracy", "macro_f1"} <= {metric["key"] for metric in run["data"]["metrics"]}
    assert {"train", "test"} == {data["dataset"]["name"] for data in run["inputs"]["dataset_inputs"]}
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["lineage.git_commit"] == pipeline.git("rev-parse", "HEAD").strip()

    aliases = registry.aliases(MODEL)
    assert aliases["staging"] == pointer["model_version"]
    # The first goes into production; the same forest again does not beat it, which its reader has to find out.
    assert aliases["production"] == (before or pointer["model_version"])
    assert tags["promotion.production_version"] == (before or "null")


@pytest.mark.parametrize("way", WAYS)
def test_its_versions_are_listed_compared_moved_and_traced(pipeline: Project, fronts: Fronts, way: str) -> None:
    place = fronts.place(way)

    def models(*arguments: str) -> Finished:
        return pipeline.run("models", *arguments, env=place.settings).ended(0)

    def told(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(models(*arguments, "--json").out)
        return found

    def listed() -> dict[str, Any]:
        return next((one for one in told("list")["models"] if one["name"] == MODEL), {"versions": []})

    while len(listed()["versions"]) < 2:  # the tests above left some, unless this one is run alone
        pipeline.run("run", "--force", "--single-item", "train", "evaluate", env=place.settings).ended(0)
    newest, before = listed()["versions"][0]["version"], listed()["aliases"]["production"]
    assert models("list", MODEL).out.splitlines()[0].startswith(f"version {newest} ")

    shown = told("show", newest)
    assert shown["run"]["status"] == "FINISHED"
    assert {"oob_accuracy", "macro_f1"} <= shown["run"]["metrics"].keys()
    assert told("show")["version"] == before

    lines = models("compare", "production", newest).out.splitlines()
    assert lines[0].split() == ["params", "version", before, "version", newest]
    assert "macro_f1" in [line.split()[0] for line in lines if line]

    lineage = told("lineage", newest)  # the whole file: tags tell of no stages before it
    assert lineage["git_commit"] == pipeline.git("rev-parse", "HEAD").strip()
    assert [one["stage"] for one in lineage["upstream"]] == ["preprocess", "ingest"]

    moves = told("history")["history"]
    models("promote", newest, "--why", "schöner")
    assert listed()["aliases"]["production"] == newest
    assert "archived" in told("show", before)["tags"]
    models("rollback")
    assert listed()["aliases"]["production"] == before
    assert "archived" not in told("show", before)["tags"]
    made = told("history")["history"][len(moves) :]
    assert [(one["from_version"], one["to_version"]) for one in made] == [(before, newest), (newest, before)]
    assert made[0]["why"] == "schöner"
    assert "schöner" in models("history").out


@pytest.mark.parametrize("way", WAYS)
def test_the_doctor_finds_it(pipeline: Project, fronts: Fronts, way: str) -> None:
    told = pipeline.run("doctor", env=fronts.place(way).settings).text
    [line] = [line for line in told.splitlines() if "MLflow" in line and fronts.place(way).uri in line]
    assert fronts.server.version in line or "✓" in line, told


def test_a_wrong_password_is_told_and_not_shown(pipeline: Project, fronts: Fronts) -> None:
    place = fronts.place("basic auth")
    wrong = {**place.settings, "MLFLOW_TRACKING_PASSWORD": "wr0ng-one"}
    ended = pipeline.run("run", "--force", "--single-item", "train", env=wrong).ended(1)
    for told in (place.uri, "401", "user ada", "MLFLOW_TRACKING_PASSWORD"):
        assert told in ended.text
    assert "wr0ng-one" not in ended.text


def test_the_bench_beside_plain_mlflow_runs(serve: Callable[[str], Fronts], tmp_path: Path) -> None:
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "dvc-runner"
    found = tracking.measured(cache, tmp_path / "work", serve(NEWEST).server.uri, rounds=1)
    sent = {way: count for way, [(_, count)] in found.items()}
    assert sent.keys() == {"nothing", "ours", "log_model"}
    assert sent["nothing"] == 0
    assert min(sent["ours"], sent["log_model"]) > 10


@pytest.mark.parametrize("version", [version for version in chosen() if version != NEWEST])
def test_the_stages_own_tests_pass_before_older_servers_too(serve: Callable[[str], Fronts], version: str) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
    command += ["--with-requirements", "stages/train/requirements.txt"]
    for package in ("pytest", "jsonschema"):
        command += ["--with", f"{package}=={installed(package)}"]
    command += ["--", "python", "-m", "pytest", "-q", "stages/tracking", "stages/train", "stages/evaluate"]
    env = os.environ | {"TEST_MLFLOW_URI": serve(version).server.uri}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
