"""Connections of the runner's, each one held against the table and joined with one of the filter's own."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Coroutine
from typing import Any

import h11

from dvc_runner.socket_filter import asks, table
from dvc_runner.socket_filter.asks import Ask
from dvc_runner.socket_filter.client import Client
from dvc_runner.socket_filter.engine import CHUNK, Answer, Connection, of_json, request
from dvc_runner.socket_filter.gate import Gate
from dvc_runner.socket_filter.refused import EngineGoneError, RefusedError
from dvc_runner.socket_filter.routes import Body, Pass, Route, Way, passed
from dvc_runner.socket_filter.strict_json import parse

FORBIDDEN = 403
MALFORMED = 400
BAD_GATEWAY = 502
LOGIN = "x-registry-auth"
BASE64 = re.compile("[A-Za-z0-9+/=_-]*")
UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Length", "0"))
TAR = (("Content-Type", "application/x-tar"), ("Transfer-Encoding", "chunked"))
LOG = logging.getLogger("dvc_runner.socket_filter")


async def serve(gate: Gate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of the runner's, from its request to the end of the answer."""
    client = Client(reader, writer)
    line = "a request"
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            try:
                head = await client.head()
                if head is None:
                    return
                line = f"{head.method.decode('ascii')} {head.target.decode('ascii').partition('?')[0]}"
                await _handle(gate, client, head)
            except RefusedError as error:
                await _refuse(client, FORBIDDEN, f"refused {line}: {error}")
            except h11.RemoteProtocolError as error:
                await _refuse(client, MALFORMED, f"could not read {line}: {error}")
            except EngineGoneError as error:
                await _refuse(client, BAD_GATEWAY, f"could not pass {line} on: {error}")
    finally:
        writer.close()


async def _refuse(client: Client, status: int, message: str) -> None:
    # Escaped, so that no client writes lines of its own into the log.
    LOG.warning("%d %s", status, message.encode("unicode_escape").decode("ascii"))
    with contextlib.suppress(h11.LocalProtocolError):
        await client.answer(of_json(status, {"message": f"dvc-runner's socket filter {message}"}))
        await client.linger()


async def _handle(gate: Gate, client: Client, head: h11.Request) -> None:
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    ask = asks.read(head.method.decode("ascii"), head.target.decode("ascii"))
    route, ask = table.find(ask)
    _check_headers(route, headers)
    if route.body is not Body.STREAM:
        body = await client.body()
        if route.body is Body.NOTHING and body:
            raise RefusedError("it has a body, where the runner sends none")
        ask = passed(ask, body=parse(body) if route.body is Body.JSON else None).ask
    if route.login and LOGIN in headers:
        ask = passed(ask, login=((LOGIN, headers[LOGIN]),)).ask
    found = await route.act(gate, ask)
    if isinstance(found, Pass) and route.way is Way.WHOLE:
        found = await gate.engine.whole(found.ask)
    if isinstance(found, Answer):
        await client.answer(found)
    elif route.way is Way.HIJACK:
        await _hijack(gate, client, found.ask)
    else:
        await _stream(gate, client, route, found.ask)


def _check_headers(route: Route, headers: dict[str, str]) -> None:
    if "expect" in headers:
        raise RefusedError("the header Expect is none that the runner sends")
    if route.way is Way.HIJACK and headers.get("upgrade", "").lower() != "tcp":
        raise RefusedError("the header Upgrade: tcp is missing")
    if not BASE64.fullmatch(headers.get(LOGIN, "")):
        raise RefusedError(f"the header {LOGIN} is not in base64")


async def _stream(gate: Gate, client: Client, route: Route, ask: Ask) -> None:
    """Send a request on, and carry the answer back as it arrives, until it ends or the client leaves."""
    async with gate.engine.connected() as engine:
        if route.body is Body.STREAM:
            await engine.send(request(ask, *TAR))
            sending = _send(client, engine)
        else:
            await engine.send(request(ask), h11.EndOfMessage())
            sending = _until_gone(client)
        await _first(_pump(engine.reader, client.writer), sending)


async def _send(client: Client, engine: Connection) -> None:
    """Carry a body on, then wait until the client leaves."""
    try:
        async for chunk in client.chunks():
            await engine.send(h11.Data(data=chunk))
        await engine.send(h11.EndOfMessage())
    except h11.RemoteProtocolError:
        return
    except ConnectionError:
        # The engine has heard enough, and its answer says why.
        pass
    await _until_gone(client)


async def _until_gone(client: Client) -> None:
    """Wait until the client hangs up; more than its request has no business here and ends it as well."""
    await client.reader.read(1)


async def _hijack(gate: Gate, client: Client, ask: Ask) -> None:
    """Carry raw bytes both ways, once the engine has agreed; until then nothing of the client's reaches it."""
    async with gate.engine.connected() as engine:
        await engine.send(request(ask, *UPGRADE), h11.EndOfMessage())
        head = await engine.head()
        if isinstance(head, h11.Response):
            await client.answer(await engine.rest(head))
            return
        await client.switch(list(head.headers))
        client.writer.write(engine.early)
        engine.writer.write(client.early)
        upwards = asyncio.create_task(_pump(client.reader, engine.writer))
        try:
            await _pump(engine.reader, client.writer)
        finally:
            upwards.cancel()


async def _first(*ways: Coroutine[Any, Any, None]) -> None:
    """Run all of them until one ends."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the source ends, and tell the sink so."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
