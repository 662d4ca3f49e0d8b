"""The MLflow server's own virtual environment: made once per machine, from the lock beside this file."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK_FILE = HERE / "requirements.txt"
EXPLAIN = HERE.parent / "scripts" / "explain_install.py"


def say(words: str) -> None:
    """Tell a person; what machines read goes to stdout."""
    sys.stderr.write(f"mlflow: {words}\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time in; the lock ends with its holder, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path:
    """Return the folder for what all clones of this user share, made if missing."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "dvc-runner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = HERE.parent / ".local" / "cache" / "dvc-runner"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def lock_hash(lock: Path = LOCK_FILE) -> str:
    """Name the set of packages."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]


def python(lock: Path = LOCK_FILE, base: str = sys.executable) -> str:
    """Return the Python that has the MLflow of a lock, installing it first when this machine has none.

    Args:
        lock: The packages and their hashes.
        base: The Python to make it with.
    """
    machine = f"{sys.version} {sys.base_prefix} {platform.machine()} {platform.libc_ver()[0]}"
    if base != sys.executable:
        machine += f" {base}"
    key = hashlib.sha256(f"{lock_hash(lock)} {machine}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"mlflow-{key}"
    made, program = folder / "made", folder / "venv" / "bin" / "python"
    if made.exists() and program.exists():
        return str(program)
    with locked(folder / "lock"):
        if not (made.exists() and program.exists()):
            _install(folder, lock, base)
            made.touch()
    return str(program)


def _install(folder: Path, lock: Path, base: str) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        say("uv is missing; make .venv first: make setup-env")
        sys.exit(3)
    say("installing the MLflow server, once per machine (90 packages, about 700 MB on disk: up to a few minutes)")
    began = time.monotonic()
    log = folder / "install.log"
    venv = folder / "venv"
    shutil.rmtree(venv, ignore_errors=True)
    commands = [
        [uv, "venv", "--quiet", "--python", base, str(venv)],
        [uv, "pip", "sync", "--python", str(venv / "bin" / "python"), "--require-hashes", str(lock)],
    ]
    environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_CACHE_DIR": _uv_cache()}
    environment.pop("VIRTUAL_ENV", None)
    with log.open("wb") as output:
        for command in commands:
            if subprocess.run(command, stdout=output, stderr=output, env=environment, check=False).returncode:
                sys.exit(subprocess.run([sys.executable, EXPLAIN, "mlflow", log], check=False).returncode)
    say(f"installed in {time.monotonic() - began:.0f} s")


def _uv_cache() -> str:
    if chosen := os.environ.get("UV_CACHE_DIR"):
        return chosen
    return str(cache_folder().parent / "uv")
