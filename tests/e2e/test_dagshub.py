"""Two clones that share data, run-cache, models and code by a stand-in for DagsHub, made of real parts."""

import contextlib
import io
import json
import re
import subprocess
import threading
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.e2e.conftest import NO_ENGINE, ROOT, Clone
from tests.support.dagshub_site import DagsHub

ALL = ("ingest", "preprocess", "train", "evaluate")
TREES = r"n_estimators: \d+"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare git repository."""
    folder = tmp_path_factory.mktemp("git") / "iris.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(folder)], check=True)
    return folder


def cloned(
    clone_factory: Callable[[str, str], Clone], name: str, remote: Path, env: dict[str, str], docker: str = NO_ENGINE
) -> Clone:
    clone = clone_factory(name, docker)
    clone.run(["git", "remote", "set-url", "origin", str(remote)])
    clone.run(["git", "fetch", "--quiet"])
    clone.run(["git", "reset", "--hard", "--quiet", "@{upstream}"])
    clone.env["DVC_RUNNER_EXECUTOR"] = "process" if docker == NO_ENGINE else "docker"
    (clone.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in env.items()))
    return clone


def set_trees(clone: Clone, number: int) -> None:
    params = clone.folder / "params.yaml"
    params.write_text(re.sub(TREES, f"n_estimators: {number}", params.read_text()))


def shows_a_credential(content: bytes, dagshub: DagsHub) -> bool:
    """Say whether the token is there, plain or as basic auth sends it."""
    basic = b64encode(f"ada:{dagshub.token}".encode())
    return dagshub.token.encode() in content or basic in content


@pytest.fixture(scope="module")
def sender(clone_factory: Callable[[str, str], Clone], dagshub: DagsHub, remote: Path) -> tuple[Clone, list[str]]:
    """A clone that connected, ran twice and pushed; and what it was told."""
    clone = cloned(clone_factory, "sender", remote, dagshub.env)
    told = [clone.make("connect-dagshub")]
    set_trees(clone, 7)
    told += [clone.make("run")]
    set_trees(clone, 9)
    told += [clone.make("run"), clone.make("push", "M=Nine trees")]
    return clone, told


@pytest.fixture(scope="module")
def receiver(
    clone_factory: Callable[[str, str], Clone], dagshub: DagsHub, remote: Path, sender: tuple[Clone, list[str]]
) -> Clone:
    """A fresh clone of what was pushed, connected, with its data pulled."""
    del sender
    clone = cloned(clone_factory, "receiver", remote, dagshub.env)
    clone.make("connect-dagshub")
    clone.make("pull")
    return clone


def test_who_sends_is_told(sender: tuple[Clone, list[str]], dagshub: DagsHub) -> None:
    clone, told = sender
    assert clone.outcomes(told[1]) == dict.fromkeys(ALL, "ran")
    assert f"{dagshub.url}/ada/iris.mlflow" in told[1]
    assert "production" in told[1]
    assert f"data and run-cache: at {dagshub.url}/ada/iris.s3" in told[3]
    assert "Nine trees" in told[3]
    assert clone.run(["git", "status", "--porcelain"]) == ""
    assert clone.run(["git", "log", "-1", "--format=%s", "origin/HEAD"]).strip() == "Nine trees"
    assert not [words for words in told if dagshub.token in words]


def test_no_credential_is_in_git_or_readable_by_others(
    sender: tuple[Clone, list[str]], remote: Path, dagshub: DagsHub
) -> None:
    clone, _ = sender
    holders = [
        path
        for path in clone.folder.rglob("*")
        if path.is_file() and ".venv" not in path.parts and shows_a_credential(path.read_bytes(), dagshub)
    ]
    assert {path.relative_to(clone.folder).as_posix() for path in holders} == {".env", ".env.auto", ".dvc/config.local"}
    assert {path.stat().st_mode & 0o777 for path in holders} == {0o600}
    assert clone.run(["git", "check-ignore", *map(str, holders)]).count("\n") == len(holders)
    for repository in (clone.folder, remote):
        # What git keeps is compressed: only git can read it.
        command = ["git", "-C", str(repository), "cat-file", "--batch-all-objects", "--batch"]
        objects = subprocess.run(command, capture_output=True, check=True).stdout
        assert b"Nine trees" in objects
        assert b"n_estimators: 9" in objects
        assert not shows_a_credential(objects, dagshub)


def artifacts(dagshub: DagsHub, run_id: str, folder: str = "") -> Iterator[tuple[str, bytes]]:
    """Give path and content of a run's artifacts, and of what is packed into them."""
    asked = urlencode({"run_id": run_id, "path": folder} if folder else {"run_id": run_id})
    for entry in json.loads(dagshub.read(f".mlflow/api/2.0/mlflow/artifacts/list?{asked}")).get("files", []):
        path = entry["path"]
        if entry["is_dir"]:
            yield from artifacts(dagshub, run_id, path)
            continue
        content = dagshub.read(f".mlflow/get-artifact?{urlencode({'path': path, 'run_uuid': run_id})}")
        yield path, content
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                yield from ((f"{path}/{name}", packed.read(name)) for name in packed.namelist())


