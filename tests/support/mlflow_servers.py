"""Real MLflow servers of several versions, and a real nginx before them."""

import base64
import contextlib
import functools
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import trustme
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tracking-server"))

import server_env  # noqa: E402

# The order of their age. The last is the one that the project itself starts.
LOCKS = {
    **{version: ROOT / f"tests/servers/mlflow-{version}/requirements.txt" for version in ("2.7.1", "2.11.3", "2.22.4")},
    "3.17.2": server_env.LOCK_FILE,
}
OLDEST, NEWEST = next(iter(LOCKS)), list(LOCKS)[-1]
# What the two oldest need is not there for newer Pythons, and the locks are for 3.11 and newer.
OLD_PYTHON = (3, 11)
NEEDS_OLD_PYTHON = ("2.7.1", "2.11.3")
# Read before the tests' own cache takes its place: these environments are made once per machine.
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
START_S = 120
USER, PASSWORD = "ada", "s3cret pässword:1"
PATH_BELOW = "/ada/iris.mlflow"


def chosen() -> list[str]:
    """Give the versions to try: the oldest and the newest, or what TEST_SERVERS says (versions, or all)."""
    said = os.environ.get("TEST_SERVERS", f"{OLDEST} {NEWEST}").split()
    return list(LOCKS) if said == ["all"] else said


def missing(what: str) -> None:
    """Skip a test for what this machine lacks; where everything was promised to be there, fail it."""
    (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)(what)


@functools.cache
def python_of(version: str) -> str:
    """Give the Python that has this MLflow, installed when this machine has none."""
    base = sys.executable
    if version in NEEDS_OLD_PYTHON and sys.version_info[:2] != OLD_PYTHON:
        base = _old_python()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        return server_env.python(LOCKS[version], base)


def _old_python() -> str:
    if found := shutil.which("python3.11"):
        question = "import sys; print(sys.executable, sys.version_info[:2] == (3, 11))"
        done = subprocess.run([found, "-c", question], capture_output=True, text=True, check=False)
        path, _, right = done.stdout.strip().rpartition(" ")
        if done.returncode == 0 and right == "True":
            return path
    missing("MLflow before 2.12 is locked for Python 3.11, and there is no python3.11 that runs")
    raise AssertionError


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class MlflowServer:
    """An MLflow server that can be ended and started again, on the same port, with the same data."""

    version: str
    folder: Path
    port: int = field(default_factory=free_port)
    # Where artifacts are, if the server is not to hand them on.
    artifact_root: str | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until its store is ready."""
        python = Path(python_of(self.version))
        command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"]
        if self.artifact_root:
            command += ["--no-serve-artifacts", "--default-artifact-root", self.artifact_root]
        else:
            command += ["--serve-artifacts", "--artifacts-destination", "artifacts"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
        environment = clean | {
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",  # where it looks for gunicorn
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        assert until(self.is_ready, START_S), (self.folder / "server.log").read_text()[-3000:]

    def is_ready(self) -> bool:
        """Say whether it answers."""
        assert self.process
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
        return _is_ready(self.port)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have it hold connections and answer none inside the block."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it and all that it started, at once."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def _is_ready(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", "/api/2.0/mlflow/experiments/search?max_results=1")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


@contextlib.contextmanager
def mlflow_server(version: str, folder: Path, artifact_root: str | None = None) -> Iterator[MlflowServer]:
    """A server of that version."""
    server = MlflowServer(version, folder, artifact_root=artifact_root)
    try:
        server.start()
        yield server
    finally:
        server.kill()


PORT = 5000


@contextlib.contextmanager
def in_container(api: docker.APIClient, image: str) -> Iterator[tuple[int, str]]:
    """The newest server, in a container with this machine's own Python; gives its published port and its address."""
    python = Path(python_of(NEWEST))
    venv, base = python.parents[1], Path(sys.base_prefix)
    shown = [Path("/usr"), venv, *([] if base.is_relative_to("/usr") else [base])]
    command = [str(python), "-m", "mlflow", "server", "--host", "0.0.0.0", "--port", str(PORT), "--workers", "1"]
    command += ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "artifacts"]
    env = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": "/tmp",
        "LD_LIBRARY_PATH": f"{base}/lib",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    body = {
        "Image": image,
        "Entrypoint": [],
        "Cmd": command,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": "0",
        "WorkingDir": "/tmp",
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "HostConfig": {
            "Mounts": [{"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": True} for path in shown],
            "Tmpfs": {"/tmp": "exec"},
            "PortBindings": {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
    }
    made = str(api.create_container_from_config(body)["Id"])
    try:
        api.start(made)
        network = api.inspect_container(made)["NetworkSettings"]
        port = int(network["Ports"][f"{PORT}/tcp"][0]["HostPort"])
        assert until(lambda: _is_ready(port), START_S), api.logs(made).decode()
        yield port, str(network["IPAddress"] or network["Networks"]["bridge"]["IPAddress"])
    finally:
        api.remove_container(made, force=True, v=True)


NGINX = """
pid nginx.pid;
error_log error.log;
daemon off;
worker_processes 1;
{user}
events {{}}
http {{
  access_log access.log;
  client_max_body_size 0;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port}{tls};
    proxy_set_header Host $http_host;
    proxy_set_header Authorization "";
    location / {{
      auth_basic "MLflow";
      auth_basic_user_file users;
      proxy_pass {upstream}/;
    }}
    location {below}/ {{
      auth_basic "MLflow";
      auth_basic_user_file users;
      proxy_pass {upstream}/;
    }}
    location /open{below}/ {{
      proxy_pass {upstream}/;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(upstream: str, folder: Path, certificate: trustme.LeafCert | None = None) -> Iterator[str]:
    """A real nginx before a server, with TLS if it has a certificate, for localhost; gives its address.

    It asks for a password at ``/`` and at ``PATH_BELOW``, and for none at ``/open`` + ``PATH_BELOW``.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        missing("nginx is not installed")
    assert program
    folder.mkdir(parents=True)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    tls = ""
    if certificate:
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
        tls = " ssl;\n    ssl_certificate tls.pem;\n    ssl_certificate_key tls.pem"
    settings = NGINX.format(port=port, tls=tls, upstream=upstream, user=user, below=PATH_BELOW)
    (folder / "nginx.conf").write_text(settings)
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode() + b"salt").digest() + b"salt").decode()
    (folder / "users").write_text(f"{USER}:{{SSHA}}{hashed}\n")
    command = [program, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        assert until(lambda: process.poll() is not None or _listens(port)), (folder / "error.log").read_text()
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
