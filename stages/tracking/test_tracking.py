import http.client
import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import claim
import life
import pandas as pd
import pytest
import registry
import tracking
from contract import StageError
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sklearn.ensemble import RandomForestClassifier

SAMPLES = pd.DataFrame({"x": [0.0, 0.1, 0.9, 1.0], "y": [1.0, 2.0, 3.0, 4.0]})
LABELS = pd.Series(["a", "a", "b", "b"], name="label", dtype="str")


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[MlflowClient]:
    with tracking.connect() as client:
        assert client.tracking_uri == mlflow_uri
        yield client


@contextmanager
def proxy(uri: str, answered: Callable[[str], bool]) -> Iterator[str]:
    """Stand before a server; what it answered is turned into a 503 where ``answered`` says so of the path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection(urlsplit(uri).netloc)
            upstream.request(self.command, self.path, body, {"Content-Type": self.headers.get("Content-Type", "")})
            reply = upstream.getresponse()
            answer = reply.read()
            upstream.close()
            self.send_response(503 if answered(self.path) else reply.status)
            self.send_header("Content-Type", reply.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@contextmanager
def breaking(uri: str, since: str, answer: tuple[int, str, bytes]) -> Iterator[str]:
    """Stand before a server, and answer like that from the first request on whose path holds ``since``."""
    broken = threading.Event()
    status, kind, body = answer

    class Handler(http.server.BaseHTTPRequestHandler):
        def forward(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if since in self.path:
                broken.set()
            if not broken.is_set():
                upstream = http.client.HTTPConnection(urlsplit(uri).netloc)
                upstream.request(
                    self.command, self.path, content, {"Content-Type": self.headers.get("Content-Type", "")}
                )
                reply = upstream.getresponse()
                told = (reply.status, reply.headers.get("Content-Type", ""), reply.read())
                upstream.close()
            elif status <= 0:
                time.sleep(5 if status else 0)
                self.close_connection = True
                return
            else:
                told = (status, kind, body)
            self.send_response(told[0])
            self.send_header("Content-Type", told[1])
            self.send_header("Content-Length", str(len(told[2])))
            self.end_headers()
            self.wfile.write(told[2])

        do_GET = do_POST = do_PUT = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def runs_of(experiment: str) -> list[Run]:
    client = MlflowClient(os.environ["TEST_MLFLOW_URI"])
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id]))


def test_a_run_that_ends_well_is_finished(client: MlflowClient, unique: str) -> None:
    with tracking.training_run(client, unique) as run:
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
    [ended] = runs_of(unique)
    assert ended.info.run_id == run.info.run_id
    assert ended.info.status == "FINISHED"


def test_a_second_run_goes_to_the_same_experiment(client: MlflowClient, unique: str) -> None:
    for _ in range(2):
        with tracking.training_run(client, unique):
            pass
    assert len(runs_of(unique)) == 2


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("happens", "ends_as", "code"),
    [
        pytest.param(fail(ValueError("a bug")), ValueError, None, id="a bug"),
        pytest.param(fail(StageError("a mistake")), StageError, None, id="user's mistake"),
        pytest.param(fail(SystemExit(3)), SystemExit, 3, id="exit"),
        pytest.param(send(signal.SIGTERM), SystemExit, 143, id="SIGTERM"),
        pytest.param(send(signal.SIGINT), SystemExit, 130, id="Ctrl-C"),
    ],
)
def test_a_run_that_does_not_end_well_is_failed(
    client: MlflowClient, unique: str, happens: Callable[[], None], ends_as: type[BaseException], code: int | None
) -> None:
    with pytest.raises(ends_as) as end, tracking.training_run(client, unique):
        happens()
    assert getattr(end.value, "code", None) == code
    assert [run.info.status for run in runs_of(unique)] == ["FAILED"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_while_the_run_is_made_leaves_no_run_behind(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(path: str) -> bool:
        if path.endswith("/runs/create"):
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    with proxy(mlflow_uri, terminate) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(SystemExit) as end, tracking.connect() as client, tracking.training_run(client, unique):
            pytest.fail("the stage went on")
    assert end.value.code == 143
    assert [run.info.status for run in runs_of(unique)] == ["FAILED"]


def test_a_signal_while_a_run_is_ended_does_not_disturb_it(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(path: str) -> bool:
        if path.endswith("/runs/update"):
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    with proxy(mlflow_uri, terminate) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ValueError, match="a bug"), tracking.connect() as to, tracking.training_run(to, unique):
            raise ValueError("a bug")
    assert [run.info.status for run in runs_of(unique)] == ["FAILED"]


def test_what_was_made_behind_a_503_is_not_made_twice(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {"experiments/create", "runs/create", "registered-models/create", "model-versions/create"}

    def once(path: str) -> bool:
        name = "/".join(path.split("/")[-2:])
        if name in hidden:
            hidden.remove(name)
            return True
        return False

    with proxy(mlflow_uri, once) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with tracking.connect() as client, tracking.training_run(client, unique) as run:
            forest = RandomForestClassifier(n_estimators=2, random_state=0).fit(SAMPLES, LABELS)
            registry.register(client, run, forest, SAMPLES, unique)
    assert not hidden
    assert len(runs_of(unique)) == 1
    assert len(MlflowClient(mlflow_uri).search_model_versions(f"name = '{unique}'")) == 1


def test_what_arrived_behind_a_503_is_told_again_without_harm(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    stumbled: set[str] = set()

    def once(path: str) -> bool:
        first = path not in stumbled
        stumbled.add(path)
        return first and "experiments/search" not in path

    with proxy(mlflow_uri, once) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with tracking.connect() as to, tracking.training_run(to, unique) as run:
            tracking.log_values(to, run.info.run_id, params={"p": 1}, metrics={"m": 0.5, "n": 1.0}, tags={"t": "v"})
            forest = RandomForestClassifier(n_estimators=2, random_state=0).fit(SAMPLES, LABELS)
            registry.register(to, run, forest, SAMPLES, unique)
            registry.load(to, unique, "1")
    [run] = runs_of(unique)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"m": 0.5, "n": 1.0}
    assert len(MlflowClient(mlflow_uri).search_model_versions(f"name = '{unique}'")) == 1


def train(name: str) -> None:
    with tracking.connect() as to, tracking.training_run(to, name) as run:
        tracking.log_values(to, run.info.run_id, metrics={"m": 1.0})
        forest = RandomForestClassifier(n_estimators=2, random_state=0).fit(SAMPLES, LABELS)
        registry.register(to, run, forest, SAMPLES, name)


# What a server, or what stands before it, makes of every request from one on.
BROKEN = {
    "401": (401, "text/html", b"<html>who are you"),
    "403": (403, "text/plain", b"no"),
    "404": (404, "application/json", b'{"error": "unsupported endpoint"}'),
    "500": (500, "text/html", b"<html>oops"),
    "a page": (200, "text/html", b"<html>sign in"),
    "hung up": (0, "", b""),
    "silence": (-1, "", b""),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("since", ["/runs/log-batch", "/mlflow-artifacts/", "/model-versions/create", "/runs/update"])
def test_a_server_that_breaks_in_the_middle_is_told_in_one_line_within_seconds(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch, how: str, since: str
) -> None:
    for name, value in (("BACKOFF_FACTOR", "0"), ("TIMEOUT", "1")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setattr(tracking, "FILES_PATIENCE", "1")
    began = time.monotonic()
    with breaking(mlflow_uri, since, BROKEN[how]) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(StageError) as error:
            train(unique)
    assert time.monotonic() - began < 30
    assert uri in str(error.value)
    assert "\n" not in str(error.value)
    named = {"401": "MLFLOW_TRACKING_USERNAME", "403": "403", "404": "MLFLOW_TRACKING_URI"}
    assert named.get(how, "MLflow at") in str(error.value)
    client = MlflowClient(mlflow_uri)
    for version in client.search_model_versions(f"name = '{unique}'"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
        assert registry.load(client, unique, version.version)

    # It is back; the next training ends what this one had to leave.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setattr(tracking, "end_silent", partial(life.end_silent, silent_s=-1))
    with tracking.connect() as to, tracking.training_run(to, unique):
        pass
    assert sorted(run.info.status for run in runs_of(unique)) == ["FAILED", "FINISHED"]


@pytest.mark.parametrize("body", [b"{}", b""], ids=["{}", "empty"])
@pytest.mark.parametrize(
    "since", ["/experiments/create", "/runs/create", "/mlflow-artifacts/", "/model-versions/create"]
)
def test_a_server_that_begins_to_answer_with_nothing_is_told_within_seconds(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch, body: bytes, since: str
) -> None:
    began = time.monotonic()
    with breaking(mlflow_uri, since, (200, "application/json", body)) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(StageError, match=r"answers .* with nothing.*MLFLOW_TRACKING_URI") as error:
            train(unique)
    assert time.monotonic() - began < 30
    assert uri in str(error.value)
    assert not MlflowClient(mlflow_uri).search_model_versions(f"name = '{unique}'")


POINTER = registry.ModelPointer(model_name="m", model_version="1", model_uri="models:/m/1", run_id="r")
QUESTIONS = {
    "the claim": lambda client: claim.claimed(client, "m", "Ada", claim.Patience(gives_up_s=1)).__enter__(),
    "the aliases": lambda client: registry.aliases(client, "m"),
    "the version": lambda client: registry.require_same(client, POINTER),
    "the model": lambda client: registry.load(client, "m", "1"),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_an_answer_of_nothing_is_not_taken_for_one(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, ask: Callable[[MlflowClient], object]
) -> None:
    with breaking(mlflow_uri, "/", (200, "application/json", b"{}")) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(StageError, match=f"{uri}: it answers .* with nothing"), tracking.connect() as client:
            ask(client)


def test_a_server_that_goes_away_is_told_in_one_line(
    mlflow_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with proxy(mlflow_uri, lambda path: "/runs/log-batch" in path) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(StageError) as error, tracking.connect() as to, tracking.training_run(to, unique) as run:
            tracking.log_values(to, run.info.run_id, metrics={"m": 1.0})
    assert uri in str(error.value)
    assert "5xx" in str(error.value)
    assert "\n" not in str(error.value)
    assert [run.info.status for run in runs_of(unique)] == ["FAILED"]


def test_a_server_that_is_gone_is_told_even_if_the_client_does_not_say(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as up:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", up.enter_context(proxy(mlflow_uri, lambda _: False)))
        connection = tracking.connect()
        connection.__enter__()

    def end() -> None:
        try:
            fail(MlflowException("downloading failed"))()
        except MlflowException as failed:  # as a with block hands it on, while it is handled
            connection.__exit__(MlflowException, failed, None)

    with pytest.raises(StageError) as told:
        end()
    assert "the connection broke: look" in str(told.value) or "refused the connection: correct" in str(told.value)


def test_what_the_server_refuses_is_told_in_one_line(mlflow_uri: str) -> None:
    with pytest.raises(StageError, match="RESOURCE_DOES_NOT_EXIST") as error, tracking.connect() as client:
        client.get_run("0" * 32)
    assert mlflow_uri in str(error.value)


@pytest.mark.parametrize("bug", [ValueError("ours"), MlflowException("in a call of ours")], ids=repr)
@pytest.mark.usefixtures("mlflow_uri")
def test_a_bug_inside_is_not_blamed_on_the_server(bug: Exception) -> None:
    with pytest.raises(type(bug)), tracking.connect():
        raise bug


def test_values_arrive(client: MlflowClient, unique: str) -> None:
    with tracking.training_run(client, unique) as run:
        run_id = run.info.run_id
        tracking.log_values(client, run_id, params={"depth": None}, metrics={"m": 0.5}, tags={"t": None, "u": "v"})
    data = client.get_run(run_id).data
    assert data.params == {"depth": "None"}
    assert data.metrics == {"m": 0.5}
    assert (data.tags["t"], data.tags["u"]) == ("null", "v")


@pytest.mark.usefixtures("workspace")
def test_a_dataset_is_known_by_the_md5_that_dvc_has_for_it(client: MlflowClient, unique: str) -> None:
    path = Path("data/raw/part.csv")
    path.write_text("x,label\n")
    with tracking.training_run(client, unique) as run:
        tracking.log_dataset(client, run.info.run_id, path, SAMPLES, LABELS, context="training")
    [logged] = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert logged.dataset.name == "part"
    assert logged.dataset.digest == "4d4cb685308245ee4c2daf62c8331218"
    assert json.loads(logged.dataset.source) == {"uri": "data/raw/part.csv"}
    assert json.loads(logged.dataset.profile)["num_rows"] == 4
    assert [column["name"] for column in json.loads(logged.dataset.schema)["mlflow_colspec"]] == ["x", "y", "label"]
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "training"}