def test_no_credential_is_in_mlflow(sender: tuple[Clone, list[str]], dagshub: DagsHub) -> None:
    del sender

    def ask(route: str, **values: object) -> bytes:
        return dagshub.read(f".mlflow/api/2.0/mlflow/{route}", json.dumps(values).encode() if values else None)

    experiments = ask("experiments/search", max_results=100)
    ids = [one["experiment_id"] for one in json.loads(experiments)["experiments"]]
    runs = ask("runs/search", experiment_ids=ids)
    found = {run["info"]["run_id"]: dict(artifacts(dagshub, run["info"]["run_id"])) for run in json.loads(runs)["runs"]}
    assert len(found) == 2
    for files in found.values():
        assert {"lineage.json", "evaluate/lineage.json", "model/model.skops/schema.json"} <= files.keys()
        assert b"schema_version" in files["lineage.json"]
    models = ask("registered-models/get?name=iris-classifier")
    versions = ask("model-versions/search?max_results=100")
    assert len(json.loads(versions)["model_versions"]) == 2
    told = {"experiments": experiments, "runs": runs, "models": models, "versions": versions}
    for named in (told, *found.values()):
        assert [name for name, content in named.items() if shows_a_credential(content, dagshub)] == []


def test_who_pulls_has_nothing_to_run(receiver: Clone, sender: tuple[Clone, list[str]]) -> None:
    assert receiver.outcomes(receiver.make("run")) == dict.fromkeys(ALL, "skipped")
    assert "up to date" in receiver.dvc("status")
    assert "in sync" in receiver.dvc("status", "--cloud")
    assert receiver.metadata() == sender[0].metadata()


def test_who_pulls_can_make_the_version_again(receiver: Clone, dagshub: DagsHub) -> None:
    version = receiver.metadata()["model_version"]
    before = dagshub.ask("GET", ".mlflow/api/2.0/mlflow/registered-models/get?name=iris-classifier")
    printed = receiver.make("reproduce", f"V={version}")
    assert "reproduced:" in printed
    compared = [line.split() for line in printed.splitlines() if line.split()[:1] in (["metric"], ["out"], ["file"])]
    assert {"accuracy", "evaluate/confusion_matrix.csv", "data/raw/iris.csv", "data/processed/train.csv"} <= {
        line[1] for line in compared
    }
    assert ["n_estimators", "9", "9"] in [line.split()[1:] for line in printed.splitlines()]
    assert dagshub.ask("GET", ".mlflow/api/2.0/mlflow/registered-models/get?name=iris-classifier") == before
    assert len(receiver.run(["git", "worktree", "list"]).splitlines()) == 1
    assert receiver.outcomes(receiver.make("run")) == dict.fromkeys(ALL, "skipped")


def test_an_earlier_run_of_the_sender_is_restored(receiver: Clone) -> None:
    set_trees(receiver, 7)
    # Its run-cache came along; the outs of runs that dvc.lock does not tell of are fetched when they are wanted.
    printed = receiver.run([str(receiver.folder / ".venv/bin/dvc-runner"), "run", "--pull", "train"])
    assert receiver.outcomes(printed)["train"] == "restored"
    receiver.run(["git", "checkout", "--quiet", "."])
    receiver.make("pull")


