"""Find the container engine that `make run` uses, and what docker-compose.yml needs to know.

engine.py prints the variables of docker-compose.yml, for a shell's eval; exit 4 without an engine.
"""

import grp
import hashlib
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import env_file
import yaml
from env_file import SettingsError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SOCKET = Path("/var/run/docker.sock")
IMAGE_INPUTS = ("Dockerfile.dvc-runner", ".dockerignore", "pyproject.toml", "uv.lock")
ENGINE_EXIT_CODE = 4
ANSWER_TIMEOUT_S = 10


class EngineError(Exception):
    """No engine that dvc-runner's container could use: why, in a line."""


class NoEngineError(EngineError):
    """None answers."""


class EnginePermissionError(EngineError):
    """There is an engine, and its socket is not ours to open."""


def address(settings: dict[str, str]) -> str:
    """Return where the engine should be: DOCKER_HOST, the default socket, or docker's own context."""
    if host := settings.get("DOCKER_HOST"):
        return host
    if not DEFAULT_SOCKET.exists() and shutil.which("docker"):
        command = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if shown:
            return shown
    return f"unix://{DEFAULT_SOCKET}"


def find(settings: dict[str, str]) -> Path:
    """Return the socket of an engine that answers.

    Raises:
        EnginePermissionError: It is there and this user may not open it.
        NoEngineError: None answers.
        EngineError: It is on another machine, or is none, or the docker command is missing.
    """
    host = address(settings)
    if not host.startswith("unix://"):
        raise EngineError(f"the engine at {host} is not on this machine")
    path = Path(host.removeprefix("unix://"))
    try:
        alive = ask(path, "/_ping")[0] == http.HTTPStatus.OK
    except PermissionError:
        raise EnginePermissionError(_refused(path)) from None
    except OSError as error:
        raise NoEngineError(f"no container engine answers at {path} ({error.strerror or error})") from None
    except http.client.HTTPException:
        alive = False
    if not alive:
        raise EngineError(f"what answers at {path} is no container engine")
    if shutil.which("docker") is None:
        raise EngineError(f"an engine answers at {path}, but the docker command is not installed")
    return path


def ask(path: Path, question: str) -> tuple[int, bytes]:
    """Ask the engine behind a socket; give the status and what it says."""
    with closing(_Connection(path)) as connection:
        connection.request("GET", question)
        answer = connection.getresponse()
        return answer.status, answer.read()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=ANSWER_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _refused(path: Path) -> str:
    try:
        gid = path.stat().st_gid
    except OSError:
        # A folder above it is closed to us, as a rootless engine's of another user is.
        return f"permission denied: {path} is in a folder of another user\nset DOCKER_HOST to an engine of your own"
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return (
        f"permission denied: {path} belongs to the group {group}, and you are not in it\n"
        f"sudo usermod -aG {group} $USER, then log in again;"
        " or without containers: make run DVC_RUNNER_EXECUTOR=process"
    )


def base_image(settings: dict[str, str]) -> str:
    """Return the image that every image is built from: BASE_IMAGE, else params.yaml's.

    Raises:
        SettingsError: params.yaml names none.
    """
    if chosen := settings.get("BASE_IMAGE"):
        return chosen
    try:
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        image = params.get("base_image")
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"params.yaml cannot be read: {' '.join(str(error).split())}",
            "mend it, or get it back: git checkout params.yaml",
        ) from None
    if not isinstance(image, str) or not image:
        raise SettingsError(
            f"base_image in params.yaml is {image!r}", "write the name of an image there, such as python:3.13-slim"
        )
    return image


def runner_image(base: str) -> str:
    """Return the name of dvc-runner's image: the hash of all that it is built from."""
    digest = hashlib.sha256(base.encode())
    code = sorted(path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    for path in [*(ROOT / name for name in IMAGE_INPUTS), *code]:
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return f"dvc-runner:{digest.hexdigest()[:16]}"


def variables(settings: dict[str, str]) -> dict[str, str]:
    """Return what docker-compose.yml needs to know of this machine.

    Raises:
        EngineError: There is no engine to use.
        SettingsError: params.yaml names no base image.
    """
    base = base_image(settings)
    path = find(settings)
    owner, group = ROOT.stat(), path.stat().st_gid
    # In a rootless engine's containers, root is the user who runs it, and other numbers are nobody's.
    rootless = is_rootless(path)
    return {
        "DOCKER_HOST": f"unix://{path}",
        "ENGINE_SOCKET": str(path),
        "ENGINE_SOCKET_GROUP": "0" if rootless else str(group),
        "PROJECT_FOLDER": str(ROOT),
        "PROJECT_OWNER": "0:0" if rootless else f"{owner.st_uid}:{owner.st_gid}",
        "DVC_RUNNER_BASE_IMAGE": base,
        "DVC_RUNNER_IMAGE": runner_image(base),
    }


def is_rootless(path: Path) -> bool:
    """Say whether the engine runs as a user."""
    # Podman before 5 tells it in a place of its own.
    return _says_rootless(path) or bool(_podman(path).get("security", {}).get("rootless"))


def shares_network(path: Path) -> bool:
    """Say whether a container in the host's network reaches what listens on this machine's loopback.

    A rootless Docker has a network of its own for a host's, Podman has not.
    """
    return not _says_rootless(path) or bool(_podman(path))


def _says_rootless(path: Path) -> bool:
    return "name=rootless" in (_info(path).get("SecurityOptions") or ())


def _podman(path: Path) -> dict[str, Any]:
    """Give what Podman tells of its host; Docker has no such answer."""
    status, text = ask(path, "/v4.0.0/libpod/info")
    found: dict[str, Any] = json.loads(text).get("host", {}) if status == http.HTTPStatus.OK else {}
    return found


def shares_kernel(path: Path) -> bool:
    """Say whether the engine's containers run on this system itself, and not in a virtual machine of it."""
    return bool(_info(path).get("KernelVersion") == os.uname().release)


@cache
def _info(path: Path) -> dict[str, Any]:
    try:
        status, text = ask(path, "/info")
        found = json.loads(text) if status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        found = None
    if not isinstance(found, dict):
        raise EngineError(f"the engine at {path} does not say what it is (docker info)")
    return found


def main() -> int:
    """Print the variables."""
    try:
        found = variables(env_file.settings(ROOT))
    except EngineError as error:
        sys.stderr.write(f"engine: {error}\n")
        return ENGINE_EXIT_CODE
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    sys.stdout.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
