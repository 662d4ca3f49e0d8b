"""A DagsHub of this machine: its addresses for one repository, of real parts, on loopback.

stand_in.py               start it, say which variables lead to it, end at Ctrl-C
stand_in.py --json        say it as one JSON object instead, and end when standard input closes as well

nginx stands before MLflow 2.7.1 (USER/REPO.mlflow), rclone's S3 server (USER/REPO.s3) and a folder (USER/REPO.dvc).
What they hold lies in a temporary folder, and goes with them.
"""

import argparse
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tracking-server"))

import nginx_config
import packages
import parts
import signatures

PORT = 5080
LOCK = "stand-in.lock"
FOREIGN = ("MLFLOW_", "_MLFLOW_", "DAGSHUB_", "DVC_", "AWS_", "RCLONE_", "PYTHON", "VIRTUAL_ENV", "GUNICORN_")
REGISTRY = ("/registered-models/", "/model-versions/")


@contextmanager
def running(
    site: nginx_config.Site, *, port: int, registry: bool
) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """Start every part; give the address, and the programs to keep an eye on.

    Raises:
        packages.MissingError: Something is not on this machine.
        parts.PartError: A part does not start.
    """
    nginx, venv = packages.nginx(), packages.folder()
    routes = [path for path in packages.routes(venv) if registry or not any(word in path for word in REGISTRY)]
    with ExitStack() as stack:
        folder = stack.enter_context(_own_folder())
        sockets = nginx_config.Sockets.below(folder)
        front = stack.enter_context(closing(_listening(port)))
        address = front.getsockname()[1]
        for name in ("dav", "s3/dvc", "artifacts"):
            (folder / name).mkdir(parents=True)
        (folder / "nginx.conf").touch(mode=0o600)
        (folder / "nginx.conf").write_text(nginx_config.text(site, sockets, folder, port=address, routes=routes))
        try:
            programs = [
                stack.enter_context(parts.started(command, folder, env=env, fds=fds))
                for command, env, fds in (
                    (*_mlflow(venv, sockets.mlflow), ()),
                    (*_rclone(venv, sockets.s3, folder), ()),
                    # nginx takes the socket over that is open already, so nobody can take its port meanwhile.
                    (
                        [nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")],
                        {"NGINX": f"{front.fileno()};"},
                        (front.fileno(),),
                    ),
                )
            ]
            stack.enter_context(signatures.serving(sockets.signatures, writer=site.token, reader=site.read_only_token))
            for path, program in zip((sockets.mlflow, sockets.s3, sockets.dav), programs, strict=True):
                parts.wait_for(path, program)
        except parts.PartError as error:
            raise parts.PartError(f"{error}\n{parts.last_words(folder)}") from None
        yield f"http://127.0.0.1:{address}", programs


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Give a temporary folder, and remove those of stand-ins that were killed."""
    # A socket's path ends at 108 bytes: not below a folder of the project's.
    made = Path(tempfile.mkdtemp(prefix="new-dagshub-"))
    with (made / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now may another find it.
        folder = made.rename(made.with_name(made.name.removeprefix("new-")))
        for other in folder.parent.glob(f"dagshub-*/{LOCK}"):
            with suppress(OSError), other.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other.parent, ignore_errors=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _listening(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
    except OSError:
        if port != PORT:
            raise
        found.bind(("127.0.0.1", 0))
    found.listen(128)
    return found


def _own(venv: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PATH": f"{venv / 'bin'}:{os.environ.get('PATH', os.defpath)}"}


def _mlflow(venv: Path, listen: Path) -> tuple[list[str], dict[str, str]]:
    # What `mlflow server` starts, except that this gunicorn listens at a socket that no other user reaches.
    told = {
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:///mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "artifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    gunicorn = [str(venv / "bin" / "gunicorn"), "--bind", f"unix:{listen}", "--workers", "1", "--threads", "4"]
    return [*gunicorn, "--timeout", "120", "mlflow.server:app"], _own(venv) | told


def _rclone(venv: Path, listen: Path, folder: Path) -> tuple[list[str], dict[str, str]]:
    serve = [str(venv / "bin" / "rclone"), "serve", "s3", str(folder / "s3"), "--addr", f"unix://{listen}"]
    return [*serve, "--config", "/dev/null"], _own(venv)


def main() -> int:
    """Start it, say where it is, wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=PORT, help=argparse.SUPPRESS)
    parser.add_argument("--without-registry", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    tokens = {"token": secrets.token_hex(20), "read_only_token": secrets.token_hex(20)}
    site = nginx_config.Site(owner="ada", name="iris", user="ada", **tokens)
    with running(site, port=options.port, registry=not options.without_registry) as (address, programs):
        values = {
            "DAGSHUB_URL": address,
            "DAGSHUB_USER_NAME": site.user,
            "DAGSHUB_TOKEN": site.token,
            "DAGSHUB_REPO": f"{site.owner}/{site.name}",
        }
        if options.json:
            sys.stdout.write(json.dumps(values | {"read_only_token": site.read_only_token}) + "\n")
        else:
            lines = "".join(f"{name}={value}\n" for name, value in values.items())
            sys.stdout.write(
                f"# into .env, then make connect-dagshub; Ctrl-C here ends it, with all that it holds\n{lines}"
            )
            sys.stdout.write(f"# a token that may only read: {site.read_only_token}\n")
        sys.stdout.flush()
        while True:
            for program in programs:
                if program.poll() is not None:
                    raise parts.PartError(parts.ended(program))
            if not options.json:
                time.sleep(0.5)
            elif select.select([sys.stdin], [], [], 0.5)[0] and not os.read(0, 1024):
                return 0


def run_main() -> int:
    """Turn what a user can put right into its lines and exit code 3, a part that fails into exit code 1."""
    try:
        return main()
    except packages.MissingError as error:
        sys.stderr.write(f"dagshub-local: {error}\n")
        return 3
    except parts.PartError as error:
        sys.stderr.write(f"dagshub-local: {error}\n")
    except OSError as error:
        sys.stderr.write(f"dagshub-local: {error.filename or ''} {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(run_main())
