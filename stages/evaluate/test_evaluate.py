import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import alias_history
import claim
import evaluate
import life
import mlflow.artifacts
import mlflow.sklearn
import pandas as pd
import pytest
import registry
import tracking
from claim import Patience
from contract import StageError
from evaluate import metric_name, predict, score
from mlflow import MlflowClient
from registry import ModelError, ModelPointer
from sklearn.ensemble import RandomForestClassifier

Proxy = Callable[[str, Callable[[str, bytes], None]], AbstractContextManager[str]]
QUICK = Patience(settle_s=0.2)
TEST = "x,y,species\n" + "".join(f"{x},{y},{'a' if x < 5 else 'b'}\n" for x in range(10) for y in (0, 1))


RULE = {"metric": "accuracy", "direction": "higher", "bound": 0.8, "margin": 0.0, "class_floor": None}


def forest(kind: str) -> RandomForestClassifier:
    """A model that gets all, some or half of the test rows right, or one of other columns."""
    rows = pd.DataFrame({"x": range(10), "y": [0, 1] * 5})
    labels = {
        "right": ["a" if x < 5 else "b" for x in rows["x"]],
        "fair": ["a" if x < 6 else "b" for x in rows["x"]],
        "poor": ["a"] * 10,
        "of other columns": ["a" if x < 5 else "b" for x in rows["x"]],
        "of fewer classes": ["a"] * 10,
        "of more classes": ["a" if x < 5 else "b" if x < 9 else "c" for x in rows["x"]],
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
    ("in_production", "happens", "candidate", "promoted", "state"),
    [
        pytest.param(None, leave, "fair", True, "none", id="first"),
        pytest.param(None, leave, "poor", False, "none", id="first, below the bound"),
        pytest.param("fair", leave, "right", True, "compared", id="better"),
        pytest.param("right", leave, "right", False, "compared", id="tie"),
        pytest.param("right", leave, "fair", False, "compared", id="worse"),
        pytest.param("right", delete, "fair", True, "gone", id="production deleted"),
        pytest.param("right", delete, "poor", False, "gone", id="production deleted, below the bound"),
        pytest.param("right", damage, "fair", True, "unloadable", id="production unloadable"),
        pytest.param("right", damage, "poor", False, "unloadable", id="production unloadable, below the bound"),
        pytest.param("of other columns", leave, "fair", True, "other_columns", id="production of other columns"),
        pytest.param("of fewer classes", leave, "fair", True, "compared_other_classes", id="of fewer classes"),
        pytest.param("of more classes", leave, "fair", False, "compared_other_classes", id="of more classes, better"),
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
    state: str,
) -> None:
    write_params("evaluate")
    before = None
    if in_production:
        production = train(in_production)
        before = production.model_version
        client.set_registered_model_alias(production.model_name, "production", before)
        happens(client, production, tmp_path)
    pointer = train(candidate)
    evaluate.main(QUICK)

    name, version = pointer.model_name, pointer.model_version
    aliases = registry.aliases(client, name)
    assert aliases["staging"] == version
    if happens is delete:  # an old server keeps the alias
        assert aliases.get("production") in ([version] if promoted else [before, None])
    else:
        assert aliases.get("production") == (version if promoted else before)
    tags = client.get_run(pointer.run_id).data.tags
    assert json.loads(tags["promotion.promoted"]) is promoted
    assert tags["promotion.production_state"] in ([state, "none"] if happens is delete else [state])
    assert (json.loads(tags["promotion.production"]) is not None) == state.startswith("compared")
    moves = [(one.to_version, one.who) for one in alias_history.read(client, name, "production")]
    assert moves == ([(version, tags["promotion.who"])] if promoted else [])
    assert [one.to_version for one in alias_history.read(client, name, "staging")] == [version]
    if in_production and happens is not delete:
        assert ("archived" in client.get_model_version(name, before).tags) is promoted
    assert claim.TAG not in client.get_registered_model(name).tags


def test_a_class_below_the_floor_keeps_a_better_version_out(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    rule = {"metric": "error_rate", "direction": "lower", "bound": 0.2, "margin": 0.0}
    write_params("evaluate", promote=rule | {"class_floor": {"metric": "recall", "minimum": 0.9}})
    pointer = train("fair")
    evaluate.main(QUICK)
    tags = client.get_run(pointer.run_id).data.tags
    assert json.loads(tags["promotion.lowest_class"]) == {"recall.b": 0.8}
    assert "recall.b" in tags["promotion.reason"]
    assert "production" not in registry.aliases(client, pointer.model_name)


DECISION = {
    *("schema_version", "promoted", "reason", "metric", "direction", "bound", "margin", "class_floor", "candidate"),
    *(
        "candidate_version",
        "lowest_class",
        "production",
        "production_version",
        "production_state",
        "rounds",
        "who",
        "at",
    ),
}


def test_the_decision_is_told_whole_and_documented(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("right")
    evaluate.main(QUICK)
    tags = client.get_run(pointer.run_id).data.tags
    assert {key.removeprefix("promotion.") for key in tags if key.startswith("promotion.")} == DECISION
    document = (Path(__file__).parents[2] / "docs/PROMOTION.md").read_text(encoding="utf-8")
    assert [key for key in sorted(DECISION) if f"`{key}`" not in document] == []


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
def test_a_pickle_is_evaluated_where_params_say_so(
    client: MlflowClient,
    unique: str,
    workspace: Path,
    write_params: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    *,
    trusted: bool,
) -> None:
    write_params("evaluate", trust_pickle=trusted)
    with tracking.training_run(client, unique) as run:
        mlflow.sklearn.save_model(
            forest("right"), str(workspace / "pickled"), serialization_format="cloudpickle", pip_requirements=["x"]
        )
        client.log_artifacts(run.info.run_id, str(workspace / "pickled"), "model")
    client.create_registered_model(unique)
    client.create_model_version(unique, f"{run.info.artifact_uri}/model", run.info.run_id)
    pointer = ModelPointer(
        model_name=unique, model_version="1", model_uri=f"models:/{unique}/1", run_id=run.info.run_id
    )
    evaluate.POINTER.write_text(pointer.model_dump_json())
    evaluate.TEST.write_text(TEST)
    if trusted:
        evaluate.main(QUICK)
        assert "runs what code" in caplog.text
        assert client.get_model_version(unique, "1").tags["trusted_pickle"] == "true"
        assert registry.aliases(client, unique)["production"] == "1"
    else:
        with pytest.raises(StageError, match="trust_pickle: true"):
            evaluate.main(QUICK)
        assert registry.aliases(client, unique) == {}


WAITING = 3  # questions after the model: to judge, to claim, and again to claim
EVALUATE = "import evaluate; from claim import Patience; evaluate.main(Patience(settle_s=1))"


@contextmanager
def evaluating(pointer: ModelPointer, uri: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """An evaluate as a process of its own, in a workspace of its own."""
    for made in ("data/processed", "models", "metrics"):
        (folder / made).mkdir(parents=True)
    (folder / evaluate.POINTER).write_text(pointer.model_dump_json())
    (folder / evaluate.TEST).write_text(TEST)
    (folder / "params.yaml").write_text(Path("params.yaml").read_text())
    stages = Path(evaluate.__file__).parents[1]
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    env["PYTHONPATH"] = os.pathsep.join(str(stages / name) for name in ("evaluate", "tracking", "contract"))
    command = [sys.executable, "-W", "ignore", "-c", EVALUATE]
    with subprocess.Popen(command, cwd=folder, env=env, text=True, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_of_two_evaluates_at_once_the_better_version_is_in_production(
    client: MlflowClient,
    train: Callable[[str], ModelPointer],
    write_params: Callable[..., None],
    tmp_path: Path,
    proxy: Proxy,
) -> None:
    """The worse one has decided, and is held up on its way to the alias until the better one has too."""
    write_params("evaluate", promote=RULE | {"bound": 0.1})
    first = train("poor")
    evaluate.main(QUICK)
    worse, better = train("fair"), train("right")
    uri = os.environ["MLFLOW_TRACKING_URI"]
    moving, go_on = threading.Event(), threading.Event()

    def hold_up(path: str, body: bytes) -> None:
        if path.endswith("registered-models/alias") and b'"production"' in body:
            moving.set()
            go_on.wait(20)  # a client waits for 30 s

    asked = 0

    def follow(path: str, _: bytes) -> None:
        nonlocal asked
        if "registered-models/get?" in path:
            moving.wait(20)
            asked += 1

    with (
        proxy(uri, hold_up) as slow,
        proxy(uri, follow) as watched,
        evaluating(worse, slow, tmp_path / "worse") as one,
        evaluating(better, watched, tmp_path / "better") as other,
    ):
        # By then it has compared itself with what is in production still, and waits, or has moved it.
        deadline = time.monotonic() + 90
        while asked < WAITING and other.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        go_on.set()
        for process in (one, other):
            _, words = process.communicate(timeout=60)
            assert process.returncode == 0, words
    name = first.model_name
    assert registry.aliases(client, name)["production"] == better.model_version
    moves = [(one.from_version, one.to_version) for one in alias_history.read(client, name, "production")]
    versions = [None, *(one.model_version for one in (first, worse, better))]
    assert moves == list(itertools.pairwise(versions))
    decided = client.get_run(better.run_id).data.tags
    assert json.loads(decided["promotion.rounds"]) == 2
    assert decided["promotion.production_version"] == worse.model_version


@pytest.mark.parametrize("when", [claim.TAG, "alias_history.production"], ids=["before our move", "after our move"])
def test_production_that_a_person_moves_meanwhile_is_compared_with_anew(
    client: MlflowClient,
    train: Callable[[str], ModelPointer],
    write_params: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    proxy: Proxy,
    when: str,
) -> None:
    write_params("evaluate", promote=RULE | {"bound": 0.1})
    train("poor")
    evaluate.main(QUICK)
    best, candidate = train("right"), train("fair")
    uri = os.environ["MLFLOW_TRACKING_URI"]

    def by_hand(path: str, body: bytes) -> None:
        if path.endswith("registered-models/set-tag") and when.encode() in body:
            client.set_registered_model_alias(best.model_name, "production", best.model_version)

    with proxy(uri, by_hand) as watched:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", watched)
        evaluate.main(QUICK)
    assert registry.aliases(client, best.model_name)["production"] == best.model_version
    tags = client.get_run(candidate.run_id).data.tags
    assert (tags["promotion.promoted"], tags["promotion.production_version"]) == ("false", best.model_version)


def test_metrics_and_matrix_go_to_files_and_to_the_run_of_train(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("fair")
    evaluate.main(QUICK)

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


def test_it_ends_a_training_that_was_killed_long_ago(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    experiment = client.get_run(train("fair").run_id).info.experiment_id
    died = str(int(time.time()) - life.SILENT_S - 10)
    killed, at_work = (client.create_run(experiment, tags={life.ALIVE_AT: at}) for at in (died, life.now()))
    evaluate.main(QUICK)
    assert client.get_run(killed.info.run_id).info.status == "FAILED"
    assert client.get_run(at_work.info.run_id).info.status == "RUNNING"


def test_the_version_in_production_is_not_its_own_rival(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("right")
    evaluate.main(QUICK)
    evaluate.main(QUICK)
    assert registry.aliases(client, pointer.model_name)["production"] == pointer.model_version
    assert "already" in client.get_run(pointer.run_id).data.tags["promotion.reason"]


def test_a_candidate_that_is_gone_is_told_in_one_line(
    client: MlflowClient, train: Callable[[str], ModelPointer], write_params: Callable[..., None]
) -> None:
    write_params("evaluate")
    pointer = train("right")
    client.delete_model_version(pointer.model_name, pointer.model_version)
    with pytest.raises(StageError, match="train again") as error:
        evaluate.main(QUICK)
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
        evaluate.main(QUICK)
    assert pointer.run_id in str(error.value)
    assert not evaluate.METRICS.exists()
    assert registry.aliases(client, pointer.model_name) == {}


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (RULE | {"metric": "auc"}, "promote.metric"),
        (RULE | {"bound": "high"}, "promote.bound"),
        (RULE | {"margin": -0.1}, "promote.margin"),
        ({key: value for key, value in RULE.items() if key != "margin"}, "promote.margin"),
        (RULE | {"minimum": 0.8}, "promote.minimum"),
        (RULE | {"direction": "up"}, "promote.direction"),
        (RULE | {"direction": "lower"}, "better higher"),
        (RULE | {"class_floor": {"metric": "recall", "minimum": 2}}, "promote.class_floor.minimum"),
    ],
    ids=str,
)
def test_a_bad_rule_is_refused_by_name(write_params: Callable[..., None], rule: dict[str, object], named: str) -> None:
    write_params("evaluate", promote=rule)
    with pytest.raises(StageError, match=named):
        evaluate.main(QUICK)


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
