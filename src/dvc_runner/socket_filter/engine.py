"""The filter's own way to the engine: one request a connection, each written by the filter."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import h11

from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.refused import EngineGoneError
from dvc_runner.socket_filter.strict_json import Json, serialise

CHUNK = 2**18
LONGEST_ANSWER = 2**26
OK = 200
NOT_FOUND = 404
SWITCHING = 101
TOLD = (b"content-type", b"api-version", b"builder-version", b"docker-experimental", b"ostype", b"server")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer; ``headers`` are those that a client of the engine reads."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def well(self) -> bool:
        """Whether the engine did it."""
        return OK <= self.status < OK + 100


def of_json(status: int, value: Json) -> Answer:
    """Make an answer of our own."""
    return Answer(status=status, body=serialise(value), headers=((b"content-type", b"application/json"),))


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection to the engine."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection

    async def send(self, *events: h11.Event) -> None:
        """Send parts of a request."""
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()

    async def head(self) -> h11.Response | h11.InformationalResponse:
        """Take the head of the answer, or the engine's word that it turns to raw bytes."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse) and event.status_code == SWITCHING:
                return event

    async def rest(self, head: h11.Response) -> Answer:
        """Take the rest of a whole answer."""
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > LONGEST_ANSWER:
                raise EngineGoneError("the container engine's answer is longer than any that is known")
        told = tuple((name, value) for name, value in head.headers if name in TOLD)
        return Answer(status=head.status_code, body=bytes(body), headers=told)

    @property
    def early(self) -> bytes:
        """What the engine sent behind its word that it turns to raw bytes."""
        return self.http.trailing_data[0]

    async def _event(self) -> h11.Event:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(CHUNK))
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise EngineGoneError("the container engine ended its answer early")
        return event


class Engine:
    """The engine at a unix socket."""

    def __init__(self, socket: Path) -> None:
        """Talk to ``socket``; nothing is connected before something is asked."""
        self._socket = socket

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """Give a connection for one request."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=CHUNK)
        except OSError as error:
            raise EngineGoneError(f"the container engine does not answer: {error.strerror}") from error
        try:
            yield Connection(reader, writer, h11.Connection(h11.CLIENT))
        except h11.RemoteProtocolError as error:
            raise EngineGoneError(f"the container engine went away: {error}") from error
        finally:
            writer.close()

    async def whole(self, ask: Ask) -> Answer:
        """Ask, and take the whole answer."""
        async with self.connected() as connection:
            await connection.send(request(ask), *_body(ask), h11.EndOfMessage())
            head = await connection.head()
            if isinstance(head, h11.InformationalResponse):
                raise EngineGoneError("the container engine turned to raw bytes unasked")
            return await connection.rest(head)


def request(ask: Ask, *extra: tuple[str, str]) -> h11.Request:
    """Write a request's head anew; nothing in it is the client's own text."""
    length = [] if extra else [("Content-Length", str(sum(len(part.data) for part in _body(ask))))]
    kind = [("Content-Type", "application/json")] if ask.body is not None else []
    close = [] if any(name == "Upgrade" for name, _ in extra) else [("Connection", "close")]
    return h11.Request(
        method=ask.method,
        target=ask.target,
        headers=[("Host", "docker"), *close, *kind, *length, *ask.login, *extra],
    )


def _body(ask: Ask) -> list[h11.Data]:
    return [] if ask.body is None else [h11.Data(data=serialise(ask.body))]
