import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import skops.io
import tracking
from contract import StageError
from mlflow import MlflowClient
from mlflow.entities import Run
from registry import ModelError, ModelPointer, aliases, load, read_pointer, register
from sklearn.ensemble import RandomForestClassifier

SAMPLES = pd.DataFrame({"x": [0.0, 0.1, 0.9, 1.0], "y": [1.0, 2.0, 3.0, 4.0]})
LABELS = ["a", "a", "b", "b"]


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[MlflowClient]:  # noqa: ARG001
    with tracking.connect() as client:
        yield client


@pytest.fixture
def run(client: MlflowClient, unique: str) -> Iterator[Run]:
    with tracking.training_run(client, unique) as run:
        yield run


@pytest.fixture
def forest() -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=5, random_state=0).fit(SAMPLES, LABELS)


def test_a_version_comes_out_of_the_registry_as_it_went_in(
    client: MlflowClient, run: Run, forest: RandomForestClassifier, unique: str
) -> None:
    pointer = register(client, run, forest, SAMPLES, unique)
    assert pointer == ModelPointer(
        model_name=unique, model_version="1", model_uri=f"models:/{unique}/1", run_id=run.info.run_id
    )
    assert client.get_model_version(unique, "1").run_id == run.info.run_id
    loaded = load(client, unique, "1")
    assert loaded.predict_proba(SAMPLES).tolist() == forest.predict_proba(SAMPLES).tolist()
    assert aliases(client, unique) == {}


def test_the_next_model_is_the_next_version(client: MlflowClient, forest: RandomForestClassifier, unique: str) -> None:
    pointers = []
    for _ in range(2):
        with tracking.training_run(client, unique) as run:
            pointers.append(register(client, run, forest, SAMPLES, unique))
    assert [pointer.model_version for pointer in pointers] == ["1", "2"]


ANYBODY = """
import json, sys, mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
samples = pandas.DataFrame({"x": [0.0, 1.0], "y": [1.0, 4.0]})
columns = model.metadata.signature.inputs.input_names()
print(json.dumps([list(model.predict(samples)), columns, len(model.input_example), model.metadata.run_id]))
"""


def test_anybody_can_load_it_by_its_alias_with_signature_and_example(
    client: MlflowClient, run: Run, forest: RandomForestClassifier, unique: str
) -> None:
    register(client, run, forest, SAMPLES, unique)
    client.set_registered_model_alias(unique, "production", "1")
    command = [sys.executable, "-c", ANYBODY, f"models:/{unique}@production"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    assert json.loads(done.stdout.splitlines()[-1]) == [["a", "b"], ["x", "y"], 3, run.info.run_id]
    assert aliases(client, unique) == {"production": "1"}


def stored(client: MlflowClient, run: Run, name: str, file: Path | None) -> None:
    """Make a version whose model folder holds that file."""
    if file:
        client.log_artifact(run.info.run_id, str(file), "model")
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)


def pickled(folder: Path) -> Path:
    (folder / "model.pkl").write_bytes(b"")
    return folder / "model.pkl"


def damaged(folder: Path) -> Path:
    (folder / "model.skops").write_bytes(b"PK")
    return folder / "model.skops"


def dangerous(folder: Path) -> Path:
    """A file that would have its reader call a function of our choice."""
    skops.io.dump({"run": os.system}, folder / "model.skops")
    return folder / "model.skops"


@pytest.mark.parametrize(
    ("file", "named"),
    [
        pytest.param(lambda _: None, "model.skops", id="no file"),
        pytest.param(pickled, "model.skops", id="a pickle"),
        pytest.param(damaged, "does not load", id="damaged"),
        pytest.param(dangerous, "posix.system", id="dangerous"),
    ],
)
def test_what_is_not_safe_to_load_is_not_loaded(
    client: MlflowClient, run: Run, unique: str, tmp_path: Path, file: Callable[[Path], Path | None], named: str
) -> None:
    stored(client, run, unique, file(tmp_path))
    with pytest.raises(ModelError, match=named) as error:
        load(client, unique, "1")
    assert "\n" not in str(error.value)
    assert unique in str(error.value)


def test_a_version_that_is_gone_is_told_so(client: MlflowClient, run: Run, unique: str) -> None:
    stored(client, run, unique, None)
    for name, version in ((unique, "2"), (f"{unique}-other", "1")):
        with pytest.raises(ModelError, match=f"{name} has no version {version}"):
            load(client, name, version)


GOOD = {"model_name": "m", "model_version": "1", "model_uri": "models:/m/1", "run_id": "r"}


def test_a_pointer_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(GOOD))
    assert read_pointer(tmp_path / "p.json") == ModelPointer(**GOOD)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param(None, "run train", id="no file"),
        pytest.param("{", "run train", id="not JSON"),
        pytest.param("[]", "p.json", id="a list"),
        pytest.param(json.dumps(GOOD | {"model_version": 1}), "model_version", id="a number for text"),
        pytest.param(json.dumps({"model_name": "m"}), "run_id", id="keys missing"),
    ],
)
def test_a_bad_pointer_is_named_in_one_line(tmp_path: Path, content: str | None, named: str) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StageError, match=named) as error:
        read_pointer(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
