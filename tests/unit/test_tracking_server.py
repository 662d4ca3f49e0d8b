"""The local MLflow server: a real one, started, found again, stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.waiting import runs, until

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tracking-server"))

import server as tracking_server  # noqa: E402
import server_state  # noqa: E402
from server_state import Server  # noqa: E402

SCRIPT = ROOT / "tracking-server" / "server.py"
SECRET = "s3cret-t0ken"
ARTIFACT = b"weights"


def run(*arguments: str | Path, code: int = 0, **environment: str) -> str:
    """Run server.py; give its stdout."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.strip() or done.stderr.strip()


def ask(url: str, body: dict[str, str] | None = None, host: str | None = None) -> int:
    """Send a request; give the status of its answer."""
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def state(folder: Path) -> Server:
    """Read what the server's folder tells of it."""
    found = server_state.read(folder)
    assert found
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running server, which two processes started at the same moment."""
    folder = tmp_path_factory.mktemp("servers") / "dätä #1 100%?"
    command: list[str | Path] = [sys.executable, SCRIPT, "start", "--dir", folder, "--port", "0"]
    environment = os.environ | {"DAGSHUB_TOKEN": SECRET, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    try:
        urls = {starting.communicate(timeout=300)[0] for starting in both}
        assert len(urls) == 1, "two servers were started"
        yield folder
    finally:
        run("stop", "--dir", folder)


def test_it_is_ready_when_start_returns(folder: Path) -> None:
    url = run("url", "--dir", folder)
    assert ask(f"{url}/api/2.0/mlflow/experiments/search?max_results=1") == 200


def test_a_second_start_finds_it(folder: Path) -> None:
    pid = state(folder).pid
    assert run("start", "--dir", folder) == run("url", "--dir", folder)
    assert state(folder).pid == pid
    assert str(pid) in run("status", "--dir", folder)


def test_it_outlives_ctrl_c(folder: Path) -> None:
    pid = state(folder).pid
    assert pid
    assert os.getsid(pid) == pid


def test_it_is_told_none_of_the_clients_secrets(folder: Path) -> None:
    environment = Path(f"/proc/{state(folder).pid}/environ").read_text()
    assert SECRET not in environment
    assert "MLFLOW_TRACKING_URI" not in environment


@cases(
    "host, status",
    {
        "a container's name for it": ("mlflow:5000", 200),
        "a container's name for this machine": ("host.docker.internal:5000", 200),
        "localhost": ("localhost:5000", 200),
        "a page that rebinds a name": ("evil.example.com", 403),
    },
)
def test_names_it_answers_to(folder: Path, host: str, status: int) -> None:
    assert ask(f"{state(folder).url}/api/2.0/mlflow/experiments/search?max_results=1", host=host) == status


def test_a_copied_folder_has_no_server(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert "not running" in run("status", "--dir", copy, code=1)
    run("stop", "--dir", copy)
    assert runs(state(folder).pid or 0)


def test_stop_ends_all_of_it_and_its_data_is_there_again(folder: Path) -> None:
    before = state(folder)
    assert before.pid
    assert ask(f"{before.url}/api/2.0/mlflow/experiments/create", {"name": "kept"}) == 200
    upload = urllib.request.Request(f"{before.url}/api/2.0/mlflow-artifacts/artifacts/a/b", data=ARTIFACT, method="PUT")
    urllib.request.urlopen(upload, timeout=20).close()
    members = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _group(path) == before.pid]
    assert len(members) > 1

    run("stop", "--dir", folder)
    assert until(lambda: not any(runs(pid) for pid in members), seconds=2)
    assert "not running" in run("stop", "--dir", folder)

    run("start", "--dir", folder)
    after = state(folder)
    assert after.port == before.port
    assert ask(f"{after.url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept") == 200
    with urllib.request.urlopen(f"{after.url}/api/2.0/mlflow-artifacts/artifacts/a/b", timeout=20) as answer:
        assert answer.read() == ARTIFACT


def _group(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return 0


def test_a_server_that_was_killed_is_started_anew(folder: Path) -> None:
    before = state(folder)
    assert before.pid
    os.killpg(before.pid, signal.SIGKILL)
    assert until(lambda: not server_state.is_alive(before))
    assert "not running" in run("status", "--dir", folder, code=1)
    assert run("start", "--dir", folder) == before.url
    assert state(folder).pid != before.pid


def test_a_number_that_another_process_got_since_is_not_taken_for_it(tmp_path: Path) -> None:
    ours = Server(pid=os.getpid(), port=5000, folder=str(tmp_path), inode=tmp_path.stat().st_ino, packages="x")
    server_state.write(tmp_path, ours)
    assert server_state.read(tmp_path) == ours
    run("stop", "--dir", tmp_path)
    assert server_state.running(tmp_path) is None


def test_the_server_of_a_deleted_clone_is_ended_by_the_next_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stand-ins: processes that a server's words name."""
    servers = {}
    for port, name in ((5001, "deleted"), (5002, "made anew"), (5003, "still there")):
        folder = tmp_path / name
        folder.mkdir()
        process = subprocess.Popen(["sh", "-c", "sleep 60; :", "mlflow", "--port", str(port)], start_new_session=True)
        server = Server(pid=process.pid, port=port, folder=str(folder), inode=folder.stat().st_ino, packages="x")
        server_state.write(folder, server)
        servers[name] = (process, server)
    shutil.rmtree(tmp_path / "deleted")
    (tmp_path / "made anew").rename(tmp_path / "moved")
    (tmp_path / "made anew").mkdir()
    server_state.end_those_without_folder()
    assert "deleted, which is gone" in capsys.readouterr().err
    assert [name for name, (_, server) in servers.items() if server_state.is_alive(server)] == ["still there"]
    for process, server in servers.values():
        server_state.end(server)
        process.wait()


@cases(
    "text",
    {"empty": ("",), "cut off": ('{"pid": 1',), "another shape": ('{"pid": 1}',), "a list": ("[]",)},
)
def test_a_broken_state_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert server_state.read(tmp_path) is None


def test_the_port_is_the_wanted_one_or_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = tracking_server.choose_port(port, None)
        assert found > port
        assert str(port) in capsys.readouterr().err
        assert tracking_server.choose_port(None, port) != port
    assert tracking_server.choose_port(port, None) == port
    assert tracking_server.choose_port(None, port) == port
    assert tracking_server.choose_port(0, port) > 0


@cases("word", {"a name": ("http",), "too high": ("65536",), "negative": ("-1",), "a fraction": ("5000.0",)})
def test_a_port_that_is_none_is_refused(tmp_path: Path, word: str) -> None:
    assert "is no port" in run("start", "--dir", tmp_path, code=2, MLFLOW_PORT=word)


def test_no_network_is_told_in_two_lines(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_HTTP_RETRIES": "0"}
    told = run("start", "--dir", tmp_path / "data", code=3, **nowhere, **cache)
    assert "no network for packages" in told
    assert "install.log" in told


def test_its_state_holds_what_a_reader_needs(folder: Path) -> None:
    assert json.loads((folder / "server.json").read_text()) == asdict(state(folder))
