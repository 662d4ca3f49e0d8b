"""What the stages' tests share: a workspace as a stage sees it, and the MLflow server that ``make test`` starts."""

import http.client
import http.server
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

STAGES = Path(__file__).parent
sys.path[:0] = [str(folder) for folder in STAGES.iterdir() if folder.is_dir()]

WriteParams = Callable[..., None]
Proxy = Callable[[str, Callable[[str, bytes], None]], AbstractContextManager[str]]


def pytest_configure(config: pytest.Config) -> None:
    # MLflow 3.17 warns of its own code. What it warns of in ours has our module's name.
    config.addinivalue_line("filterwarnings", "ignore:::mlflow")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a stage's working directory, with room for every stage's outs."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data/raw", "data/processed", "models", "metrics"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def write_params(workspace: Path) -> WriteParams:
    """Write one section of the project's params.yaml, with some values changed."""
    import yaml  # not every stage's environment has it

    def write(section: str, **changes: object) -> None:
        params = yaml.safe_load((STAGES.parent / "params.yaml").read_text(encoding="utf-8"))
        (workspace / "params.yaml").write_text(yaml.safe_dump({section: params[section] | changes}), encoding="utf-8")

    return write


@pytest.fixture
def mlflow_uri(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URI of a real server, and configure it."""
    uri = os.environ.get("TEST_MLFLOW_URI")
    if not uri:
        pytest.fail("TEST_MLFLOW_URI is not set: `make test` starts a server for it", pytrace=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def unique() -> str:
    """Give a name that the server does not know."""
    return f"test-{uuid4().hex}"


@contextmanager
def _proxy(uri: str, before: Callable[[str, bytes], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            before(self.path, body)
            upstream = http.client.HTTPConnection(urlsplit(uri).netloc)
            upstream.request(self.command, self.path, body, {"Content-Type": self.headers.get("Content-Type", "")})
            reply = upstream.getresponse()
            answer = reply.read()
            upstream.close()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture
def proxy() -> Proxy:
    """Stand before a server, and be told each request's path and body before it goes there."""
    return _proxy
