"""Servers that a test puts in the place of others."""

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


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


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a web server answers with."""

    status: int = 200
    kind: str = "text/html"
    text: str = "<html>a page</html>"
    location: str | None = None


@contextlib.contextmanager
def web(answer: Callable[[str, str, Mapping[str, str]], Told], address: str = "127.0.0.1") -> Iterator[int]:
    """A web server that answers by method, path and headers; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told = answer(self.command, self.path, dict(self.headers))
            self.send_response(told.status)
            self.send_header("Content-Type", told.kind)
            if told.location:
                self.send_header("Location", told.location)
            self.send_header("Content-Length", str(len(told.text.encode())))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told.text.encode())

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *arguments: object) -> None:
            del arguments

    with http.server.ThreadingHTTPServer((address, 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found.server_port
        found.shutdown()


@contextlib.contextmanager
def forwarding(upstream: str, seen: Callable[[str, str, str], int | Told | None]) -> Iterator[str]:
    """Stand before a web server; gives the address.

    ``seen`` is told method and path of each request, before it is handed on ("asked") and with the answer at hand
    ("answered"). What it gives is what the other side gets; a status comes in place of a request with a page, and with
    0 the connection ends without an answer.
    """
    address = urlsplit(upstream)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, answer = 200, "text/html", b"<html>a page</html>"
            told = seen(self.command, self.path, "asked")
            if told is None:
                with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=60)) as onward:
                    kept = {
                        name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers
                    }
                    onward.request(self.command, address.path + self.path, body, kept)
                    reply = onward.getresponse()
                    status, kind, answer = reply.status, reply.headers.get("Content-Type", ""), reply.read()
                told = seen(self.command, self.path, "answered")
            if isinstance(told, Told):
                status, kind, answer = told.status, told.kind, told.text.encode()
            elif told is not None:
                status = told
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 - http.server's names

        def log_message(self, *arguments: object) -> None:
            del arguments

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


# What MLflow's own answers would be without their content.
BLANK = Told(kind="application/json", text="{}")
EMPTY = Told(kind="application/json", text="")


def an_mlflow(method: str, path: str, headers: Mapping[str, str]) -> Told:
    """Answer as an MLflow server does to what the doctor asks."""
    del method, headers
    if path.startswith("/version"):
        return Told(text="9.8.7")
    return BLANK if path.startswith("/api/2.0/mlflow") else Told(status=404)
