"""Clients' connections: both ends of a websocket without its bytes' masks, and without HTTP.

`Door`, `FrontServer`   a front's end, in place of Tornado's server and handler
`connect`               a client's end, in place of the one of `websockets`, as far as `tests.support.peers` uses it
"""

import asyncio
import struct
from collections import deque
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tornado.iostream import StreamClosedError
from websockets.exceptions import ConnectionClosedError

from gischat.front.services import Services
from gischat.front.transport.frames import CLOSE, close_frame, pong_frame
from gischat.settings import Settings
from tests.simulation.loop import PROCESS, Loop
from tests.simulation.network import Network, Transport

PONG = "pong"
OPENED = pong_frame(b"open")  # in place of the handshake's answer
FULL = 0.01  # of all writes find a socket that takes nothing for a moment
FULL_SECONDS = 0.2
OPEN_SECONDS = 5.0


class _Socket:
    def __init__(self, stream: "Stream") -> None:
        self._stream = stream

    def send(self, data: bytes) -> int:
        if self._stream.transport.is_closing():
            raise ConnectionResetError
        if self._stream.dice.random() < FULL:
            raise BlockingIOError
        self._stream.transport.write(data)
        return len(data)


class Stream:
    """What a front's `Connection` uses of Tornado's stream."""

    def __init__(self, transport: Transport, loop: Loop) -> None:
        self.transport = transport
        self.dice = loop.dice
        self.socket = _Socket(self)
        self._loop = loop
        self._writing = 0
        self._write_buffer = b""  # the kernel takes all at once

    def writing(self) -> bool:
        return self._writing > 0

    def closed(self) -> bool:
        return self.transport.is_closing()

    def write(self, data: bytes | memoryview) -> "asyncio.Future[None]":
        if self.closed():
            raise StreamClosedError
        self.transport.write(bytes(data))
        self._writing += 1
        written: asyncio.Future[None] = self._loop.create_future()
        self._loop.call_later(self.dice.uniform(0, FULL_SECONDS), self._written, written)
        return written

    def _written(self, written: "asyncio.Future[None]") -> None:
        self._writing -= 1
        written.set_result(None)

    def close(self) -> None:
        self.transport.close()


class Door(asyncio.Protocol):
    """A connection as `handlers.websocket` treats it."""

    def __init__(self, server: "FrontServer", transport: Transport) -> None:
        self._server = server
        self._transport = transport
        self._connection: Any = None
        self._permit: Any = None

    def data_received(self, data: bytes) -> None:
        if self._connection is None:
            self._open(data.decode())
            return
        self._connection.last_received_at = self._server.loop.time()
        if data != PONG.encode():
            self._connection.receive(data.decode())

    def _open(self, hello: str) -> None:
        front = self._server.front
        channel, address, after = hello.split("\n")
        if front.is_draining:
            self._transport.write(close_frame(1001, "stopping"))
            self._transport.close()
            return
        self._permit = front.connection_limiter.acquire(address)
        self._transport.write(OPENED)
        stream: Any = Stream(self._transport, self._server.loop)
        self._connection = front.accept_client(
            front.rooms[channel], stream, self._close, self._permit.rate_limiter, after or None, address
        )

    def _close(self, code: int, reason: str) -> None:
        self._transport.write(close_frame(code, reason))
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._permit is not None:
            self._permit.release()
        if self._connection is not None:
            self._connection.on_socket_closed()


class FrontServer:
    """In place of a front's `Server`."""

    loop: Loop
    network: Network

    def __init__(self, front: Services, settings: Settings, *_: object) -> None:
        self.front = front
        self._name = settings.process_name

    def add_sockets(self, _: object) -> None:
        self.network.listen(self._name, PROCESS.get(), lambda transport: Door(self, transport))

    async def watch(self) -> None:
        await asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        self.network.stop_listening(self._name)

    async def wait_idle(self) -> None:
        pass

    async def close_all_connections(self) -> None:
        for end in [end for end in self.network.ends if end.process is PROCESS.get()]:
            if isinstance(end.protocol, Door):
                end.close()


class ClientConnection(asyncio.Protocol):
    """A client's end."""

    def __init__(self) -> None:
        self.close_code: int | None = None
        self._texts: deque[str] = deque()
        self._is_over = False
        self._waiter: asyncio.Future[None] | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport: Transport = transport

    def data_received(self, data: bytes) -> None:
        for kind, payload in frames_in(data):
            if kind == 1:
                self._texts.append(payload.decode())
            elif kind == 9:
                self.transport.write(PONG.encode())
            elif kind == CLOSE & 15:
                (self.close_code,) = struct.unpack("!H", payload[:2])
            elif not self.opened.done():
                self.opened.set_result(None)
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_over = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionResetError())
            self.opened.exception()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def send(self, text: str) -> None:
        if self._is_over or self.transport.is_closing():
            raise ConnectionClosedError(None, None)
        self.transport.write(text.encode())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._texts:
            if self._is_over:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._texts.popleft()


class connect:  # noqa: N801 - in place of the function of this name
    """Opens a connection to a front: an asynchronous context."""

    network: Network

    def __init__(self, address: str, **_: object) -> None:
        self._address = urlsplit(address)

    async def __aenter__(self) -> ClientConnection:
        front, channel = self._address.netloc, self._address.path.split("/")[2]
        after = parse_qs(self._address.query).get("after", [""])[0]
        _, connection = await self.network.connect(ClientConnection, front)
        self._connection: ClientConnection = connection
        connection.transport.write(f"{channel}\n192.0.2.7\n{after}".encode())
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await connection.opened
        except BaseException:
            connection.transport.close()
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.transport.close()


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of whole frames."""
    found, place = [], 0
    while place < len(data):
        kind, size = data[place] & 15, data[place + 1]
        place += 2
        if size == 126:
            (size,) = struct.unpack_from("!H", data, place)
            place += 2
        elif size == 127:
            (size,) = struct.unpack_from("!Q", data, place)
            place += 8
        found.append((kind, data[place : place + size]))
        place += size
    return found
