"""Find the container engine that `make run` uses, and what scripts/in-container needs to know.

engine.py prints shell assignments: engine_socket, base_image, runner_image; exit 4 without an engine.
"""

import grp
import hashlib
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import env_file
import yaml
from env_file import SettingsError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SOCKET = Path("/var/run/docker.sock")
IMAGE_INPUTS = ("Dockerfile.dvc-runner", ".dockerignore", "pyproject.toml", "uv.lock")
ENGINE_EXIT_CODE = 4
ANSWER_TIMEOUT_S = 5


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
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            alive = b" 200 " in connection.recv(64)
    except PermissionError:
        raise EnginePermissionError(_refused(path)) from None
    except OSError as error:
        raise NoEngineError(f"no container engine answers at {path} ({error.strerror or error})") from None
    if not alive:
        raise EngineError(f"what answers at {path} is no container engine")
    if shutil.which("docker") is None:
        raise EngineError(f"an engine answers at {path}, but the docker command is not installed")
    return path


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


def main() -> int:
    """Print the assignments."""
    try:
        settings = env_file.settings(ROOT)
        base = base_image(settings)
        values = {"engine_socket": str(find(settings)), "base_image": base, "runner_image": runner_image(base)}
    except EngineError as error:
        sys.stderr.write(f"engine: {error}\n")
        return ENGINE_EXIT_CODE
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    sys.stdout.write("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
