import json
from collections.abc import Callable, Iterator
from pathlib import Path

import evaluate
import mlflow.artifacts
import pandas as pd
import pytest
import registry
import tracking
from contract import StageError
from evaluate import metric_name, predict, score
from mlflow import MlflowClient
from registry import ModelError, ModelPointer
from sklearn.ensemble import RandomForestClassifier

TEST = "x,y,species\n" + "".join(f"{x},{y},{'a' if x < 5 else 'b'}\n" for x in range(10) for y in (0, 1))


def forest(kind: str) -> RandomForestClassifier:
    """A model that gets all, some or half of the test rows right, or one of other columns."""
    rows = pd.DataFrame({"x": range(10), "y": [0, 1] * 5})
    labels = {
        "right": ["a" if x < 5 else "b" for x in rows["x"]],
        "fair": ["a" if x < 6 else "b" for x in rows["x"]],
        "poor": ["a"] * 10,
        "of other columns": ["a" if x < 5 else "b" for x in rows["x"]],
    }[kind]
    columns = rows.rename(columns={"y": "z"}) if kind == "of other columns" else rows
    return RandomForestClassifier(n_estimators=1, bootstrap=False, max_features=None, random_state=0).fit(
        columns, labels
    )


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[MlflowClient]:  # noqa: ARG001
    with tracking.connect() as client:
        yield client


@pytest.fixture
def train(client: MlflowClient, unique: str, workspace: Path) -> Callable[[str], ModelPointer]:
    """Do what the stage train does: register a model and leave a pointer to it."""

    def train(kind: str) -> ModelPointer:
        model = forest(kind)
        samples = pd.DataFrame(0, index=range(3), columns=model.feature_names_in_)
        with tracking.training_run(client, unique) as run:
            pointer = registry.register(client, run, model, samples, unique)
        (workspace / evaluate.POINTER).write_text(pointer.model_dump_json())
        (workspace / evaluate.TEST).write_text(TEST)
        return pointer

    return train


def damage(client: MlflowClient, production: ModelPointer, folder: Path) -> None:
    (folder / "model.skops").write_bytes(b"no model")
    client.log_artifact(production.run_id, str(folder / "model.skops"), "model")


def delete(client: MlflowClient, production: ModelPointer, _: Path) -> None:
    client.delete_model_version(production.model_name, production.model_version)


def leave(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("in_production", "happens", "candidate", "promoted"),
    [
        pytest.param(None, leave, "fair", True, id="first"),
        pytest.param(None, leave, "poor", False, id="first, below the minimum"),
        pytest.param("fair", leave, "right", True, id="better"),
        pytest.param("right", leave, "right", False, id="tie"),
        pytest.param("right", leave, "fair", False, id="worse"),
        pytest.param("right", delete, "fair", True, id="production deleted"),
        pytest.param("right", damage, "fair", True, id="production unloadable"),
        pytest.param("right", damage, "poor", False, id="production unloadable, below the minimum"),
        pytest.param("of other columns", leave, "fair", True, id="production of other columns"),
    ],
)
def test_production_moves_by_the_rule_and_staging_always(  # noqa: PLR0913, PLR0917
    client: MlflowClient,
    train: Callable[[str], ModelPointer],
    write_params: Callable[..., None],
    tmp_path: Path,
    in_production: str | None,
    happens: Callable[[MlflowClient, ModelPointer, Path], None],
    candidate: str,
    *,
    promoted: bool,
) -> None:
    write_params("evaluate")
    before = None
    if in_production:
        production = train(in_production)
        before = production.model_version
        client.set_registered_model_alias(production.model_name, "production", before)
        happens(client, production, tmp_path)
    pointer = train(candidate)
    evaluate.main()

    aliases = registry.aliases(client, pointer.model_name)
    assert aliases["staging"] == pointer.model_version
    assert aliases.get("production") == (pointer.model_version if promoted else before)
    tags = client.get_run(pointer.run_id).data.tags
    assert json.loads(tags["promotion.promoted"]) is promoted
    reached = json.loads(tags["promotion.production"])
    assert (reached is not None) == bool(in_production and happens is leave and in_production != "of other columns")


