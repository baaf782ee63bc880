"""Instances below a path of a site; their address may end in a slash."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.clients.conftest import FRESH_CHANNELS, NAMED_CHANNELS, ConnectClient
from tests.clients.qt import Qt
from tests.support.contract import words
from tests.support.processes import HOST, Stack

PREFIX = "/maps/chat"
CHANNELS = NAMED_CHANNELS + FRESH_CHANNELS


@asynccontextmanager
async def serving_below(prefix: str, port: int) -> AsyncIterator[int]:
    """Run a proxy that serves the server below a path, as nginx does with `proxy_pass http://…/`; yields its port."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n")
        method, target, version = request.decode().split(" ")
        assert target.startswith(f"{prefix}/"), f"asked for {target}"
        upstream_reader, upstream_writer = await asyncio.open_connection(HOST, port)
        upstream_writer.write(f"{method} {target.removeprefix(prefix)} {version}".encode())
        await asyncio.gather(pipe(reader, upstream_writer), pipe(upstream_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("end", ["", "/"])
async def test_qgis(stack: Stack, qgis: ConnectClient, channel: str, end: str) -> None:
    async with serving_below(PREFIX, stack.fronts[0].port) as port:
        client = await qgis(channel, instance=f"http://{HOST}:{port}{PREFIX}{end}")
        assert await asyncio.to_thread(client.open_dock) == CHANNELS
        client.say(text := words())
        await client.row(text=text)
        await client.close()


@pytest.mark.parametrize("end", ["", "/"])
async def test_qfield(stack: Stack, qfield: ConnectClient, channel: str, end: str) -> None:
    async with serving_below(PREFIX, stack.fronts[0].port) as port:
        client = await qfield(channel, "fred", server=f"http://{HOST}:{port}{PREFIX}{end}")
        assert await asyncio.to_thread(client.channels) == CHANNELS
        client.say(text := words())
        await client.shown(text=text)
        await client.close()


@pytest.mark.parametrize("end", ["", "/"])
async def test_qt(stack: Stack, qt: Callable[[], Awaitable[Qt]], end: str) -> None:
    async with serving_below(PREFIX, stack.fronts[0].port) as port:
        client = await qt()
        base = f"http://{HOST}:{port}{PREFIX}{end}"
        reply = await client.get(f"{base}/channels")
        assert (reply.status, reply.content_type, reply.error) == (200, "application/json", "")
        await client.open(f"{base}/channel/Field and mobile/ws".replace("http", "ws", 1))
        client.send(type="text", author="jane", text=(text := words()))
        await client.message(type="text", text=text)
        await client.close()
