"""The runner's end of ``network: tracking``: a socket for each server, and none that leads elsewhere."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvc_runner.engine.guard_main import pump
from dvc_runner.model import Server

SOCKET_NAME = "server-{}.sock"
CONNECT_S = 10


@contextlib.contextmanager
def listening(folder: Path, servers: Sequence[Server]) -> Iterator[None]:
    """Join every connection to ``folder/server-N.sock`` with the server of that number."""
    with contextlib.ExitStack() as stack:
        for number, server in enumerate(servers):
            stack.enter_context(_listening(folder, SOCKET_NAME.format(number), server))
        yield


@contextlib.contextmanager
def _listening(folder: Path, name: str, target: Server) -> Iterator[None]:
    server = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A unix socket's path ends at 108 bytes; by way of the descriptor any folder is short.
        server.bind(f"/proc/self/fd/{descriptor}/{name}")
        (folder / name).chmod(0o666)
        server.listen()
        threading.Thread(target=_accept, args=(server, target), daemon=True).start()
        yield
    finally:
        # close() alone leaves a thread in accept() waiting for ever.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        os.close(descriptor)


def _accept(server: socket.socket, target: Server) -> None:
    while True:
        try:
            inside, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_carry, args=(inside, target), daemon=True).start()


def _carry(inside: socket.socket, target: Server) -> None:
    try:
        outside = socket.create_connection((target.host, target.port), timeout=CONNECT_S)
    except OSError:
        inside.close()
        return
    outside.settimeout(None)
    threading.Thread(target=pump, args=(inside, outside), daemon=True).start()
    pump(outside, inside)
    inside.close()
    outside.close()
