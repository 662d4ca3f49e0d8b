"""Put models into MLflow's registry and take them out again, in a format that runs no code when it is loaded."""

import json
import logging
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import mlflow.sklearn
import pandas as pd
import skops.io
from contract import Checked, StageError, check, one_line
from mlflow import MlflowClient, artifacts
from mlflow.entities import Run
from mlflow.models import Model, infer_signature
from preflight import require_filled
from sklearn.base import ClassifierMixin
from tracking import create_once, or_none, patient, registered_model

MODEL_FOLDER = "model"
MODEL_FILE = "model.skops"
# No type of these, nor of those skops trusts by itself, runs code of the file. A forged tree may crash its process.
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
TRUSTED_TAG = "trusted_pickle"
log = logging.getLogger("tracking")
PACKAGES = ("mlflow-skinny", "numpy", "pandas", "scikit-learn", "scipy", "skops")


class ModelError(StageError):
    """A version that cannot be loaded, or not safely; ``state`` says in a word what it is."""

    state = "unloadable"


class GoneError(ModelError):
    """A version that is not there any more."""

    state = "gone"


class ColumnsError(ModelError):
    """A model that was fitted on other columns."""

    state = "other_columns"


class ModelPointer(Checked):
    """Where the registry has a model: what train hands to evaluate."""

    model_name: str
    model_version: str
    model_uri: str
    run_id: str


def read_pointer(path: Path) -> ModelPointer:
    """Read the pointer that train left.

    Raises:
        StageError: The file is missing or is no pointer.
    """
    try:
        pointer = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise StageError(f"{path}: {one_line(error)}: run train, which makes it") from error
    return check(pointer, ModelPointer, where=str(path))


def register(
    client: MlflowClient,
    run: Run,
    model: ClassifierMixin,
    samples: pd.DataFrame,
    name: str,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> ModelPointer:
    """Log the model to its run and, when it is there, make it a version in the registry.

    Args:
        client: Of the server.
        run: The run the model was fitted in.
        model: Fitted.
        samples: What it was fitted on; gives signature and input example.
        name: Of the registered model, which is made if it is not there.
        tags: Of the version, from its first moment on.
    """
    run_id = run.info.run_id
    with TemporaryDirectory() as folder:
        path = f"{folder}/{MODEL_FOLDER}"
        mlflow.sklearn.save_model(
            model,
            path,
            mlflow_model=Model(artifact_path=MODEL_FOLDER, run_id=run_id),
            signature=infer_signature(samples, pd.Series(model.predict(samples), dtype="str")),
            input_example=samples.head(3),
            pip_requirements=[f"{name}=={installed(name)}" for name in PACKAGES],  # else MLflow infers them, in 5 s
            serialization_format="skops",
            skops_trusted_types=TRUSTED_TYPES,
        )
        with patient():
            client.log_artifacts(run_id, path, MODEL_FOLDER)
    source = f"{run.info.artifact_uri}/{MODEL_FOLDER}"
    made = create_once(
        lambda: client.create_registered_model(name),
        look=lambda: or_none(lambda: client.get_registered_model(name)),
    )
    require_filled(made.name, "registered-models/create")
    version = create_once(
        # Its files are there: there is nothing to wait for, which the client would do for minutes.
        lambda: client.create_model_version(name, source, run_id, tags=dict(tags), await_creation_for=0),
        look=lambda: next(iter(client.search_model_versions(f"run_id = '{run_id}'")), None),
    ).version
    require_filled(version, "model-versions/create")
    uri = f"models:/{name}/{version}"
    return ModelPointer(model_name=name, model_version=str(version), model_uri=uri, run_id=run_id)


def require_same(client: MlflowClient, pointer: ModelPointer) -> None:
    """See that the registry's version is the one that train registered, not another server's of the same number.

    Raises:
        ModelError: It is not there, or comes from another run.
    """
    found = or_none(lambda: client.get_model_version(pointer.model_name, pointer.model_version))
    if found is None:
        raise GoneError(f"{pointer.model_name} has no version {pointer.model_version} in the registry")
    require_filled(found.name, "model-versions/get")
    if found.run_id != pointer.run_id:
        raise ModelError(f"it is of run {found.run_id} here, and train's was {pointer.run_id}: this is another server")


def load(client: MlflowClient, name: str, version: str, *, trust_pickle: bool = False) -> ClassifierMixin:
    """Load a version's model without running code out of its file.

    Args:
        client: Of the server.
        name: Of the registered model.
        version: Of it.
        trust_pickle: Load what is in no such format by MLflow, which runs whatever code the file holds.

    Raises:
        ModelError: There is no such version or no skops file, or it is damaged or holds types that we do not trust.
    """
    uri = or_none(lambda: client.get_model_version_download_uri(name, version))
    if uri is None:
        raise GoneError(f"{name} has no version {version} in the registry")
    require_filled(uri, "model-versions/get-download-uri")
    files = {Path(file.path).name for file in artifacts.list_artifacts(uri) or ()}
    if MODEL_FILE not in files:
        if trust_pickle and files:
            return _load_trusted(client, name, version, uri)
        raise ModelError(
            f"{name} version {version} has no {MODEL_FILE} at {uri}, and other formats run code as they load: "
            "train it again, or trust whoever can write there with evaluate.trust_pickle: true in params.yaml"
        )
    with TemporaryDirectory() as folder:
        with patient():
            file = artifacts.download_artifacts(f"{uri}/{MODEL_FILE}", dst_path=folder)
        try:
            return skops.io.load(file, trusted=TRUSTED_TYPES)
        except Exception as error:
            raise ModelError(f"{name} version {version} does not load: {one_line(error)}") from error


def _load_trusted(client: MlflowClient, name: str, version: str, uri: str) -> ClassifierMixin:
    log.warning("%s version %s is loaded by MLflow, which runs what code its file holds (trust_pickle)", name, version)
    client.set_model_version_tag(name, version, TRUSTED_TAG, "true")
    with TemporaryDirectory() as folder:
        path = artifacts.download_artifacts(uri, dst_path=folder)
        try:
            return mlflow.sklearn.load_model(path)
        except Exception as error:
            raise ModelError(f"{name} version {version} does not load: {one_line(error)}") from error


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Give the version each alias of a registered model stands for; on old servers the version may be gone."""
    return {alias: str(version) for alias, version in registered_model(client, name).aliases.items()}
