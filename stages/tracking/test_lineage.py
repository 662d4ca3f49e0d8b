import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lineage
import pandas as pd
import pytest
import registry
import tracking
from mlflow import MlflowClient
from sklearn.ensemble import RandomForestClassifier
from tests.support.json_schema import problems, schema

SAMPLES = pd.DataFrame({"x": [0.0, 0.1, 0.9, None], "y": [1.0, 2.0, 3.0, 4.0]})
LABELS = pd.Series(["a", "a", "a", "b"], name="label", dtype="str")
TABLE = Path("data/raw/part.csv")
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
RUNNERS: dict[str, Any] = {
    "schema_version": 1,
    "stage": "train",
    "cmd": "dvc-runner exec python -m train",
    "git_commit": "c0ffee",
    "git_branch": "main",
    "git_dirty": True,
    "git_diff": "+a line\n",
    "git_diff_whole": True,
    "git_user": "Ada",
    "system_user": "ada",
    "executor": "docker",
    "image": {"key": "k", "id": None},
    "deps": {"stages/train": "1.dir", "data/raw/part.csv": EMPTY_MD5},
    "params": {"params.yaml": {"train": {"seed": 1}}},
    "upstream": [
        {
            "stage": "split",
            "cmd": "dvc-runner exec python -m split",
            "image": {"key": "m", "id": "sha256:1"},
            "deps": {"stages/split": "2.dir", "data/é:x.csv": "3", "data/raw/part.csv": "older"},
            "outs": {"data/raw/part.csv": EMPTY_MD5},
            "params": {},
        }
    ],
    "upstream_whole": True,
}


@pytest.fixture
def client(mlflow_uri: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:  # noqa: ARG001
    TABLE.write_text("")
    Path("runners.json").write_text(json.dumps(RUNNERS))
    monkeypatch.setenv("LINEAGE_FILE", "runners.json")
    with tracking.connect() as client:
        return client


def test_what_is_logged_is_what_the_schema_says(client: MlflowClient, unique: str, tmp_path: Path) -> None:
    with tracking.training_run(client, unique) as run:
        given = lineage.log(client, run.info.run_id, {TABLE: (SAMPLES, LABELS)})
    stored = json.loads(Path(client.download_artifacts(run.info.run_id, "lineage.json", str(tmp_path))).read_text())
    assert stored == given
    whole = schema("lineage")
    assert problems(stored, whole) == []
    assert stored | RUNNERS == stored
    assert stored["libraries"]["mlflow-skinny"] == version("mlflow-skinny")
    assert stored["python"] == platform.python_version()
    assert stored["host"]["name"] == platform.node()
    assert stored["started_at"] < stored["logged_at"]
    assert stored["read"] == {
        "data/raw/part.csv": {
            "md5": EMPTY_MD5,
            "rows": 4,
            "columns": [
                {"name": "x", "type": "float64", "missing": 1, "min": 0.0, "max": 0.9},
                {"name": "y", "type": "float64", "missing": 0, "min": 1.0, "max": 4.0},
            ],
            "target": "label",
            "classes": {"a": 3, "b": 1},
        }
    }


def test_every_key_is_documented() -> None:
    document = (Path(__file__).parents[2] / "docs/LINEAGE.md").read_text(encoding="utf-8")
    whole = schema("lineage")
    parts = [whole, *whole["$defs"].values()]
    keys = {key for part in parts for key in part.get("properties", {})} | set(lineage.short(RUNNERS | {"image": {}}))
    assert [key for key in sorted(keys) if f"`{key}`" not in document and not key.startswith("dep.")] == []


TAGS = {
    "schema_version": "1",
    "stage": "train",
    "git_commit": "c0ffee",
    "git_branch": "main",
    "git_dirty": "true",
    "git_user": "Ada",
    "executor": "docker",
    "image_key": "k",
    "dep.stages/train": "1.dir",
    "dep.data/raw/part.csv": EMPTY_MD5,
    "dep.stages/split": "2.dir",
    "dep.data/é_x.csv": "3",
}


def test_tags_are_short_and_searched_for(client: MlflowClient, unique: str) -> None:
    with tracking.training_run(client, unique) as run:
        lineage.log(client, run.info.run_id, {})
        lineage.log(client, run.info.run_id, {}, under="evaluate/")
    tags = client.get_run(run.info.run_id).data.tags
    for prefix in ("lineage.", "evaluate/lineage."):
        assert {key.removeprefix(prefix): tags[key] for key in tags if key.startswith(prefix)} == TAGS
    assert (tags["mlflow.source.git.commit"], tags["mlflow.source.git.branch"]) == ("c0ffee", "main")
    found = client.search_runs([run.info.experiment_id], f"tags.`lineage.dep.data/raw/part.csv` = '{EMPTY_MD5}'")
    assert [one.info.run_id for one in found] == [run.info.run_id]


def test_tags_are_no_more_and_no_longer_than_servers_take(client: MlflowClient, unique: str) -> None:
    many = {f"data/{'d' * 300}/{number}.csv": "0" for number in range(200)}
    Path("runners.json").write_text(json.dumps(RUNNERS | {"git_branch": "b" * 9000, "deps": many, "upstream": None}))
    with tracking.training_run(client, unique) as run:
        lineage.log(client, run.info.run_id, {})
    tags = client.get_run(run.info.run_id).data.tags
    assert tags["lineage.git_branch"] == tags["mlflow.source.git.branch"] == "b" * 500


def test_a_version_leads_back_as_its_run_does(client: MlflowClient, unique: str) -> None:
    many = {f"data/{number}/{'d' * 300}.csv": "0" for number in range(200)}
    Path("runners.json").write_text(json.dumps(RUNNERS | {"git_branch": "b" * 9000, "deps": RUNNERS["deps"] | many}))
    with tracking.training_run(client, unique) as run:
        whole = lineage.log(client, run.info.run_id, {TABLE: (SAMPLES, LABELS)})
        forest = RandomForestClassifier(n_estimators=1, random_state=0).fit(SAMPLES[["y"]], LABELS)
        registry.register(client, run, forest, SAMPLES[["y"]], unique, tags=lineage.tags(whole))
    of_run = client.get_run(run.info.run_id).data.tags
    assert client.get_model_version(unique, "1").tags == {
        key: of_run[key] for key in of_run if key.startswith("lineage.")
    }
    assert len(lineage.tags(whole)) == len(TAGS) - 4 + lineage.MOST_DEPS


@pytest.mark.parametrize("where", [None, "", "/nowhere/lineage.json"])
def test_a_run_without_lineage_is_told_of_and_goes_on(
    client: MlflowClient,
    unique: str,
    where: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("LINEAGE_FILE", raising=False)
    if where is not None:
        monkeypatch.setenv("LINEAGE_FILE", where)
    with tracking.training_run(client, unique) as run:
        assert lineage.log(client, run.info.run_id, {}) == {}
    assert "LINEAGE_FILE" in caplog.text
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ({"git_user": "Ada", "system_user": "root"}, "Ada"),
        ({"git_user": None, "system_user": "ada"}, "ada"),
        ({"git_user": None, "system_user": None}, "of-mlflow"),
        ({}, "of-mlflow"),
    ],
    ids=str,
)
def test_who_it_was(whole: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "of-mlflow")
    assert lineage.who(whole) == expected
