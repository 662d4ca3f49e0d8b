"""The local MLflow server: real, on loopback, its SQLite file and artifacts kept in one folder.

server.py start    start it unless it runs; prints its URL when it is ready
server.py stop     end it; its data stays
server.py status   say whether it runs (exit code 0 or 1)
server.py url      print its URL, without starting it

--dir DIR    the folder of its data (default: .local/mlflow of this project)
--port N     the port to try first, 0 for any (default: MLFLOW_PORT, else the last one used, else 5000)
"""

import argparse
import http.client
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import server_env
import server_state
from server_env import locked, say
from server_state import Server, end, is_alive, read, running, write

DEFAULT_FOLDER = server_env.HERE.parent / ".local" / "mlflow"
DATABASE_URI = "sqlite:///mlflow.db"
DEFAULT_PORT = 5000
PORTS_END = 65536
START_TIMEOUT_S = 180
# Since 3.5 MLflow refuses every other Host header. A container reaches it as `mlflow` or `host.docker.internal`.
HOSTS = ("127.0.0.1", "localhost", "mlflow", "host.docker.internal")
# The server is told all it needs; what this project's clients are told (URLs, tokens) is not for it.
FOREIGN_PREFIXES = ("MLFLOW_", "_MLFLOW_", "DAGSHUB_", "DVC_", "AWS_", "PYTHON", "VIRTUAL_ENV")


def answers(port: int) -> bool:
    """Say whether its store is ready; ``/health`` would say yes before that."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/api/2.0/mlflow/experiments/search?max_results=1")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def is_free(port: int) -> bool:
    """Say whether a server could listen there."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_port(wanted: int | None, last: int | None) -> int:
    """Return a free port: the wanted one or the next after it, else the last one used, else 5000 or the next."""
    if wanted == 0:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
    if wanted is None and last is not None and is_free(last):
        return last
    first = wanted or DEFAULT_PORT
    for port in range(first, min(first + 1000, PORTS_END)):
        if is_free(port):
            if port != first:
                say(f"port {first} is taken, using {port} (MLFLOW_PORT in .env chooses another)")
            return port
    say(f"no free port from {first} on; set MLFLOW_PORT to one that is free")
    sys.exit(3)


def spawn(folder: Path, python: str, port: int) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, so that it outlives make and Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)}
    environment |= {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PYTHONUNBUFFERED": "1",
    }
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", ",".join(f"{host},{host}:*" for host in HOSTS)]
    # Relative to the folder it runs in, so that no character of its path can break a URI.
    command += ["--backend-store-uri", DATABASE_URI, "--serve-artifacts", "--artifacts-destination", "artifacts"]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def upgrade(folder: Path, python: str) -> None:
    """Bring the database to the schema of newer packages, keeping a copy of it as it was."""
    database = folder / "mlflow.db"
    say("other MLflow packages than last time: upgrading the database, its copy is mlflow.db.before-upgrade")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(f"{database}.before-upgrade")) as target:
        source.backup(target)
    with (folder / "server.log").open("wb") as log:
        command = [python, "-m", "mlflow", "db", "upgrade", DATABASE_URI]
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False)
    if done.returncode:
        say(f"the database cannot be upgraded; the log is {folder / 'server.log'}")
        sys.exit(3)


def wait_until_ready(folder: Path, server: Server, process: subprocess.Popen[bytes] | None = None) -> None:
    """Block until it answers; exit 3 when it ended or stays silent.

    A child of ours is asked by ``process``: a program that has only just started has no command line yet.
    """
    until = time.monotonic() + START_TIMEOUT_S
    while not answers(server.port):
        if not is_alive(server) if process is None else process.poll() is not None:
            lines = (folder / "server.log").read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
            say(f"the server ended before it was ready: {last}")
            say(f"its log is {folder / 'server.log'}")
            sys.exit(3)
        if time.monotonic() > until:
            say(f"{server.url} (pid {server.pid}) has not answered for {START_TIMEOUT_S} s; make down, then make up")
            sys.exit(3)
        time.sleep(0.1)


def start(folder: Path, wanted: int | None) -> Server:
    """Return the running server of this folder, started if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "server.lock"):
        last = read(folder)
        if last and is_alive(last):
            moved = last.folder != str(folder)
            port_changed = wanted not in {None, 0, last.port} and is_free(wanted or 0)
            if not (moved or port_changed or last.packages != server_env.lock_hash()):
                wait_until_ready(folder, last)
                return last
            end(last)
        server_state.end_those_without_folder()
        python = server_env.python()
        if last and last.packages != server_env.lock_hash() and (folder / "mlflow.db").exists():
            upgrade(folder, python)
        # Two clones that start at once would choose one port: the next chooses when this one listens.
        with locked(server_env.cache_folder() / "ports.lock"):
            began = time.monotonic()
            port = choose_port(wanted, last.port if last else None)
            say(f"starting the MLflow server on http://127.0.0.1:{port}")
            process = spawn(folder, python, port)
            server = Server(
                pid=process.pid,
                port=port,
                folder=str(folder),
                inode=folder.stat().st_ino,
                packages=server_env.lock_hash(),
            )
            write(folder, server)
            wait_until_ready(folder, server, process)
        say(f"ready after {time.monotonic() - began:.0f} s; its data is in {folder}")
        return server


def stop(folder: Path) -> None:
    """End the server of this folder if it runs."""
    if not folder.is_dir():
        say("was not running")
        return
    with locked(folder / "server.lock"):
        server = running(folder)
        if server is None:
            say("was not running")
            return
        end(server)
        write(folder, replace(server, pid=None))
    say(f"stopped; its data stays in {folder}")


def port_number(word: str) -> int:
    """Read a port.

    Raises:
        argparse.ArgumentTypeError: It is no number between 0 and 65535.
    """
    if word.isdecimal() and int(word) < PORTS_END:
        return int(word)
    raise argparse.ArgumentTypeError(f"{word!r} is no port: a number between 0 and 65535 (MLFLOW_PORT, --port)")


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop", "status", "url"])
    parser.add_argument("--dir", type=Path, default=DEFAULT_FOLDER, help=argparse.SUPPRESS)
    port = os.environ.get("MLFLOW_PORT") or None
    parser.add_argument("--port", type=port_number, default=port, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.dir.resolve()
    if options.action == "start":
        sys.stdout.write(start(folder, options.port).url + "\n")
        return 0
    if options.action == "stop":
        stop(folder)
        return 0
    server = running(folder)
    if server is None:
        say("is not running; start it with: make up")
        return 1
    more = f" (pid {server.pid}, data in {folder})" if options.action == "status" else ""
    sys.stdout.write(f"{server.url}{more}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        say(f"{error.strerror}: {error.filename}" if error.filename else str(error))
        sys.exit(3)
