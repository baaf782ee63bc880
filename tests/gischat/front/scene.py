"""A connection over a real TCP socket of the loopback, with Tornado's stream over the server's end, as in a front.

The client's end reads only on demand; its buffers are small, so that little data fills them.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import msgspec
from tornado.iostream import IOStream

from gischat.broker.entries import Outcome
from gischat.front.channel.room import Room
from gischat.front.connection.client_connection import ClientConnection
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rate_limit import AddressState, ConnectionRateLimiter, RateLimits
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.frames import text_frame
from gischat.protocol.parsing import MessageParser
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, FakeBroker, publication
from tests.support.contract import check
from tests.support.settings import UNLIMITED, settings
from tests.support.waiting import DEADLINE

HASTY = Timings(retry=0.01)
SMALL_BUFFER = 8 * 1024  # bytes; the kernel doubles it
MAX_UNREAD = 300_000


class Client:
    """The client's end of a connection, which reads on demand."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._received = bytearray()

    async def receive(self, size: int) -> bytes:
        """Read exactly the next `size` bytes."""
        while len(self._received) < size:
            await self._receive_some()
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def receive_now(self) -> None:
        """Read the available bytes without giving the server's end a turn of the loop."""
        with contextlib.suppress(BlockingIOError):
            while data := self._socket.recv(2**16):
                self._received += data

    async def receive_all(self) -> bytes:
        """Read until the server closes its end."""
        while await self._receive_some():
            pass
        return bytes(self._received)

    async def refusal(self) -> str:
        """Read the next message, an `uncompliant` by the contract; returns its reason."""
        size = (await self.receive(2))[1]
        if size == 126:
            (size,) = struct.unpack("!H", await self.receive(2))
        check(told := msgspec.json.decode(await self.receive(size)))
        assert told["type"] == "uncompliant"
        return str(told["reason"])

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Reset the connection, like a phone that loses its network."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _receive_some(self) -> int:
        async with asyncio.timeout(DEADLINE):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 2**16)
        self._received += data
        return len(data)


class Scene:
    """A connection in a room, its client, and a Redis that accepts every job."""

    def __init__(self, stack: ExitStack, max_unread: int = MAX_UNREAD, before: bytes = b"", **limits: int) -> None:
        """
        Args:
            before: what the stream writes before the connection begins.
        """
        ours, theirs = _tcp_pair()
        self.stream = IOStream(ours)
        if before:
            self.stream.write(before)
        stack.callback(self.stream.close)
        stack.callback(theirs.close)
        self.client = Client(theirs)
        self.broker = cast("Any", FakeBroker())
        self.dispatcher = Dispatcher(self.broker, settings(**limits))
        self.closed_with: list[tuple[int, str]] = []
        self.closed = asyncio.Event()
        self.rejections = RejectionLog()
        self.memory = MemoryBudget(settings(**limits).max_front_bytes, self.rejections)
        self.room = Room(CHANNEL, self.broker, self.dispatcher, timings=HASTY)
        self.connection = ClientConnection(
            self.room,
            self.stream,
            self._close,
            messages=MessageParser(settings(**limits)),
            dispatcher=self.dispatcher,
            pace=ConnectionRateLimiter(AddressState("192.0.2.7", RateLimits(settings(**UNLIMITED | limits)))),
            rejections=self.rejections,
            memory=self.memory,
            max_unread_bytes=max_unread,
        )

    def _close(self, code: int, reason: str) -> None:
        """Close like Tornado: with a close frame through the stream's buffer."""
        self.closed_with.append((code, reason))
        self.closed.set()
        if not self.stream.closed():
            self.write_as_tornado(close_frame(code, reason))

    def write_as_tornado(self, frame: bytes) -> None:
        """Write like Tornado, through the stream; the front is notified if the frame waits there."""
        written = self.stream.write(frame)
        if self.stream.writing():
            self.connection.wait_drained(written)

    def receive_something(self) -> None:
        """Simulate bytes received from the client."""
        self.connection.last_received_at = asyncio.get_running_loop().time()

    def is_silent_after(self, seconds: float) -> bool:
        """Whether the client counts as silent after `seconds` more without any event."""
        self.connection._pong_due_since -= seconds
        self.connection.last_received_at -= seconds
        return self.connection.pong_overdue(seconds)

    def fill(self) -> bytes:
        """Write to a client that does not read until its socket is full; returns the written bytes."""
        written = b""
        while not self.stream.writing():
            frame = text_frame(b"%06d" % len(written) * 100)
            self.connection.write(frame)
            written += frame
        return written

    def jobs(self) -> list[dict[str, Any]]:
        """The enqueued messages, by type and content."""
        return [msgspec.json.decode(job.body) | {"type": job.type} for job in self.broker.jobs]

    def end(self, outcome: Outcome = Outcome.PUBLISHED, body: bytes = b"{}") -> None:
        """Complete the last job, like a worker."""
        self.dispatcher.complete(publication(1, body, source=self.broker.jobs[-1].source, outcome=outcome))


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected non-blocking sockets with small buffers: the server's and the client's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    theirs.setblocking(False)
    return ours, theirs


def close_frame(code: int, reason: str) -> bytes:
    payload = struct.pack("!H", code) + reason.encode()
    return bytes([0x88, len(payload)]) + payload


Start = Callable[..., Scene]
