"""The runner's end of ``network: tracking``: a socket that leads to one server, and no other."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from dvc_runner.engine.guard_main import pump

SOCKET_NAME = "tracking.sock"
CONNECT_S = 10


@contextlib.contextmanager
def listening(folder: Path, host: str, port: int) -> Iterator[None]:
    """Join every connection to ``folder/tracking.sock`` with ``host:port``."""
    server = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A unix socket's path ends at 108 bytes; by way of the descriptor any folder is short.
        server.bind(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
        (folder / SOCKET_NAME).chmod(0o666)
        server.listen()
        threading.Thread(target=_accept, args=(server, host, port), daemon=True).start()
        yield
    finally:
        # close() alone leaves a thread in accept() waiting for ever.
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        os.close(descriptor)


def _accept(server: socket.socket, host: str, port: int) -> None:
    while True:
        try:
            inside, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_carry, args=(inside, host, port), daemon=True).start()


def _carry(inside: socket.socket, host: str, port: int) -> None:
    try:
        outside = socket.create_connection((host, port), timeout=CONNECT_S)
    except OSError:
        inside.close()
        return
    outside.settimeout(None)
    threading.Thread(target=pump, args=(inside, outside), daemon=True).start()
    pump(outside, inside)
    inside.close()
    outside.close()
