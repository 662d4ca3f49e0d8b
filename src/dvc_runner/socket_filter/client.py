"""The runner's side of the filter: one strictly parsed request a connection, one answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import h11

from dvc_runner.socket_filter.engine import CHUNK, SWITCHING, Answer
from dvc_runner.socket_filter.refused import RefusedError

LONGEST_BODY = 2**23
NO_CONTENT = 204
# What a refused client may still be sending before it reads the answer.
LINGER_BYTES = 2**30
LINGER_S = 30.0
HEAD_S = 60.0


class Client:
    """One connection of the runner's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Expect one request."""
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.SERVER)
        self._method = b""

    async def head(self) -> h11.Request | None:
        """Take a request's head; None where the client leaves without one."""
        async with asyncio.timeout(HEAD_S):
            event = await self._event()
        if not isinstance(event, h11.Request):
            return None
        self._method = event.method
        return event

    async def body(self) -> bytes:
        """Take a request's whole body.

        Raises:
            RefusedError: It is longer than any that the runner sends.
        """
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > LONGEST_BODY:
                raise RefusedError(f"a body of more than {LONGEST_BODY} bytes")
        return bytes(body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Take a request's body as it arrives."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def answer(self, answer: Answer) -> None:
        """Give an answer, the only one on this connection."""
        headers = [*answer.headers, (b"connection", b"close")]
        if answer.status != NO_CONTENT:
            headers.append((b"content-length", str(len(answer.body)).encode("ascii")))
        body = [h11.Data(data=answer.body)] if answer.body and self._method != b"HEAD" else []
        await self._send(h11.Response(status_code=answer.status, headers=headers), *body, h11.EndOfMessage())

    async def switch(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Turn the connection into one of raw bytes."""
        await self._send(h11.InformationalResponse(status_code=SWITCHING, headers=headers, reason=b"UPGRADED"))

    async def linger(self) -> None:
        """Let a client finish sending what is not wanted, so that it comes to read why."""
        left = LINGER_BYTES
        with contextlib.suppress(TimeoutError, OSError):
            self.writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while left > 0 and (data := await self.reader.read(CHUNK)):
                    left -= len(data)

    @property
    def early(self) -> bytes:
        """What the client sent beyond its request."""
        return self._http.trailing_data[0]

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self._http.send(event) or b"")
        await self.writer.drain()

    async def _event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self.reader.read(CHUNK))
        # PAUSED: there is more behind the request, which nobody reads.
        return event if isinstance(event, h11.Event) else h11.ConnectionClosed()
