"""A registry of images, of a test's own, on the loopback; and a front of it that wants a token, as Docker Hub does."""

import contextlib
import dataclasses
import http.client
import http.server
import io
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import yaml
from tests.support.waiting import until

PROGRAM = "docker-registry"
TOKEN = "a-token"


@dataclasses.dataclass(frozen=True)
class Registry:
    """A registry at ``address``, and an engine that pushes to it."""

    address: str
    api: docker.APIClient

    def push(self, name: str, files: dict[str, bytes]) -> str:
        """Put an image with these files there, as ``name``; give its digest. The engine keeps nothing of it."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        reference = f"{self.address}/{name}"
        self.api.import_image_from_data(buffer.getvalue(), repository=reference, tag="1")
        try:
            answers: list[dict[str, Any]] = list(self.api.push(reference, tag="1", stream=True, decode=True))
            (digest,) = [answer["aux"]["Digest"] for answer in answers if "aux" in answer]
        finally:
            self.api.remove_image(f"{reference}:1")
        return str(digest)


def is_installed() -> bool:
    """Say whether there is a program to start."""
    return shutil.which(PROGRAM) is not None


@contextlib.contextmanager
def serving(folder: Path, api: docker.APIClient) -> Iterator[Registry]:
    """Start a registry whose data lie in ``folder``; stop it in the end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "registry.yml").write_text(yaml.safe_dump(settings))
    command = [PROGRAM, "serve", str(folder / "registry.yml")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            assert until(lambda: _answers(port), 60), (folder / "log").read_text()
            yield Registry(f"127.0.0.1:{port}", api)
        finally:
            process.terminate()
            process.wait(30)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def wanting_a_token(behind: str) -> Iterator[str]:
    """A front of the registry ``behind`` that gives whoever asks a token, and wants it back; gives its address."""

    class Front(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/token"):
                self._answer(200, {"Content-Type": "application/json"}, f'{{"token": "{TOKEN}"}}'.encode())
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="test"'
                self._answer(401, {"WWW-Authenticate": realm}, b"")
            else:
                near = http.client.HTTPConnection(behind)
                near.request(
                    self.command, self.path, headers={"Accept": ", ".join(self.headers.get_all("Accept", ["*/*"]))}
                )
                with contextlib.closing(near), near.getresponse() as found:
                    headers = {k: v for k, v in found.getheaders() if k.lower() != "transfer-encoding"}
                    self._answer(found.status, headers, found.read())

        do_HEAD = do_GET  # noqa: N815 - the library looks for that name

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
