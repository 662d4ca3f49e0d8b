import http.server
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise

import pytest
import requests
from contract import StageError
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from preflight import explain, require_server, shown, watched

HTML = b"<!doctype html><title>Sign in</title>"


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve ``answer`` on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the one who asked has gone
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def reply(status: int, body: bytes = b"{}", kind: str = "application/json") -> Callable[..., None]:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def knows_one_name(request: http.server.BaseHTTPRequestHandler) -> None:
    """Answer as MLflow's host check does."""
    known = request.headers["Host"] == "localhost"
    reply(200 if known else 403, b"{}" if known else b"Invalid Host header", "text/plain")(request)


def trickle(request: http.server.BaseHTTPRequestHandler) -> None:
    """Send a little now and then, so that no read of a socket times out."""
    for _ in range(100):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: x")
        time.sleep(0.05)


def hang_up(request: http.server.BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"nothing of HTTP\r\n")


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        pytest.param(reply(401, HTML, "text/html"), ["401", "no user", "MLFLOW_TRACKING_USERNAME"], id="401"),
        pytest.param(reply(403, b"Permission denied", "text/plain"), ["403", "may not"], id="403 of a user"),
        pytest.param(knows_one_name, ["403", "127.0.0.1", "--allowed-hosts"], id="403 of the host check"),
        pytest.param(reply(404, HTML, "text/html"), ["404", ".mlflow"], id="404"),
        pytest.param(reply(500), ["500", "log"], id="500"),
        pytest.param(reply(503, HTML, "text/html"), ["503", "log"], id="503"),
        pytest.param(reply(418), ["418"], id="another status"),
        pytest.param(reply(200, HTML, "text/html"), ["text/html", "JSON"], id="a page"),
        pytest.param(reply(200, b""), ["nothing", ".mlflow"], id="nothing"),
        pytest.param(reply(200, b"[]"), ["application/json", ".mlflow"], id="JSON, not MLflow's"),
        pytest.param(hang_up, ["connection broke"], id="no HTTP"),
        pytest.param(trickle, ["timeout"], id="never ready"),
        pytest.param(lambda _: time.sleep(5), ["timeout"], id="silent"),
    ],
)
def test_a_server_that_answers_badly_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., None], named: list[str]
) -> None:
    with server(answer) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        began = time.monotonic()
        with pytest.raises(StageError) as error:
            require_server(deadline_s=0.5)
    assert time.monotonic() - began < 2
    assert_names(error.value, [uri, *named])


@contextmanager
def closed_port() -> Iterator[str]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))  # taken, and not listened on
        yield f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        pytest.param("http://{closed}", ["refused", "make up"], id="refused"),
        pytest.param("http://no-such-host.invalid:5000", ["no host", "MLFLOW_TRACKING_URI"], id="no such name"),
        pytest.param("http://[::1:5000", ["MLFLOW_TRACKING_URI"], id="malformed"),
        pytest.param("http://", ["MLFLOW_TRACKING_URI"], id="no host"),
        pytest.param("sqlite:///mlflow.db", ["MLFLOW_TRACKING_URI", "make up"], id="no server"),
        pytest.param("", ["MLFLOW_TRACKING_URI", "make up"], id="not set"),
    ],
)
def test_a_server_that_is_not_there_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, uri: str, named: list[str]
) -> None:
    with closed_port() as closed:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(closed=closed))
        with pytest.raises(StageError) as error:
            require_server()
    assert_names(error.value, [uri.format(closed=closed), *named])


def test_tls_where_there_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(reply(200)) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("http:", "https:"))
        with pytest.raises(StageError) as error:
            require_server()
    assert_names(error.value, ["TLS", "http://"])


def test_silence_in_the_middle_is_told_at_once_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="tracking")
    silent = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        if silent.is_set():
            time.sleep(5)
        reply(200)(request)

    def told(words: str, times: int) -> None:
        until = time.monotonic() + 20
        while sum(words in line for line in caplog.messages) < times:
            assert time.monotonic() < until, caplog.messages
            time.sleep(0.02)

    with server(answer) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with watched(every_s=0.3):
            time.sleep(1)
            assert caplog.messages == []
            for times in (1, 2):
                silent.set()
                told(f"MLflow at {uri}: timeout, no answer", times)
                time.sleep(1)
                silent.clear()
                told(f"MLflow at {uri}: answers again", times)
        assert len(caplog.messages) == 4
        silent.set()
        time.sleep(1)
        assert len(caplog.messages) == 4


def test_a_good_server_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(reply(200)) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert require_server() == uri


def test_a_real_server_is_taken(mlflow_uri: str) -> None:
    assert require_server() == mlflow_uri


def test_the_user_is_named_and_the_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    with server(reply(401)) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("//", "//eve:t0ken@"))
        with pytest.raises(StageError) as error:
            require_server()
    assert_names(error.value, ["ada", uri])
    assert "s3cret" not in str(error.value)
    assert "t0ken" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "without"),
    [
        ("https://dagshub.com/ada/iris.mlflow", "https://dagshub.com/ada/iris.mlflow"),
        ("https://ada:t@ken@dagshub.com/ada/iris.mlflow", "https://dagshub.com/ada/iris.mlflow"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://h/a@b", "http://h/a@b"),
    ],
)
def test_credentials_in_a_uri_are_not_shown(uri: str, without: str) -> None:
    assert shown(uri) == without


def http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


def caused_by(*chain: Exception) -> MlflowException:
    error = MlflowException("API request failed")
    for effect, cause in pairwise([error, *chain]):
        effect.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "named"),
    [
        pytest.param(http_error(413), "413", id="an upload refused"),
        pytest.param(caused_by(requests.exceptions.RetryError()), "5xx", id="5xx, again and again"),
        pytest.param(caused_by(requests.ReadTimeout(), TimeoutError()), "timeout", id="timeout"),
        pytest.param(MlflowException("", error_code=PERMISSION_DENIED), "403", id="403"),
        pytest.param(RestException({"error_code": "INVALID_STATE", "message": "gone"}), "INVALID_STATE", id="refused"),
    ],
)
def test_an_error_of_the_server_is_explained(error: Exception, named: str) -> None:
    assert named in (explain(error) or "")


@pytest.mark.parametrize(
    "error",
    [MlflowException("a bug"), ValueError("a bug"), caused_by(OSError("disk full"))],
    ids=["MLflow's", "ours", "of the disk"],
)
def test_another_error_is_not_blamed_on_the_server(error: Exception) -> None:
    assert explain(error) is None


def assert_names(error: Exception, named: list[str]) -> None:
    assert "\n" not in str(error)
    for words in named:
        assert words in str(error)
