"""The way from a stage to its tracking server: guard, socket, forwarder, server; on real sockets."""

import contextlib
import inspect
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.servers import serve

from dvc_runner.engine import forwarder, guard_main
from dvc_runner.model import Server

PATIENCE_S = 10
SOCKET_NAME = forwarder.SOCKET_NAME.format(0)
MEGABYTE = 2**20


def at(port: int) -> Server:
    """A server of this machine's."""
    return Server(host="127.0.0.1", port=port)


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """A server that sends everything back, with a word at the end; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)
                connection.sendall(b"end")

        serve(server, talk)
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def through(folder: Path) -> Iterator[socket.socket]:
    """A connection to the forwarder's socket, however deep its folder lies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
            yield connection
    finally:
        os.close(descriptor)


def said(connection: socket.socket) -> bytes:
    """All that comes until the other end is done."""
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


def ask(connection: socket.socket, data: bytes) -> bytes:
    """Say something, be done, and hear the answer."""

    def send() -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    answer = said(connection)
    sender.join(PATIENCE_S)
    return answer


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder too deep for a unix socket's path."""
    folder = tmp_path.joinpath(*["a deep folder: é"] * 10)
    folder.mkdir(parents=True)
    assert len(os.fsencode(folder)) > 108
    return folder


def test_bytes_go_both_ways_from_a_deep_folder(deep: Path) -> None:
    data = os.urandom(3 * MEGABYTE)
    with echo() as port, forwarder.listening(deep, [at(port)]), through(deep) as connection:
        assert ask(connection, data) == data + b"end"


def test_connections_do_not_wait_for_each_other(deep: Path) -> None:
    with echo() as port, forwarder.listening(deep, [at(port)]), contextlib.ExitStack() as stack:
        connections = [stack.enter_context(through(deep)) for _ in range(20)]
        for number, connection in reversed(list(enumerate(connections))):
            assert ask(connection, b"%d" % number) == b"%dend" % number


def test_anybody_may_connect_as_the_guard_is_another_user(deep: Path) -> None:
    with echo() as port, forwarder.listening(deep, [at(port)]):
        assert (deep / SOCKET_NAME).stat().st_mode & 0o777 == 0o666


def test_a_server_that_is_gone_ends_the_connection_and_no_other(deep: Path) -> None:
    with echo() as port:
        with forwarder.listening(deep, [at(1)]), through(deep) as connection:
            assert said(connection) == b""
        (deep / SOCKET_NAME).unlink()
        with forwarder.listening(deep, [at(port)]), through(deep) as connection:
            assert ask(connection, b"x") == b"xend"


def test_nobody_listens_afterwards(deep: Path) -> None:
    with echo() as port, forwarder.listening(deep, [at(port)]):
        pass
    with pytest.raises(OSError, match=r"refused|No such"), through(deep):
        pytest.fail("somebody listens")


@contextlib.contextmanager
def guard(*arguments: str, code: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A guard as the executor starts it, up to its first word."""
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


CODE = inspect.getsource(guard_main)


def test_guard_ends_when_its_input_does() -> None:
    with guard(code=CODE) as process:
        assert process.poll() is None
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_guard_does_not_end_with_its_children() -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '0.1'])\n"
    with guard(code=child + CODE) as process, pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_stage_reaches_the_server_through_guard_and_forwarder() -> None:
    port = free_port()
    data = os.urandom(MEGABYTE)
    with tempfile.TemporaryDirectory(prefix="g") as name:
        code = CODE.replace(guard_main.SOCKET, f"{name}/{forwarder.SOCKET_NAME}")
        with (
            echo() as server,
            forwarder.listening(Path(name), [at(server)]),
            guard(f"127.0.0.1:{port}", code=code) as process,
        ):
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
                    assert ask(connection, data) == data + b"end"
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S):
                assert process.stdin
                process.stdin.close()
                assert process.wait(PATIENCE_S) == 0


def test_a_server_that_is_away_ends_what_the_stage_said_at_once() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="g") as name:
        code = CODE.replace(guard_main.SOCKET, f"{name}/{forwarder.SOCKET_NAME}")
        with forwarder.listening(Path(name), [at(1)]), guard(f"127.0.0.1:{port}", code=code):
            for _ in range(10):
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    with contextlib.suppress(ConnectionError):
                        assert said(connection) == b""


def test_guard_outlives_a_runner_that_does_not_forward() -> None:
    port = free_port()
    with guard(f"127.0.0.1:{port}", code=CODE.replace(guard_main.SOCKET, "/nonexistent/socket")) as process:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            assert said(connection) == b""
        assert process.poll() is None
