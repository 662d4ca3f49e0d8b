"""Virtual environments from lock files, made with uv and named by the hash of the lock."""

import contextlib
import datetime as dt
import fcntl
import hashlib
import platform
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import uv

from dvc_runner.engine.cancellation import NEVER, Cancellation
from dvc_runner.errors import BuildError
from dvc_runner.executors import processes
from dvc_runner.model import Environment, Unused

KEY_LENGTH = 16
COMPLETE = "complete"
TAIL = 12
_FINDING_UV = threading.Lock()


def named(cache: Path, lock: Path) -> str:
    """Give the folder of the virtual environment of ``lock``, made or not."""
    return str(_folder(cache) / _key(lock))


def ensure(cache: Path, lock: Path, on_line: Callable[[str], None], cancellation: Cancellation = NEVER) -> Environment:
    """Give the virtual environment of ``lock`` (a requirements.txt with hashes), made if missing.

    Args:
        cache: The folder that holds such environments; shared by projects.
        lock: The lock file.
        on_line: Takes the installer's words.
        cancellation: Ends it.

    Raises:
        BuildError: It cannot be made; the message holds the installer's last words.
        CancelledError: Somebody asked to end.
    """
    key = _key(lock)
    place = _folder(cache) / key
    if not (place / COMPLETE).is_file():
        try:
            with _alone(place):
                if not (place / COMPLETE).is_file():
                    on_line(f"installing {lock.name} of {lock.parent.name} ({key})")
                    _make(place, lock, on_line, cancellation)
        except OSError as error:
            raise BuildError(
                f"{place} could not be made: {error.strerror or error}",
                remedy="make room or rights there, or set XDG_CACHE_HOME to a folder of yours",
            ) from error
    # The time of its last use, by which gc goes; a cache that others own may refuse.
    with contextlib.suppress(OSError):
        (place / COMPLETE).touch()
    return Environment(reference=str(place), key=key)


def unused(cache: Path, needed: Container[str], before: dt.datetime) -> tuple[Unused, ...]:
    """Give the environments that are not ``needed`` and that nobody has used since ``before``."""
    found = []
    for complete in sorted(_folder(cache).glob(f"*/{COMPLETE}")):
        last_used = dt.datetime.fromtimestamp(complete.stat().st_mtime, dt.UTC)
        if last_used < before and str(complete.parent) not in needed:
            size = _size_bytes(complete.parent)
            found.append(Unused(kind="environment", name=str(complete.parent), last_used=last_used, size_bytes=size))
    return tuple(found)


def remove(place: Path) -> None:
    """Remove the environment at ``place``, unless somebody makes it anew just now."""
    with _alone(place):
        # First what says that it is whole: a removal may be cut short.
        (place / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)


def _size_bytes(place: Path) -> int:
    """Add up what is there alone: the installer's cache may have the same files, under other names."""
    found = [path.lstat() for path in place.rglob("*")]
    return sum(one.st_size for one in found if stat.S_ISREG(one.st_mode) and one.st_nlink == 1)


def _folder(cache: Path) -> Path:
    return cache / "environments"


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


def _make(place: Path, lock: Path, on_line: Callable[[str], None], cancellation: Cancellation) -> None:
    """Make the environment at ``place``; a half-made one is never taken for whole."""
    shutil.rmtree(place, ignore_errors=True)
    # A virtual environment knows its own path, so it cannot be made elsewhere and moved.
    _uv(["venv", "--quiet", "--no-project", "--python", sys.executable, str(place)], on_line, cancellation)
    _uv(
        [
            *["pip", "install", "--quiet", "--python", str(place / "bin" / "python")],
            *["--require-hashes", "--compile-bytecode", "--no-config", "-r", str(lock)],
        ],
        on_line,
        cancellation,
    )
    (place / COMPLETE).touch()


def uv_binary() -> str:
    """Give the path of uv; threads may ask at once."""
    # It asks sysconfig, which tells a second thread of half of what it knows while it looks (python/cpython#92452).
    with _FINDING_UV:
        return uv.find_uv_bin()


def _uv(arguments: list[str], on_line: Callable[[str], None], cancellation: Cancellation) -> None:
    tail: list[str] = []

    def keep(line: str) -> None:
        tail.append(line)
        del tail[:-TAIL]
        on_line(line)

    flags = ["--no-python-downloads", "--color", "never"]
    ended = processes.run_until([uv_binary(), *arguments, *flags], keep, cancellation)
    if ended.code:
        lines = "\n  ".join(tail)
        raise BuildError(
            f"uv {arguments[0]} ended with {ended.code}:\n  {lines}",
            remedy="see whether the package index can be reached, and whether the disk has room",
        )
