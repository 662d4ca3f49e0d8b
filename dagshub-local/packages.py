"""The stand-in's own virtual environment: MLflow 2.7.1 and rclone, made once per machine from the lock."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from server_env import EXPLAIN, cache_folder, locked

HERE = Path(__file__).resolve().parent
LOCK = HERE / "requirements.txt"
PYTHON = "3.11"
ROUTES = """
import json
from mlflow.server.handlers import get_endpoints
print(json.dumps(sorted({path for path, _, _ in get_endpoints()})))
"""


class MissingError(Exception):
    """Something that the stand-in is made of is not on this machine: what, then the way out."""

    def __init__(self, problem: str, remedy: str) -> None:
        """Say ``problem`` in one line and ``remedy`` in another."""
        super().__init__(f"{problem}\n{remedy}")


def nginx(path: str = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin") -> str:
    """Find nginx; Debian keeps it where only root looks.

    Raises:
        MissingError: It is not there.
    """
    if found := shutil.which("nginx", path=path):
        return found
    raise MissingError("there is no nginx in PATH or /usr/sbin", "install it: sudo apt-get install nginx")


def folder() -> Path:
    """Return the environment, made if missing; beside its programs lies ``routes.json``.

    Raises:
        MissingError: There is no Python for it, or it does not start.
        SystemExit: A package cannot be had; why was said.
    """
    key = hashlib.sha256(f"{LOCK.read_text()} {platform.machine()}".encode()).hexdigest()[:12]
    home = cache_folder() / f"dagshub-local-{key}"
    venv = home / "venv"
    with locked(home / "lock"):
        # Written last; and Python's own link may lead nowhere since.
        if not ((venv / "routes.json").exists() and (venv / "bin" / "python").exists()):
            _install(venv, home / "install.log")
    return venv


def routes(venv: Path) -> list[str]:
    """Return the paths that this MLflow knows, as Flask writes them."""
    found: list[str] = json.loads((venv / "routes.json").read_text())
    return found


def _install(venv: Path, log: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise MissingError("uv is missing", "make setup-env puts it into .venv")
    sys.stderr.write(
        "dagshub-local: installing MLflow 2.7.1 and rclone, once per machine (900 MB on disk, a minute or two)\n"
    )
    shutil.rmtree(venv, ignore_errors=True)
    environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    python = str(venv / "bin" / "python")
    with log.open("wb") as output:

        def run(*command: str) -> bool:
            return subprocess.run(command, stdout=output, stderr=output, env=environment, check=False).returncode == 0

        if not run(uv, "venv", "--quiet", "--python", PYTHON, str(venv)):
            raise MissingError(
                f"MLflow 2.7.1 needs Python {PYTHON}, and there is none that uv finds",
                f"install it beside yours (Debian 12: python3.11; anywhere: {uv} python install {PYTHON})",
            )
        if not run(uv, "pip", "sync", "--python", python, "--require-hashes", str(LOCK)):
            sys.exit(subprocess.run([sys.executable, EXPLAIN, "dagshub-local", log], check=False).returncode)
        told = subprocess.run([python, "-c", ROUTES], stdout=subprocess.PIPE, stderr=output, text=True, check=False)
    if told.returncode:
        raise MissingError("MLflow 2.7.1 was installed and does not start", f"{log} says why")
    (venv / "routes.json").write_text(told.stdout)
