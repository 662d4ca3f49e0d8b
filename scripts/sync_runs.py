"""Copy runs from one MLflow server to another: each once, whatever ended an earlier attempt."""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlflow_rest import NOT_FOUND, PAGE, PAUSES_S, Json, RefusedError, Server, ServerError, proxied

# On a copy: which run it is of, and what of that run it holds.
FROM, STATE = "synced_from", "synced_state"
ORIGIN = "sync_origin"
ENDED = ("FINISHED", "FAILED", "KILLED")
# What every server takes in one request.
PARAMS_AT_ONCE, TAGS_AT_ONCE, METRICS_AT_ONCE = 100, 100, 1000
# A training's sign of life, and how long one that is alive gives none: the rule of stages/tracking/life.py.
ALIVE_AT, SILENT_S = "alive_at", 300
SPOOL_BYTES = 8 << 20
MISSING = ("RESOURCE_DOES_NOT_EXIST", "404", str(NOT_FOUND))


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """What became of a run; ``words`` is empty where nothing was left to do."""

    run_id: str
    artifact_uri: str
    words: str
    deleted: bool = False


def origin(source: Server) -> str:
    """Give the name of a server's data, made up when they have none: it stays with them wherever they move."""
    experiment = source.get("experiments/get", experiment_id="0")["experiment"]
    for tag in experiment.get("tags", []):
        if tag["key"] == ORIGIN:
            return str(tag["value"])
    made = hashlib.sha256(f"{time.time_ns()} {source.uri}".encode()).hexdigest()[:16]
    source.post("experiments/set-experiment-tag", {"experiment_id": "0", "key": ORIGIN, "value": made})
    return made


def runs(source: Server) -> Iterator[tuple[str, Json]]:
    """Give every run that is not a copy itself, with its experiment's name, in order of creation."""
    found = []
    for experiment in source.pages("experiments/search", "experiments", max_results=PAGE):
        body = {"experiment_ids": [experiment["experiment_id"]], "max_results": PAGE}
        found += [(experiment["name"], run) for run in source.pages("runs/search", "runs", body)]
    for name, run in sorted(found, key=lambda entry: (int(entry[1]["info"]["start_time"]), entry[1]["info"]["run_id"])):
        if FROM not in tags_of(run):
            yield name, run


def tags_of(run: Json) -> dict[str, str]:
    """Give a run's tags."""
    return {tag["key"]: tag.get("value", "") for tag in run["data"].get("tags", [])}


def has_ended(source: Server, run: Json) -> bool:
    """Say whether a run is over; one whose training was killed long ago is ended, in ``run`` too."""
    info, said = run["info"], tags_of(run).get(ALIVE_AT, "")
    if info["status"] not in ENDED and said.isdecimal() and time.time() - int(said) > SILENT_S:
        over = {"status": "FAILED", "end_time": int(said) * 1000}
        source.post("runs/update", {"run_id": info["run_id"], **over})
        info |= over
    return info["status"] in ENDED


