"""Which server belongs to which folder: what server.json tells, and what is true of it."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from server_env import cache_folder, say

STOP_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The last server started on a data folder, as its ``server.json`` tells."""

    pid: int | None
    port: int
    folder: str
    # A copied folder brings server.json along and not the server: the inode tells them apart.
    inode: int
    # The packages it was started from: other ones may want another database schema.
    packages: str

    @property
    def url(self) -> str:
        """Where people and stages reach it."""
        return f"http://127.0.0.1:{self.port}"


def read(folder: Path) -> Server | None:
    """Return what a folder's ``server.json`` tells; None if there is none, or it tells of another folder."""
    server = _parsed(folder / "server.json")
    return server if server and server.inode == folder.stat().st_ino else None


def write(folder: Path, server: Server) -> None:
    """Write ``server.json`` at once or not at all, and note beside the packages whose server runs."""
    draft = folder / "server.json.new"
    draft.write_text(json.dumps(asdict(server)))
    draft.replace(folder / "server.json")
    if server.pid is not None:
        (_notes() / f"{server.pid}.json").write_text(json.dumps(asdict(server)))


def running(folder: Path) -> Server | None:
    """Return the server of a folder if it runs."""
    server = read(folder)
    return server if server and is_alive(server) else None


def is_alive(server: Server) -> bool:
    """Say whether the process of that number is still this server, and not one that got the number since."""
    if server.pid is None:
        return False
    words = _command_line(server.pid)
    return "mlflow" in words and "--port" in words and str(server.port) in words


def end(server: Server) -> None:
    """End a server and what it started, and return when they are gone."""
    if server.pid is None or not is_alive(server):
        return
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_TIMEOUT_S
        while is_alive(server) and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(server.pid, signal.SIGKILL)
    (_notes() / f"{server.pid}.json").unlink(missing_ok=True)


def end_those_without_folder() -> None:
    """End the servers of clones that were deleted: nobody else would."""
    for note in _notes().glob("*.json"):
        server = _parsed(note)
        if server is None or not is_alive(server):
            note.unlink(missing_ok=True)
        elif not _has_folder(server):
            say(f"ending the server of {server.folder}, which is gone")
            end(server)


def _has_folder(server: Server) -> bool:
    found = read(Path(server.folder))
    return found is not None and found.pid == server.pid


def _notes() -> Path:
    folder = cache_folder() / "servers"
    folder.mkdir(exist_ok=True)
    return folder


def _parsed(file: Path) -> Server | None:
    try:
        return Server(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        if Path("/proc/self/cmdline").exists():
            return []
    # macOS has no /proc.
    question = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    shown = subprocess.run(question, capture_output=True, text=True, check=False)
    return shown.stdout.split()
