"""Servers that a test puts in the place of others."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path


def serve(server: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    """Hand every connection to ``talk``, on a thread of its own, until the server is shut down."""

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A socket that says ``answer`` to whoever connects."""

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        serve(server, talk)
        yield
        server.shutdown(socket.SHUT_RDWR)