def test_metrics_and_matrix_go_to_files_and_to_the_run_of_train(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("fair")
    evaluate.main()

    text = evaluate.METRICS.read_text()
    metrics = json.loads(text)
    assert metrics["accuracy"] == 0.9
    assert metrics["recall.b"] == 0.8
    assert list(metrics) == sorted(metrics)
    assert text.endswith("}\n")
    matrix = pd.read_csv(evaluate.MATRIX)
    assert list(matrix.columns) == ["actual", "predicted"]
    assert pd.crosstab(matrix["actual"], matrix["predicted"]).to_numpy().tolist() == [[10, 0], [2, 8]]

    run = client.get_run(pointer.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == metrics
    assert [(data.dataset.name, data.tags[0].value) for data in run.inputs.dataset_inputs] == [("test", "test")]
    files = {file.path for file in mlflow.artifacts.list_artifacts(f"{run.info.artifact_uri}/evaluate")}
    assert files == {"evaluate/metrics.json", "evaluate/confusion_matrix.csv"}


def test_the_version_in_production_is_not_its_own_rival(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("right")
    evaluate.main()
    evaluate.main()
    assert registry.aliases(client, pointer.model_name)["production"] == pointer.model_version
    assert "already" in client.get_run(pointer.run_id).data.tags["promotion.reason"]


def test_a_candidate_that_is_gone_is_told_in_one_line(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("right")
    client.delete_model_version(pointer.model_name, pointer.model_version)
    with pytest.raises(StageError, match="train again") as error:
        evaluate.main()
    assert pointer.model_uri in str(error.value)
    assert "\n" not in str(error.value)


def test_another_servers_version_of_the_same_number_is_not_scored(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("right")
    elsewhere = pointer.model_copy(update={"run_id": "f" * 32})
    evaluate.POINTER.write_text(elsewhere.model_dump_json(), encoding="utf-8")
    with pytest.raises(StageError, match="another server") as error:
        evaluate.main()
    assert pointer.run_id in str(error.value)
    assert not evaluate.METRICS.exists()
    assert registry.aliases(client, pointer.model_name) == {}


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"metric": "auc", "minimum": 0.8, "margin": 0.0}, "promote.metric"),
        ({"metric": "accuracy", "minimum": "high", "margin": 0.0}, "promote.minimum"),
        ({"metric": "accuracy", "minimum": 0.8, "margin": -0.1}, "promote.margin"),
        ({"metric": "accuracy", "minimum": 0.8}, "promote.margin"),
    ],
    ids=str,
)
def test_a_bad_rule_is_refused_by_name(write_params: Callable[..., None], rule: dict[str, object], named: str) -> None:
    write_params("evaluate", promote=rule)
    with pytest.raises(StageError, match=named):
        evaluate.main()


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        pytest.param(
            ["a", "a", "b", "b"],
            {"accuracy": 1.0, "macro_f1": 1.0, "precision.a": 1.0, "recall.b": 1.0, "f1.a": 1.0},
            id="all right",
        ),
        pytest.param(
            ["a", "b", "b", "b"],
            {"accuracy": 0.75, "precision.b": 0.666667, "recall.a": 0.5, "f1.a": 0.666667, "macro_f1": 0.733333},
            id="one wrong",
        ),
        pytest.param(
            ["a", "a", "a", "a"],
            {"accuracy": 0.5, "precision.b": 0.0, "macro_precision": 0.25, "macro_recall": 0.5},
            id="a class never predicted",
        ),
        pytest.param(
            ["a", "c", "b", "b"],
            {"accuracy": 0.75, "recall.a": 0.5, "macro_recall": 0.75},
            id="a class that is not there",
        ),
    ],
)
def test_scores(predicted: list[str], expected: dict[str, float]) -> None:
    metrics = score(pd.Series(["a", "a", "b", "b"]), predicted)
    assert {name: metrics[name] for name in expected} == expected
    assert "recall.c" not in metrics


@pytest.mark.parametrize(
    ("label", "name"), [("setosa", "setosa"), (">50K", "_50K"), ("é a/b", "é a_b"), ("v1.0-x", "v1.0-x")]
)
def test_labels_become_names_of_metrics(label: str, name: str) -> None:
    assert metric_name(label) == name


def test_columns_may_come_in_another_order() -> None:
    samples = pd.DataFrame({"y": [0, 0], "x": [0, 9]})
    assert predict(forest("right"), samples) == ["a", "b"]


@pytest.mark.parametrize("columns", [["x"], ["x", "y", "z"], ["x", "z"]], ids=str)
def test_other_columns_are_refused(columns: list[str]) -> None:
    with pytest.raises(ModelError, match="columns"):
        predict(forest("right"), pd.DataFrame(0, index=range(2), columns=columns))
