"""The socket filter before a test's engine, and requests to it that no well-behaved client sends."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import people, projects
from tests.support.waiting import until

ANSWER_S = 60


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter that runs; ``address`` is what the runner gets for the engine's."""

    socket: Path
    process: "subprocess.Popen[str]"

    @property
    def address(self) -> str:
        """The socket as DOCKER_HOST has it."""
        return f"unix://{self.socket}"

    def log(self) -> str:
        """What it has said so far."""
        return self.socket.with_name("log").read_text(encoding="utf-8")

    def say(self, request: bytes) -> tuple[int, str]:
        """Send bytes; give the status and all that follows."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(self.socket))
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(request)
            found = b""
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    found += data
        status = found.split(b" ", 2)[1] if found else b"0"
        return int(status), found.decode("utf-8", "replace")

    def post(self, path: str, body: bytes = b"", *, method: str = "POST") -> tuple[int, str]:
        """Send a well-formed request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return self.say(f"{head}\r\n\r\n".encode("latin-1") + body)

    def create(self, body: Mapping[str, Any]) -> str:
        """Create a container that passes; give its id."""
        status, said = self.post("/v1.41/containers/create", json.dumps(body).encode())
        assert status == 201, said
        return str(json.loads(said.splitlines()[-1])["Id"])


@contextlib.contextmanager
def filtering(engine: str, workspace: Path, *options: str, images: Sequence[str] = ()) -> Iterator[Filter]:
    """Start a filter for ``workspace``, as its owner; it is gone in the end."""
    # A unix socket's path ends at 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="filter-"))
    people.give(folder)
    path, behind = folder / "s", Path(engine.removeprefix("unix://"))
    allowed = [word for image in images for word in ("--allow-image", image)]
    named = ["--listen", str(path), "--engine", str(behind), "--workspace", str(workspace)]
    prefix = projects.as_other_user(behind.stat().st_gid)
    command = [*prefix, sys.executable, "-W", "error", "-m", "dvc_runner.socket_filter", *named, *allowed, *options]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, text=True)
    found = Filter(socket=path, process=process)
    try:
        assert until(lambda: path.is_socket() or process.poll() is not None, ANSWER_S)
        assert process.poll() is None, found.log()
        if os.geteuid() == 0:
            # The tests' own clients are root, and so may open it in any case.
            assert path.stat().st_mode & 0o777 == 0o660
        yield found
    finally:
        process.kill()
        process.wait()
        assert "Traceback" not in found.log(), found.log()
        shutil.rmtree(folder)
