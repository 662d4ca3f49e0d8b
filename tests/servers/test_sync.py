"""``make sync``: what was recorded on this machine reaches the server that is configured, whole, in order, once."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.servers.conftest import Fronts, Place
from tests.support.cases import cases
from tests.support.mlflow_servers import NEWEST, OLDEST, mlflow_server
from tests.support.projects import Finished, Project
from tests.support.servers import BLANK, Told, forwarding

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from mlflow_rest import RefusedError, Server  # noqa: E402
from sync_runs import FROM, STATE, files  # noqa: E402

PAIRS = [pytest.param(OLDEST, NEWEST, id="old to new"), pytest.param(NEWEST, OLDEST, id="new to old")]
FILES = {
    "a.txt": b"a",
    "plots/ä b+c.svg": b"<svg/>",
    "model/MLmodel": b"x: 1",
    "deep/er/empty": b"",
    "big": b"b" * 9**6,
}
MUTATION = ("POST", "PUT")
OWN = {"archived": "2026-01-02T03:04:05.678Z", "trusted_pickle": "true"}


@pytest.fixture(scope="session")
def clone(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the project makes sync needs."""
    del surroundings
    root = tmp_path_factory.mktemp("clone")
    for folder in ("scripts", "tracking-server", ".dvc"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    shutil.copy2(ROOT / ".env.example", root)
    return root


def command(clone: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(clone / "scripts" / "sync.py"), *arguments]


def sync(clone: Path, source: str, settings: dict[str, str], code: int = 0) -> str:
    done = subprocess.run(
        command(clone, "--from", source), env=os.environ | settings, capture_output=True, text=True, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr).ended(code).text


def a_server(place: Place) -> Server:
    return Server(place.settings)


def record(server: Server, experiment: str, model: str | None = None, started: int = 1_700_000_000_000) -> str:
    """Leave a run with all that a run can hold; give its id."""
    try:
        where = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
    except RefusedError:
        where = server.post("experiments/create", {"name": experiment})["experiment_id"]
    tags = [{"key": "mlflow.user", "value": "ada"}, {"key": "note", "value": "ünïcode\nof two lines"}]
    body = {"experiment_id": where, "start_time": started, "run_name": "a name", "tags": tags}
    run = server.post("runs/create", body)["run"]["info"]
    run_id = run["run_id"]
    points = [
        {"key": "loss", "value": 1 / (step + 1), "timestamp": started + step, "step": step} for step in range(1500)
    ]
    points += [{"key": "loss", "value": 7.0, "timestamp": started, "step": 3}]
    points += [{"key": "bad", "value": "NaN", "timestamp": started, "step": 0}]
    for first in range(0, len(points), 1000):
        server.post("runs/log-batch", {"run_id": run_id, "metrics": points[first : first + 1000]})
    params = [{"key": f"p{number}", "value": str(number)} for number in range(130)]
    for first in range(0, len(params), 100):
        server.post("runs/log-batch", {"run_id": run_id, "params": params[first : first + 100]})
    dataset = {
        "name": "train",
        "digest": "0123",
        "source_type": "local",
        "source": "{}",
        "schema": "{}",
        "profile": "{}",
    }
    tag = {"key": "mlflow.data.context", "value": "training"}
    server.post("runs/log-inputs", {"run_id": run_id, "datasets": [{"tags": [tag], "dataset": dataset}]})
    for path, content in FILES.items():
        server.upload(run["artifact_uri"], path, io.BytesIO(content))
    server.post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": started + 5000})
    if model:
        with_model(server, run, model)
    return str(run_id)


def with_model(server: Server, run: dict[str, Any], model: str) -> None:
    with contextlib.suppress(RefusedError):  # it is there
        server.post("registered-models/create", {"name": model})
    tags = {"lineage.git_commit": "0123", "note": "ünïcode\nof two lines", **OWN}
    body = {
        "name": model,
        "source": f"{run['artifact_uri']}/model",
        "run_id": run["run_id"],
        "description": "why",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    version = server.post("model-versions/create", body)["model_version"]["version"]
    server.post("registered-models/alias", {"name": model, "alias": "production", "version": version})


def held(server: Server, experiment: str, copy_of: str = "") -> list[dict[str, Any]]:
    """Give all that an experiment holds, or copies of one run, without what differs from server to server."""
    where = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
    body = {"experiment_ids": [where], "order_by": ["attributes.start_time ASC"], "max_results": 100}
    found = [
        run
        for run in server.pages("runs/search", "runs", body)
        if not copy_of or any(tag["key"] == FROM and copy_of in tag["value"] for tag in run["data"]["tags"])
    ]
    return [whole(server, run) for run in found]


def whole(server: Server, run: dict[str, Any]) -> dict[str, Any]:
    info, data = run["info"], run["data"]
    artifacts = {}
    for path, _ in files(server, info["run_id"]):
        server.download(info["artifact_uri"], path, content := io.BytesIO())
        artifacts[path] = content.getvalue()
    histories = {
        metric["key"]: sorted(
            (point["step"], point["timestamp"], str(point["value"]))
            for point in server.pages("metrics/get-history", "metrics", run_id=info["run_id"], metric_key=metric["key"])
        )
        for metric in data.get("metrics", [])
    }
    versions = server.pages("model-versions/search", "model_versions", filter=f"run_id = '{info['run_id']}'")
    return {
        "info": {key: info.get(key) for key in ("status", "start_time", "end_time", "run_name")},
        "params": {entry["key"]: entry["value"] for entry in data.get("params", [])},
        "tags": {entry["key"]: entry["value"] for entry in data["tags"] if entry["key"] not in {FROM, STATE}},
        "metrics": histories,
        "inputs": [(entry["dataset"], entry["tags"]) for entry in run.get("inputs", {}).get("dataset_inputs", [])],
        "artifacts": artifacts,
        "versions": [
            (
                found["name"],
                found["source"].removeprefix(info["artifact_uri"]),
                {tag["key"]: tag["value"] for tag in found.get("tags", []) if tag["key"] not in {FROM, *OWN}},
            )
            for found in versions
        ],
    }


def numbers(server: Server, model: str) -> list[str]:
    found = server.pages("model-versions/search", "model_versions", filter=f"name = '{model}'")
    return sorted(version["version"] for version in found)


def tags_of(server: Server, model: str, number: str) -> dict[str, str]:
    found = server.get("model-versions/get", name=model, version=number)["model_version"]
    return {tag["key"]: tag["value"] for tag in found["tags"]}


@pytest.fixture
def unique() -> str:
    return f"test {uuid4().hex}"


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_all_of_it_arrives_once(clone: Path, serve: Callable[[str], Fronts], old: str, new: str, unique: str) -> None:
    source, place = a_server(serve(old).place("as it is")), serve(new).place("below a path")
    target = a_server(place)
    record(target, f"{unique} of others", unique)  # so that numbers differ, and an alias stands somewhere
    for second in (2, 1):
        record(source, unique, unique, started=1_700_000_000_000 + second * 10_000)

    told = sync(clone, source.uri, place.settings)
    assert held(target, unique) == held(source, unique)
    assert [len(run["versions"]) for run in held(target, unique)] == [1, 1]
    delivered = [tags_of(target, unique, number) for number in ("2", "3")]
    assert [tags.keys() for tags in delivered] == [{FROM, "lineage.git_commit", "note"}] * 2
    assert len(held(target, unique)[0]["metrics"]["loss"]) == 1501
    assert held(target, unique)[0]["artifacts"] == FILES
    assert numbers(target, unique) == ["1", "2", "3"]
    assert target.get("registered-models/alias", name=unique, alias="production")["model_version"]["version"] == "1"
    for line in (f"{unique} version 1: delivered as version 2", "130 params", "1501 values", f"{len(FILES)} files"):
        assert line.replace("1501", "1502") in told

    assert unique not in sync(clone, source.uri, place.settings)
    assert numbers(target, unique) == ["1", "2", "3"]


def test_what_was_logged_since_is_delivered_too(clone: Path, serve: Callable[[str], Fronts], unique: str) -> None:
    source, place = a_server(serve(NEWEST).place("as it is")), serve(OLDEST).place("as it is")
    run_id = record(source, unique)
    sync(clone, source.uri, place.settings)
    late = {"key": "macro_f1", "value": 0.5, "timestamp": 1_700_000_000_001, "step": 0}
    source.post("runs/log-batch", {"run_id": run_id, "metrics": [late]})
    assert "completed as" in sync(clone, source.uri, place.settings)
    assert held(a_server(place), unique) == held(source, unique)


def test_a_run_under_way_is_left_and_a_dead_one_is_ended(
    clone: Path, serve: Callable[[str], Fronts], unique: str
) -> None:
    source, place = a_server(serve(NEWEST).place("as it is")), serve(OLDEST).place("as it is")
    run_id = record(source, unique)
    source.post("runs/update", {"run_id": run_id, "status": "RUNNING"})
    assert f"{run_id}: RUNNING, left for later" in sync(clone, source.uri, place.settings)
    silent_s = int(re.findall(r"(?m)^SILENT_S = (\d+)$", (ROOT / "stages/tracking/life.py").read_text())[0])
    for silent, is_left in ((silent_s - 60, True), (silent_s + 10, False)):
        died = int(time.time()) - silent
        source.post("runs/set-tag", {"run_id": run_id, "key": "alive_at", "value": str(died)})
        assert (f"{run_id}: RUNNING, left for later" in sync(clone, source.uri, place.settings)) is is_left
    [run] = held(a_server(place), unique)
    assert (run["info"]["status"], run["info"]["end_time"]) == ("FAILED", died * 1000)


def test_a_copy_that_was_deleted_stays_so(clone: Path, serve: Callable[[str], Fronts], unique: str) -> None:
    source, place = a_server(serve(NEWEST).place("as it is")), serve(OLDEST).place("as it is")
    record(source, unique, unique)
    sync(clone, source.uri, place.settings)
    target = a_server(place)
    where = target.get("experiments/get-by-name", experiment_name=unique)["experiment"]["experiment_id"]
    [copy] = target.pages("runs/search", "runs", {"experiment_ids": [where]})
    target.post("runs/delete", {"run_id": copy["info"]["run_id"]})
    assert "was deleted there" in sync(clone, source.uri, place.settings)
    assert held(target, unique) == []
    assert numbers(target, unique) == ["1"]


def test_what_the_target_refuses_is_told_and_the_rest_is_delivered(
    clone: Path, serve: Callable[[str], Fronts], unique: str
) -> None:
    source, place = a_server(serve(NEWEST).place("as it is")), serve(OLDEST).place("as it is")
    refused, other = (record(source, unique, started=1_700_000_000_000 + second) for second in (1, 2))
    source.post("runs/set-tag", {"run_id": refused, "key": "long", "value": "x" * 7000})  # 2.7 takes 5000
    told = sync(clone, source.uri, place.settings, code=1)
    assert f"{refused}: not delivered: INVALID_PARAMETER_VALUE" in told
    assert f"{other} (FINISHED): delivered" in told
    assert [run["info"]["status"] for run in held(a_server(place), unique)] == ["FAILED", "FINISHED"]
    source.post("runs/set-tag", {"run_id": refused, "key": "long", "value": "x"})
    sync(clone, source.uri, place.settings)
    assert held(a_server(place), unique) == held(source, unique)


def test_a_copy_is_not_copied_back(clone: Path, serve: Callable[[str], Fronts], unique: str) -> None:
    one, other = serve(OLDEST).place("as it is"), serve(NEWEST).place("as it is")
    record(a_server(one), unique)
    sync(clone, one.uri, other.settings)
    sync(clone, other.uri, one.settings)
    assert len(held(a_server(one), unique)) == 1


def kill_at(  # noqa: PLR0913, PLR0917
    process: list["subprocess.Popen[bytes]"],
    numbers: Iterator[int],
    at: int,
    kills_when: str,
    method: str,
    path: str,
    when: str,
) -> None:
    if when == kills_when and method in MUTATION and not path.endswith("/search") and next(numbers) == at:
        process[0].send_signal(signal.SIGKILL)
        process[0].wait()


@cases(
    "old, new, kills_when",
    {
        "old to new, before it is answered": (OLDEST, NEWEST, "answered"),
        "new to old, before it arrives": (NEWEST, OLDEST, "asked"),
    },
)
def test_killed_at_every_request_it_delivers_the_rest_and_doubles_nothing(
    clone: Path, serve: Callable[[str], Fronts], old: str, new: str, unique: str, *, kills_when: str
) -> None:
    source, target = serve(old).place("as it is"), serve(new).place("as it is")
    for second in (1, 2):
        record(a_server(source), unique, unique, started=1_700_000_000_000 + second * 10_000)
    kills = 0
    for at in range(1, 100):
        process: list[subprocess.Popen[bytes]] = []
        seen = partial(kill_at, process, iter(range(1, 10**6)), at, kills_when)
        with forwarding(target.uri, seen) as uri:
            words = command(clone, "--from", source.uri)
            process.append(
                subprocess.Popen(words, env=os.environ | {"MLFLOW_TRACKING_URI": uri}, stdout=subprocess.PIPE)
            )
            process[0].communicate()
            if process[0].returncode == 0:
                break
            kills += 1
    assert kills > 5
    assert held(a_server(target), unique) == held(a_server(source), unique)
    assert len(held(a_server(target), unique)) == 2
    assert numbers(a_server(target), unique) == ["1", "2"]


@pytest.mark.parametrize("status", [500, 503, 0], ids=["500", "503", "hung up on"])
def test_a_target_that_stumbles_gets_all_of_it_once(
    clone: Path, serve: Callable[[str], Fronts], unique: str, status: int
) -> None:
    source, target = serve(NEWEST).place("as it is"), serve(OLDEST).place("as it is")
    record(a_server(source), unique, unique)
    requests = iter(range(1, 10**6))

    def seen(method: str, path: str, when: str) -> int | None:
        creates = path.endswith("/create")
        return status if when == "answered" and method in MUTATION and not creates and next(requests) % 3 == 0 else None

    with forwarding(target.uri, seen) as uri:
        sync(clone, source.uri, {"MLFLOW_TRACKING_URI": uri})
    assert held(a_server(target), unique) == held(a_server(source), unique)


@pytest.mark.parametrize("answer", [500, 0, BLANK], ids=["500", "gone", "{}"])
def test_a_target_that_dies_in_the_middle_is_told_and_gets_the_rest_later(
    clone: Path, serve: Callable[[str], Fronts], unique: str, answer: int | Told
) -> None:
    source, target = serve(NEWEST).place("as it is"), serve(OLDEST).place("as it is")
    record(a_server(source), unique, unique)
    dead = [False]

    def seen(method: str, path: str, when: str) -> int | Told | None:
        del when
        dead[0] = dead[0] or (method == "PUT" and "/MLmodel" in path)
        return answer if dead[0] else None

    with forwarding(target.uri, seen) as uri:
        began = time.monotonic()
        told = sync(clone, source.uri, {"MLFLOW_TRACKING_URI": uri}, code=1)
        assert time.monotonic() - began < 30
        assert uri in told
        assert "make sync again" in told
    sync(clone, source.uri, target.settings)
    assert held(a_server(target), unique) == held(a_server(source), unique)


def test_artifacts_that_the_target_does_not_hand_on_are_refused(
    clone: Path, serve: Callable[[str], Fronts], unique: str, tmp_path: Path
) -> None:
    source = serve(NEWEST).place("as it is")
    record(a_server(source), unique)
    with mlflow_server(OLDEST, tmp_path / "server", artifact_root=str(tmp_path / "artifacts")) as target:
        told = sync(clone, source.uri, {"MLFLOW_TRACKING_URI": target.uri}, code=1)
        found = list(
            Server({"MLFLOW_TRACKING_URI": target.uri}).pages("runs/search", "runs", {"experiment_ids": ["1"]})
        )
    assert "--serve-artifacts" in told
    assert str(tmp_path / "artifacts") in told
    assert found == []


@cases(
    "settings, told",
    {
        "a wrong password": ({"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "wr0ng"}, ["401", "ada"]),
        "no user": ({}, ["401", "MLFLOW_TRACKING_USERNAME"]),
        "nothing there": ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, ["http://127.0.0.1:9", "refused"]),
        "no MLflow": ({"MLFLOW_TRACKING_URI": "{front}/open/nowhere"}, ["401"]),
        "none configured": ({"MLFLOW_TRACKING_URI": ""}, ["no server to deliver to", ".env"]),
    },
)
def test_a_server_that_does_not_serve_is_told_in_two_lines(
    clone: Path, serve: Callable[[str], Fronts], settings: dict[str, str], told: list[str]
) -> None:
    place = serve(OLDEST).place("basic auth")
    given = {name: value.format(front=place.uri) for name, value in settings.items()}
    printed = sync(clone, "http://127.0.0.1:9", {"MLFLOW_TRACKING_URI": place.uri, **given}, code=3)
    assert len(printed.splitlines()) == 2
    assert [words for words in told if words not in printed] == []
    assert "wr0ng" not in printed


def test_one_sync_at_a_time(clone: Path, serve: Callable[[str], Fronts]) -> None:
    import fcntl

    (clone / ".local").mkdir(exist_ok=True)
    with (clone / ".local" / "sync.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another sync" in sync(clone, "http://127.0.0.1:9", serve(OLDEST).place("as it is").settings, code=6)


def test_offline_the_pipeline_runs_here_and_is_delivered_later(
    pipeline: Project, clone: Path, serve: Callable[[str], Fronts]
) -> None:
    place = serve(OLDEST).place("below a path")
    root = pipeline.root
    for folder in ("scripts", "tracking-server"):
        shutil.copytree(clone / folder, root / folder)
    shutil.copy2(clone / ".env.example", root)
    text = "".join(f"{name}='{value}'\n" for name, value in place.settings.items())
    (root / ".env").write_text(text.replace(place.uri, "http://127.0.0.1:9") + "TRACKING_OFFLINE=1\nMLFLOW_PORT=0\n")

    def script(name: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, str(root / "scripts" / name)],
            env=pipeline.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr).ended(code).text

    try:
        assert "make sync delivers them to http://127.0.0.1:9" in script("configure.py")
        pipeline.run("run", "--force", "--single-item", "train", "evaluate").ended(0)
        assert "127.0.0.1:9" in script("sync.py", code=3)

        (root / ".env").write_text(text + "TRACKING_OFFLINE=1\nMLFLOW_PORT=0\n")
        told = script("sync.py")
        pointer = json.loads((root / "models/model_metadata.json").read_text())
        assert pointer["run_id"] in told
        [copy] = held(a_server(place), "iris", copy_of=pointer["run_id"])
        assert copy["tags"]["lineage.git_commit"]
        assert copy["versions"]
        assert {"train", "test"} == {dataset["name"] for dataset, _ in copy["inputs"]}
        assert {"lineage.json", "model/model.skops", "evaluate/metrics.json"} <= copy["artifacts"].keys()

        # Back at the server, its copy is taken; only what goes into production is decided there.
        assert "results of earlier runs" in told
        assert "results of earlier runs" not in script("sync.py")
        (root / ".env").write_text(text)
        script("configure.py")
        pipeline.run("run", "train", "evaluate").ended(0)
        assert pipeline.outcomes()["train"] == "restored"
        assert pipeline.outcomes()["evaluate"] == "ran"
        taken = json.loads((root / "models/model_metadata.json").read_text())
        name, version = taken["model_name"], taken["model_version"]
        there = a_server(place).get("model-versions/get", name=name, version=version)["model_version"]
        run = a_server(place).get("runs/get", run_id=there["run_id"])["run"]
        assert there["run_id"] == taken["run_id"]
        assert pointer["run_id"] in next(tag["value"] for tag in run["data"]["tags"] if tag["key"] == FROM)
        assert taken["model_uri"] == f"models:/{name}/{version}"
        assert len(held(a_server(place), "iris", copy_of=pointer["run_id"])) == 1
    finally:
        stop = [sys.executable, str(root / "tracking-server" / "server.py"), "stop"]
        subprocess.run(stop, env=pipeline.env, capture_output=True, check=False)
        (root / ".env").unlink()