class Deliverer:
    """Copies runs of a source to a target."""

    def __init__(self, source: Server, target: Server) -> None:
        """Take both; what the target has already is asked for once per experiment."""
        self._source = source
        self._target = target
        self.origin = origin(source)
        self._experiments: dict[str, tuple[str, dict[str, Json]]] = {}

    def deliver(self, experiment: str, run: Json) -> Delivered:
        """Bring a run to the target, or what an earlier copy lacks of it.

        Raises:
            RefusedError: The target does not take this run.
            ServerError: One of them is away.
        """
        experiment_id, copies = self._experiment(experiment)
        label = f"{self.origin}/{run['info']['run_id']}"
        state = state_of(run)
        copy = copies.get(label)
        if copy and copy["info"].get("lifecycle_stage") == "deleted":
            return replace(_delivered(copy, "was deleted there, and stays so"), deleted=True)
        if copy and tags_of(copy).get(STATE) == state:
            return _delivered(copy, "")
        first = copy is None
        copy = copy or self._create(experiment_id, run, label)
        copies[label] = copy
        try:
            told = self._fill(run, copy)
        except RefusedError:
            # It has a part of the run, and is not under way: it would look so for ever.
            self._target.post("runs/update", {"run_id": copy["info"]["run_id"], "status": "FAILED"})
            raise
        self._finish(run, copy, state)
        return _delivered(copy, f"{'delivered' if first else 'completed'} as {copy['info']['run_id']}: {told}")

    def _experiment(self, name: str) -> tuple[str, dict[str, Json]]:
        if name in self._experiments:
            return self._experiments[name]
        found = self._find_experiment(name)
        if found is None:
            self._target.post("experiments/create", {"name": name}, repeatable=False)
            found = self._find_experiment(name) or {}
        if found.get("lifecycle_stage") == "deleted":
            raise RefusedError("DELETED", f"experiment {name} is deleted there: restore it, or delete it for good")
        if proxied(found["artifact_location"]) is None:
            raise RefusedError(
                "ARTIFACTS",
                f"{self._target.uri} keeps artifacts of {name} at {found['artifact_location']}, which it does not "
                "hand on: start it with --serve-artifacts, or use an experiment that it made since (train.experiment)",
            )
        body = {"experiment_ids": [found["experiment_id"]], "max_results": PAGE, "run_view_type": "ALL"}
        body["filter"] = f"tags.{FROM} LIKE '{self.origin}/%'"
        copies = {tags_of(run)[FROM]: run for run in self._target.pages("runs/search", "runs", body)}
        self._experiments[name] = (found["experiment_id"], copies)
        return self._experiments[name]

    def _find_experiment(self, name: str) -> Json | None:
        try:
            found: Json = self._target.get("experiments/get-by-name", experiment_name=name)["experiment"]
        except RefusedError as error:
            if error.code not in MISSING:
                raise
            return None
        return found

    def _create(self, experiment_id: str, run: Json, label: str) -> Json:
        body = {
            "experiment_id": experiment_id,
            "start_time": int(run["info"]["start_time"]),
            "run_name": run["info"].get("run_name", ""),
            "tags": [{"key": FROM, "value": label}],
        }
        # Sent once: after a failure the next sync looks for it first.
        made: Json = self._target.post("runs/create", body, repeatable=False)["run"]
        return made

    def _fill(self, run: Json, copy: Json) -> str:
        data, run_id, to = run["data"], run["info"]["run_id"], copy["info"]["run_id"]
        params = data.get("params", [])
        tags = [{"key": key, "value": value} for key, value in tags_of(run).items()]
        for kind, values, at_once in (("params", params, PARAMS_AT_ONCE), ("tags", tags, TAGS_AT_ONCE)):
            for first in range(0, len(values), at_once):
                self._target.post("runs/log-batch", {"run_id": to, kind: values[first : first + at_once]})
        keys = [metric["key"] for metric in data.get("metrics", [])]
        points = [point for key in keys for point in _points(self._source, run_id, key)]
        self._metrics(points, to)
        datasets = self._inputs(run, copy)
        files = self._artifacts(run, copy)
        counted = {
            "params": len(params),
            "metrics": len(keys),
            "values of metrics": len(points),
            "tags": len(tags),
        }
        return f"{', '.join(f'{number} {name}' for name, number in counted.items())}, {datasets}, {files} files"

    def _metrics(self, points: list[Json], to: str) -> None:
        """Log the values that are not there yet: 2.7 refuses a batch with one that is, so none is sent twice."""
        for pause_s in PAUSES_S:
            time.sleep(pause_s)
            there = self._target.get("runs/get", run_id=to)["run"]["data"].get("metrics", [])
            known = {_key(point) for metric in there for point in _points(self._target, to, metric["key"])}
            missing = [point for point in points if _key(point) not in known]
            try:
                for first in range(0, len(missing), METRICS_AT_ONCE):
                    batch = {"run_id": to, "metrics": missing[first : first + METRICS_AT_ONCE]}
                    self._target.post("runs/log-batch", batch, repeatable=False)
            except ServerError as error:
                problem = error
            else:
                return
        raise problem

    def _inputs(self, run: Json, copy: Json) -> str:
        inputs = run.get("inputs", {}).get("dataset_inputs", [])
        there = {_identity(data) for data in copy.get("inputs", {}).get("dataset_inputs", [])}
        missing = [data for data in inputs if _identity(data) not in there]
        if missing:
            try:
                self._target.post("runs/log-inputs", {"run_id": copy["info"]["run_id"], "datasets": missing})
            except RefusedError as error:
                if error.code not in {"404", "ENDPOINT_NOT_FOUND"}:
                    raise
                return f"without its {len(inputs)} datasets, which this server does not know"
        return f"{len(inputs)} datasets"

    def _artifacts(self, run: Json, copy: Json) -> int:
        there = dict(files(self._target, copy["info"]["run_id"]))
        number = 0
        for path, size in files(self._source, run["info"]["run_id"]):
            number += 1
            if there.get(path) == size:
                continue
            with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
                self._source.download(run["info"]["artifact_uri"], path, file)
                self._target.upload(copy["info"]["artifact_uri"], path, file)
        return number

    def _finish(self, run: Json, copy: Json, state: str) -> None:
        info = run["info"]
        body = {"run_id": copy["info"]["run_id"], "status": info["status"], "run_name": info.get("run_name", "")}
        if "end_time" in info:
            body["end_time"] = int(info["end_time"])
        self._target.post("runs/update", body)
        # Last: where it stands, nothing is missing.
        self._target.post("runs/set-tag", {"run_id": copy["info"]["run_id"], "key": STATE, "value": state})


def state_of(run: Json) -> str:
    """Name what a run holds: another name when something was logged to it since."""
    data = run["data"]
    held = [run["info"]["status"], run.get("inputs", {})] + [
        sorted(data.get(kind, []), key=lambda entry: str(entry["key"])) for kind in ("params", "metrics", "tags")
    ]
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]


def files(server: Server, run_id: str, folder: str = "") -> Iterator[tuple[str, int]]:
    """Give each artifact of a run: its path and its size in bytes."""
    where: Json = {"path": folder} if folder else {}
    for entry in server.pages("artifacts/list", "files", run_id=run_id, **where):
        if entry.get("is_dir"):
            yield from files(server, run_id, entry["path"])
        else:
            yield entry["path"], int(entry.get("file_size", -1))


def _points(server: Server, run_id: str, key: str) -> list[Json]:
    """Give every value a metric ever had, in the form that all servers take."""
    history = server.pages("metrics/get-history", "metrics", run_id=run_id, metric_key=key)
    return [
        {
            "key": key,
            "value": point["value"],
            "timestamp": int(point["timestamp"]),
            "step": int(point.get("step", 0)),
        }
        for point in history
    ]


def _key(point: Json) -> tuple[str, str, int, int]:
    return point["key"], str(point["value"]), point["timestamp"], point["step"]


def _identity(data: Json) -> tuple[str, str, str]:
    return data["dataset"]["name"], data["dataset"]["digest"], json.dumps(data.get("tags", []), sort_keys=True)


def _delivered(copy: Json, words: str) -> Delivered:
    return Delivered(run_id=copy["info"]["run_id"], artifact_uri=copy["info"]["artifact_uri"], words=words)
