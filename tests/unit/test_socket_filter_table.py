"""The runner's requests and the socket filter's table are the same: each passes, and no line is without use."""

import base64
import contextlib
import datetime as dt
import http.server
import io
import json
import socket
import socketserver
import tarfile
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import docker
import pytest
from tests.support.waiting import until

from dvc_runner.engine import client, containers, facts, host_paths, images, unused, usage
from dvc_runner.engine.cancellation import NEVER
from dvc_runner.errors import HostPathError
from dvc_runner.interrupts import INTERRUPTS
from dvc_runner.model import Build
from dvc_runner.socket_filter import asks, shapes, table
from dvc_runner.socket_filter.policy import LABEL

ID = "a" * 64
OURS = "dvc-runner/one:0a"
BASE = f"registry.example/base:1@sha256:{ID}"
IMAGE = {"Id": f"sha256:{ID}", "Created": "2020-01-01T00:00:00+00:00", "Size": 1}
CONTAINER = {"Id": ID, "State": {"Pid": 0}, "Mounts": [{"Destination": "/", "Source": "/"}], "HostConfig": {}}
STATS = {"memory_stats": {"usage": 1}, "cpu_stats": {"cpu_usage": {"total_usage": 1}}}
ANSWERS: dict[str, object] = {
    "/version": {"ApiVersion": "1.41", "Version": "20.10", "Os": "linux", "Arch": "amd64"},
    "/info": {"OperatingSystem": "an engine", "SecurityOptions": []},
    "/containers/json": [{"Id": ID, "State": "exited", "Created": 0, "ImageID": "another"}],
    "/containers/create": {"Id": ID},
    f"/containers/{ID}/json": CONTAINER,
    f"/containers/{ID}/wait": {"StatusCode": 0},
    f"/containers/{ID}/stats": STATS,
    "/images/json": [{**IMAGE, "RepoTags": [OURS]}],
    "/build": {},
    "/images/create": {},
}


class Stub(http.server.BaseHTTPRequestHandler):
    """An engine that says whatever keeps the runner asking, and writes down what that was."""

    server: "StubServer"

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path.removeprefix("/v1.41"))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = self.headers.get("Content-Type") == "application/json"
        login = "X-Registry-Auth" in self.headers
        self.server.asked.append((self.command, self.path, login, json.loads(body) if is_json else None))
        self.close_connection = True
        if path.endswith("/attach"):
            self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        elif path.endswith("/archive"):
            words = query["path"].rpartition("/")[2] if self.server.proves else "others"
            self._say(200, archive(words), {"X-Docker-Container-Path-Stat": base64.b64encode(b"{}").decode()})
        elif path.startswith("/images/") and path.endswith("/json") and path != "/images/json":
            there = path.removeprefix("/images/").removesuffix("/json") in self.server.images
            self._say(200 if there else 404, json.dumps(IMAGE if there else {"message": "No such image"}).encode())
        else:
            self.server.images |= {query["t"]} if path == "/build" else set()
            self.server.images |= {f"{query['fromImage']}@{query['tag']}"} if path == "/images/create" else set()
            self._say(404 if path == "/libpod/info" else 200, json.dumps(ANSWERS.get(path, [])).encode())

    def _say(self, status: int, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - http.server's names

    def log_message(self, *arguments: object) -> None:
        del arguments


class StubServer(socketserver.ThreadingUnixStreamServer):
    """Such an engine at a socket; ``images`` are those that it has."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__(address, Stub)
        self.asked: list[tuple[str, str, bool, Any]] = []
        self.images = {OURS, IMAGE["Id"]}
        self.proves = True

    def get_request(self) -> tuple[socket.socket, Any]:
        return super().get_request()[0], ("", 0)


def archive(words: str) -> bytes:
    """A file of that name and content, in a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(words)
        info.size = len(words)
        tar.addfile(info, io.BytesIO(words.encode()))
    return buffer.getvalue()


@pytest.fixture
def engine() -> Iterator[StubServer]:
    """That engine, listening."""
    # A unix socket's path ends at 108 bytes.
    with tempfile.TemporaryDirectory(prefix="e") as folder, StubServer(f"{folder}/s") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def uses_everything(api: docker.APIClient, engine: StubServer, root: Path) -> None:
    """Do all that the runner does with an engine."""
    images.platform(api)
    client.is_rootless(api)
    facts.of_engine(api)
    facts.of_image(api, BASE)
    images.has_buildkit(api)
    (root / "new").mkdir()
    (root / "new/Dockerfile").write_text(f"FROM {BASE}\n")
    for key, buildkit in ((1, False), (2, True), (2, True)):
        build = Build(context="new", dockerfile="new/Dockerfile", args=(("KEY", str(key)),))
        wanted = images.plan(root, "new", build, "linux/amd64")
        images.ensure_built(api, wanted, lambda _: None, NEVER, buildkit=buildkit)
    unused.find(api, (), dt.datetime.now(dt.UTC))
    unused.frees_bytes(api, [OURS])
    unused.remove(api, OURS)
    host_paths.find(api, root, BASE)
    engine.proves = False
    with contextlib.suppress(HostPathError):
        host_paths.find(api, root, BASE)
    containers.sweep(api, older_than=time.time())
    for stdin in (False, True):
        with containers.created(api, {"Image": BASE}, stdin=stdin) as made:
            containers.start(api, made.id)
            containers.exit_code(made)
    INTERRUPTS.hurry.set()
    containers.end(api, ID, threading.Event())
    INTERRUPTS.hurry.clear()
    containers.ran_out_of_memory(api, ID, time.time())
    with usage.sampled(api, ID):
        assert until(lambda: any("/stats?" in target for _, target, *_ in engine.asked))


def test_the_runners_requests_are_the_tables(
    engine: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"auths": {"registry.example": {"auth": base64.b64encode(b"me:password").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with contextlib.closing(client.connect(f"unix://{engine.server_address}")) as api:
        uses_everything(api, engine, tmp_path)
    used: dict[tuple[str, str], set[str]] = defaultdict(set)
    logins = set()
    for method, target, has_login, body in engine.asked:
        route, ask = table.find(asks.read(method, target))
        used[route.method, route.path] |= set(ask.query)
        logins |= {route.path} if has_login else set()
        if body and body.get("Labels") == {LABEL: "proof"}:
            shapes.PROOF("the body", body)
    assert used == {(route.method, route.path): set(route.query) for route in table.TABLE}
    assert logins == {route.path for route in table.TABLE if route.login}
