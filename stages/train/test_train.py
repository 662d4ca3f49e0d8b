import json
from collections.abc import Callable
from pathlib import Path

import mlflow.artifacts
import pandas as pd
import pytest
import train
from contract import StageError
from mlflow import MlflowClient
from train import Params, fit

TABLE = "x,y,species\n" + "".join(f"{i},{i % 3},{'a' if i < 10 else 'b'}\n" for i in range(20))


def params(**changes: object) -> Params:
    values = {"target": "species", "seed": 1, "n_estimators": 20, "max_depth": 2, "min_samples_leaf": 1}
    return Params.model_validate(values | {"experiment": "e", "model_name": "m"} | changes)


@pytest.fixture
def samples() -> tuple[pd.DataFrame, pd.Series]:
    rows = pd.DataFrame({"x": [i * 7 % 20 for i in range(20)], "y": [i % 3 for i in range(20)]})
    return rows, pd.Series(["a" if x < 10 else "b" for x in rows["x"]], name="species")


def test_the_seed_alone_decides_the_forest(samples: tuple[pd.DataFrame, pd.Series]) -> None:
    first, again, other = (fit(*samples, params(seed=seed)).predict_proba(samples[0]).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, {"trees": 20, "depth": 2}),
        ({"n_estimators": 30}, {"trees": 30, "depth": 2}),
        ({"max_depth": 1}, {"trees": 20, "depth": 1}),
        ({"max_depth": None}, {"trees": 20, "depth": 3, "leaf": 1}),
        ({"min_samples_leaf": 4}, {"trees": 20, "depth": 2, "leaf": 4}),
    ],
    ids=str,
)
def test_params_shape_the_forest(
    samples: tuple[pd.DataFrame, pd.Series], changes: dict[str, object], shape: dict[str, int]
) -> None:
    trees = [tree.tree_ for tree in fit(*samples, params(**changes)).estimators_]
    facts = {
        "trees": len(trees),
        "depth": max(tree.max_depth for tree in trees),
        "leaf": min(tree.n_node_samples.min() for tree in trees),
    }
    assert facts | shape == facts


@pytest.mark.parametrize(
    "changes",
    [
        {"n_estimators": 0},
        {"n_estimators": "100"},
        {"max_depth": 0},
        {"min_samples_leaf": 0.5},
        {"seed": None},
        {"experiment": ""},
        {"model_name": "a/b"},
        {"n_jobs": 2},
    ],
    ids=str,
)
def test_params_out_of_range_are_refused_by_name(write_params: Callable[..., None], changes: dict[str, object]) -> None:
    write_params("train", **changes)
    with pytest.raises(StageError, match=f"train.{next(iter(changes))}"):
        train.main()


def test_a_training_leaves_a_run_a_version_and_a_pointer(
    mlflow_uri: str, unique: str, write_params: Callable[..., None]
) -> None:
    write_params("train", experiment=unique, model_name=unique, n_estimators=20, max_depth=None)
    train.TRAIN.write_text(TABLE)
    train.main()

    pointer = json.loads(train.OUT.read_text())
    run_id = pointer.pop("run_id")
    assert pointer == {"model_name": unique, "model_version": "1", "model_uri": f"models:/{unique}/1"}
    assert [path.name for path in Path("models").iterdir()] == ["model_metadata.json"]

    client = MlflowClient(mlflow_uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["n_estimators"] == "20"
    assert run.data.params["max_depth"] == "None"
    assert run.data.metrics.keys() == {"train_accuracy", "oob_accuracy"}
    assert run.data.metrics["oob_accuracy"] < run.data.metrics["train_accuracy"] == 1.0
    assert [(data.dataset.name, data.tags[0].value) for data in run.inputs.dataset_inputs] == [("train", "training")]
    assert client.get_model_version(unique, "1").run_id == run_id
    files = {file.path for file in mlflow.artifacts.list_artifacts(f"{run.info.artifact_uri}/model")}
    assert {"model/MLmodel", "model/model.skops", "model/input_example.json"} <= files


def test_a_training_that_fails_at_its_end_is_a_failed_run(
    mlflow_uri: str, unique: str, write_params: Callable[..., None]
) -> None:
    write_params("train", experiment=unique, model_name=unique, n_estimators=20)
    train.TRAIN.write_text(TABLE)
    train.OUT.mkdir()
    with pytest.raises(IsADirectoryError):
        train.main()
    client = MlflowClient(mlflow_uri)
    [run] = client.search_runs([client.get_experiment_by_name(unique).experiment_id])
    assert run.info.status == "FAILED"


def test_nothing_is_sent_for_a_bad_table(mlflow_uri: str, unique: str, write_params: Callable[..., None]) -> None:
    write_params("train", experiment=unique, model_name=unique)
    train.TRAIN.write_text("x,species\n")
    with pytest.raises(StageError, match=r"train\.csv"):
        train.main()
    assert MlflowClient(mlflow_uri).get_experiment_by_name(unique) is None
