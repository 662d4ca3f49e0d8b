"""Finding an engine, and choosing an executor by what is found."""

import gc
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cases import cases
from tests.support.people import as_somebody
from tests.support.servers import answering

from dvc_runner.engine import client
from dvc_runner.errors import EXIT_ENGINE, EXIT_USAGE, EngineError, EnginePermissionError, UsageError
from dvc_runner.executors.base import Executor
from dvc_runner.executors.table import choose
from dvc_runner.model import EngineSettings

NOWHERE = "unix:///nonexistent/docker.sock"


# The SDK closes no socket that it could not connect.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have such sockets go with their test, not in the middle of another."""
    yield
    gc.collect()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket, which anybody can walk to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@cases(
    "host",
    {
        "a socket that is not there": [NOWHERE],
        "a port where nobody listens": ["tcp://127.0.0.1:1"],
        "another kind of address": ["nonsense://x"],
        "no address at all": ["x"],
    },
)
def test_no_engine_is_told_with_its_address(host: str) -> None:
    with pytest.raises(EngineError) as raised:
        client.connect(host)
    assert host.removeprefix("unix://") in str(raised.value)
    assert raised.value.exit_code == EXIT_ENGINE
    assert not isinstance(raised.value, EnginePermissionError)


def test_a_socket_where_nobody_listens(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
    with pytest.raises(EngineError, match=str(folder / "s")):
        client.connect(f"unix://{folder}/s")


@cases(
    "answer",
    {
        "nothing": [b""],
        "nonsense": [b"hello\n"],
        "another server": [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
        "an error": [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"],
    },
)
# docker 7.2 leaves its socket open when it cannot make out the engine's version.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_socket_where_something_else_answers(folder: Path, answer: bytes) -> None:
    with answering(folder / "s", answer), pytest.raises(EngineError, match=str(folder / "s")):
        client.connect(f"unix://{folder}/s")
    gc.collect()


@pytest.fixture
def forbidden(folder: Path) -> Iterator[str]:
    with answering(folder / "s", b""):
        (folder / "s").chmod(0)
        yield f"unix://{folder}/s"


def test_a_socket_that_is_not_ours_names_the_group(folder: Path, forbidden: str) -> None:
    group = (folder / "s").group()

    def act() -> None:
        with pytest.raises(EnginePermissionError, match=str(folder / "s")) as raised:
            client.connect(forbidden)
        assert group in str(raised.value)
        assert group in raised.value.remedy

    as_somebody(act)


def chosen(wanted: str | None, host: str) -> tuple[Executor, str]:
    engine = EngineSettings(host=host, guard_image="guard")
    return choose(wanted, Path("/project"), engine=engine, cache=Path("/cache"))


def test_no_engine_gives_processes_and_says_why() -> None:
    executor, why = chosen(None, NOWHERE)
    assert executor.name == "process"
    assert NOWHERE.removeprefix("unix://") in why


def test_processes_when_asked_for() -> None:
    assert chosen("process", NOWHERE)[0].name == "process"


def test_no_engine_is_an_error_when_one_is_asked_for() -> None:
    with pytest.raises(EngineError, match=NOWHERE.removeprefix("unix://")):
        chosen("docker", NOWHERE)


def test_an_executor_of_another_name() -> None:
    with pytest.raises(UsageError, match="podman") as raised:
        chosen("podman", NOWHERE)
    assert raised.value.exit_code == EXIT_USAGE
    for name in ("docker", "process"):
        assert name in raised.value.remedy


def test_an_engine_that_is_not_ours_is_not_passed_over_in_silence(forbidden: str) -> None:
    def act() -> None:
        with pytest.raises(EnginePermissionError):
            chosen(None, forbidden)

    as_somebody(act)