def test_the_local_default_comes_back(receiver: Clone) -> None:
    receiver.make("disconnect-dagshub")
    assert receiver.dvc("config", "core.remote").strip() == "local"
    assert "MLFLOW" not in (receiver.folder / ".env.auto").read_text()
    receiver.make("connect-dagshub")
    assert receiver.tracking_uri().endswith("/ada/iris.mlflow")
    assert receiver.outcomes(receiver.make("run")) == dict.fromkeys(ALL, "skipped")


def test_each_server_gets_the_model_once_and_switching_is_cheap(receiver: Clone) -> None:
    tables = dict.fromkeys(("ingest", "preprocess"), "skipped")
    trained, restored = (tables | dict.fromkeys(("train", "evaluate"), outcome) for outcome in ("ran", "restored"))
    there = receiver.metadata()
    receiver.make("disconnect-dagshub")
    planned = receiver.make("plan")
    assert f"is not at {receiver.tracking_uri()}" in planned
    assert "/ada/iris.mlflow" not in receiver.tracking_uri()
    assert receiver.outcomes(receiver.make("run")) == trained
    here = receiver.metadata()
    assert receiver.status_of(here["run_id"]) == "FINISHED"
    for switch, expected in (("connect", there), ("disconnect", here), ("connect", there)):
        receiver.make(f"{switch}-dagshub")
        assert receiver.outcomes(receiver.make("run")) == restored
        assert receiver.metadata() == expected
        assert receiver.outcomes(receiver.make("run")) == dict.fromkeys(ALL, "skipped")


@contextlib.contextmanager
def inspecting(docker_host: str) -> Iterator[list[str]]:
    """Give what `docker inspect` shows of every container that is there inside the block."""
    docker, seen, ended = ["docker", "--host", docker_host], list[str](), threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            ids = subprocess.run([*docker, "ps", "--all", "--quiet"], capture_output=True, text=True, check=True)
            for one in ids.stdout.split():
                # It may be gone.
                inspect = subprocess.run([*docker, "inspect", one], capture_output=True, text=True, check=False)
                seen.append(inspect.stdout)

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(look)
        try:
            yield seen
        finally:
            ended.set()
            looking.result()


def test_containers_deliver_to_it_and_show_no_credential(
    clone_factory: Callable[[str, str], Clone], dagshub: DagsHub, remote: Path, engine_host: str
) -> None:
    clone = cloned(clone_factory, "contained", remote, dagshub.env, engine_host)
    clone.make("connect-dagshub")
    set_trees(clone, 11)
    with inspecting(engine_host) as seen:
        printed = clone.make("run")
    outcomes = clone.outcomes(printed)
    assert (outcomes["train"], outcomes["evaluate"]) == ("ran", "ran")
    assert clone.metadata()["run_id"] in dagshub.ask("GET", f".mlflow/api/2.0/mlflow/{version_of(clone)}")
    for container in ('"Image": "dvc-runner:', '"io.github.dvc-runner.stage": "train"'):
        assert [text for text in seen if container in text]
    logs = [file.read_text() for file in (clone.folder / ".dvc/tmp/dvc-runner").rglob("*") if file.is_file()]
    for text in (*seen, *logs, printed, (clone.folder / "dvc.lock").read_text()):
        assert not shows_a_credential(text.encode(), dagshub)

    set_trees(clone, 12)
    clone.env["TRACKING_OFFLINE"] = "1"
    assert clone.outcomes(clone.make("run"))["train"] == "ran"
    del clone.env["TRACKING_OFFLINE"]
    assert clone.metadata()["run_id"] in clone.make("sync")
    restored = clone.outcomes(clone.make("run"))
    assert (restored["train"], restored["evaluate"]) == ("restored", "ran")


def version_of(clone: Clone) -> str:
    named = clone.metadata()
    return f"model-versions/get?name={named['model_name']}&version={named['model_version']}"
