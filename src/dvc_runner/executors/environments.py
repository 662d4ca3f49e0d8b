"""Virtual environments from lock files, made with uv and named by the hash of the lock."""

import contextlib
import fcntl
import hashlib
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import uv

from dvc_runner.errors import BuildError
from dvc_runner.executors import processes
from dvc_runner.model import Environment

KEY_LENGTH = 16
TAIL = 12


def ensure(cache: Path, lock: Path, on_line: Callable[[str], None]) -> Environment:
    """Give the virtual environment of ``lock`` (a requirements.txt with hashes), made if missing.

    Args:
        cache: The folder that holds such environments; shared by projects.
        lock: The lock file.
        on_line: Takes the installer's words.

    Raises:
        BuildError: It cannot be made; the message holds the installer's last words.
    """
    key = _key(lock)
    place = cache / "environments" / key
    if not (place / "complete").is_file():
        try:
            with _alone(place):
                if not (place / "complete").is_file():
                    on_line(f"installing {lock.name} of {lock.parent.name} ({key})")
                    _make(place, lock, on_line)
        except OSError as error:
            raise BuildError(
                f"{place} could not be made: {error.strerror or error}",
                remedy="make room or rights there, or set XDG_CACHE_HOME to a folder of yours",
            ) from error
    return Environment(reference=str(place), key=key)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait for whoever else makes the environment at ``place``, in another project maybe."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key(lock: Path) -> str:
    digest = hashlib.sha256(lock.read_bytes())
    digest.update(f"{sys.version_info[:3]} {sys.base_prefix} {platform.platform()}".encode())
    return digest.hexdigest()[:KEY_LENGTH]


def _make(place: Path, lock: Path, on_line: Callable[[str], None]) -> None:
    """Make the environment at ``place``; a half-made one is never taken for whole."""
    shutil.rmtree(place, ignore_errors=True)
    # A virtual environment knows its own path, so it cannot be made elsewhere and moved.
    _uv(["venv", "--quiet", "--no-project", "--python", sys.executable, str(place)], on_line)
    _uv(
        [
            *["pip", "install", "--quiet", "--python", str(place / "bin" / "python")],
            *["--require-hashes", "--compile-bytecode", "--no-config", "-r", str(lock)],
        ],
        on_line,
    )
    (place / "complete").touch()


def _uv(arguments: list[str], on_line: Callable[[str], None]) -> None:
    tail: list[str] = []

    def keep(line: str) -> None:
        tail.append(line)
        del tail[:-TAIL]
        on_line(line)

    flags = ["--no-python-downloads", "--color", "never"]
    ended = processes.run([uv.find_uv_bin(), *arguments, *flags], keep)
    if ended.code:
        lines = "\n  ".join(tail)
        raise BuildError(
            f"uv {arguments[0]} ended with {ended.code}:\n  {lines}",
            remedy="see whether the package index can be reached, and whether the disk has room",
        )
