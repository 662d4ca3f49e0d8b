"""Talk to MLflow: the one place that does, with calls that every server since 2.7 knows.

``mlflow.sklearn.log_model`` is not one of them: coming from a 3.x client it needs a 3.x server.
"""

import hashlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TypeVar
from uuid import uuid4

import mlflow.data
import pandas as pd
import requests
from contract import StageError
from life import ALIVE_AT, beating, end_silent, now
from mlflow import MlflowClient
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.telemetry import set_telemetry_client
from preflight import explain, require_filled, require_server, shown, watched

# By default the client retries for minutes in silence, reports home, and prints links to a URL only it may know.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

PATIENCE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
FILES_PATIENCE = "30"  # a server may store a file elsewhere before it answers
Made = TypeVar("Made")
log = logging.getLogger("tracking")


@contextmanager
def connect() -> Iterator[MlflowClient]:
    """Give a client of the configured server, which is known to answer.

    Raises:
        StageError: The server is not there, or it fails or refuses something inside the block.
    """
    uri = require_server()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    set_telemetry_client()  # reads its setting again; the first time was when mlflow was imported
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # it misses pip, which a stage does without
    try:
        with watched():
            yield MlflowClient(uri)
    except (MlflowException, requests.RequestException) as error:
        if words := explain(error):
            raise StageError(f"MLflow at {shown(uri)}: {words}".replace(uri, shown(uri))) from error
        require_server()  # the client does not always tell why: is the server still there?
        raise


@contextmanager
def training_run(client: MlflowClient, experiment: str) -> Iterator[Run]:
    """Open a run that ends FINISHED, or FAILED after an exception, SIGTERM or Ctrl-C; else ``life`` ends it later."""
    run: Run | None = None
    stopped_by: int | None = None
    ending = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopped_by, ending
        stopped_by = number
        if run and not ending:
            ending = True
            raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run = _create_run(client, experiment)
        if stopped_by:  # while the run was made, when there was nothing to end yet
            stop(stopped_by, None)
        with beating(client, run.info.run_id):
            end_silent(client, run.info.experiment_id)
            yield run
        client.set_terminated(run.info.run_id, "FINISHED")
    except BaseException:
        ending = True  # no signal disturbs it
        if run:
            _end_failed(client, run.info.run_id)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_values(
    client: MlflowClient,
    run_id: str,
    *,
    params: Mapping[str, object] = MappingProxyType({}),
    metrics: Mapping[str, float] = MappingProxyType({}),
    tags: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Log params, metrics and tags in one request; a tag's value that is no text is logged as JSON."""
    now_ms = int(time.time() * 1000)
    client.log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in params.items()],
        metrics=[Metric(key, value, now_ms, 0) for key, value in metrics.items()],
        tags=[RunTag(key, v if isinstance(v, str) else json.dumps(v)) for key, v in tags.items()],
    )


def log_dataset(
    client: MlflowClient, run_id: str, path: Path, samples: pd.DataFrame, labels: pd.Series, *, context: str
) -> None:
    """Log a table as an input of the run; its digest is the MD5 that dvc.lock has for it."""
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    table = samples.join(labels)
    source = LocalArtifactDatasetSource(str(path))
    data = mlflow.data.from_pandas(table, source=source, name=path.stem, targets=str(labels.name), digest=digest)
    entity = Dataset.from_dictionary(data.to_dict())
    client.log_inputs(run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", context)])])


def log_files(client: MlflowClient, run_id: str, paths: list[Path], *, folder: str) -> None:
    """Log files to a folder among the run's artifacts."""
    with patient():
        for path in paths:
            client.log_artifact(run_id, str(path), folder)


@contextmanager
def patient() -> Iterator[None]:
    """Wait longer for each answer inside the block: where files travel."""
    with _setting(PATIENCE, FILES_PATIENCE):
        yield


def create_once(make: Callable[[], Made], look: Callable[[], Made | None]) -> Made:
    """Make a thing once: after a failure, see whether it is there before a second try.

    MLflow's client sends a POST again after a 5xx without looking, and then there are two (2.22 to 3.17).
    """
    try:
        return _without_resending(make)
    except MlflowException:
        if (found := look()) is not None:
            return found
    time.sleep(1)
    return _without_resending(make)


def or_none(look: Callable[[], Made]) -> Made | None:
    """Give None for what the server does not have."""
    try:
        return look()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def registered_model(client: MlflowClient, name: str) -> RegisteredModel:
    """Read a registered model, with its aliases and tags."""
    found = client.get_registered_model(name)
    require_filled(found.name, "registered-models/get")
    return found


def _create_run(client: MlflowClient, experiment: str) -> Run:
    existing = create_once(
        lambda: client.create_experiment(experiment),
        look=lambda: getattr(client.get_experiment_by_name(experiment), "experiment_id", None),
    )
    require_filled(existing, "experiments/create")
    mark = uuid4().hex
    run = create_once(
        lambda: client.create_run(existing, tags={"request_id": mark, ALIVE_AT: now()}),
        look=lambda: next(iter(client.search_runs([existing], f"tags.request_id = '{mark}'")), None),
    )
    require_filled(run.info.run_id, "runs/create")
    return run


def _end_failed(client: MlflowClient, run_id: str) -> None:
    """End a run; a server that is gone is not waited for, and another training ends it when it is back."""
    try:
        require_server()
        _without_resending(lambda: client.set_terminated(run_id, "FAILED"))
        log.warning("run %s ends as FAILED", run_id)
    except (MlflowException, requests.RequestException, StageError):
        log.warning("run %s could not be ended: a training some minutes after the server is back ends it", run_id)


def _without_resending(call: Callable[[], Made]) -> Made:
    with _setting("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"):
        return call()


@contextmanager
def _setting(name: str, value: str) -> Iterator[None]:
    """Have MLflow's client, which reads the environment at each call, find another value inside the block."""
    before = os.environ[name]
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ[name] = before
