"""Large messages go out in pieces: no step of the event loop sends much of them, and what others are told passes.

Sockets are real. What each step of the loop hands to the kernel is counted, in bytes.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

from gischat.front.channel.fanout import Fanout
from gischat.front.connection.socket_writer import SocketWriter
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport import tcp_info, write_scheduler
from gischat.front.transport.frames import PIECE_BYTES, PING, close_frame, text_frame
from gischat.front.transport.write_scheduler import (
    KERNEL_BYTES,
    TURN_BYTES,
    ScheduledStream,
    WriteScheduler,
    has_unsent,
    unbound_kernel,
)
from tests.support.waiting import until

LAYER = text_frame(b"layer " * 400_000)
PHOTO = text_frame(b"photo " * 50_000)
TEXT = text_frame(b"a text")
CLIENTS = 12


class CountedSocket(socket.socket):
    """Counts what the kernel takes, by step of the loop."""

    counts: "list[int]"  # bytes, of each step

    def send(self, data: Any, flags: int = 0, /) -> int:
        size = super().send(data, flags)
        self.counts[-1] += size
        return size


class Client:
    """A connection of a channel, and who reads it."""

    def __init__(self, front: "Front", channel: Fanout) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._socket = front.stack.enter_context(socket.create_connection(listener.getsockname()))
            accepted, _ = listener.accept()
        ours = CountedSocket(fileno=accepted.detach())
        ours.counts = front.steps
        self._socket.setblocking(False)
        self.stream = ScheduledStream(ours, front.scheduler)
        front.stack.callback(self.stream.close)
        self.writer = SocketWriter(self.stream, self._close, channel, front.memory, max_unread_bytes=2**24)
        channel.add(self.writer)
        self.received = bytearray()
        self._stack = front.stack

    def _close(self, code: int, reason: str) -> None:
        self.stream.write(close_frame(code, reason))

    def read(self) -> None:
        """From now on, all that comes is read at once."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._receive)
        self._stack.callback(loop.remove_reader, self._socket)

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            self.received += self._socket.recv(2**20)

    async def has(self, *frames: bytes) -> None:
        """Waits until this has come, and nothing else."""
        expected = b"".join(frames)
        await until(lambda: len(self.received) >= len(expected))
        assert self.received == expected


class Front:
    """What the clients of a front share."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.scheduler = WriteScheduler()
        self.memory = MemoryBudget(2**30, RejectionLog())
        self.steps = [0]  # bytes that each step of the loop has given the kernel

    def channel(self, clients: int, *, reading: bool = True) -> tuple[Fanout, list[Client]]:
        fanout = Fanout()
        people = [Client(self, fanout) for _ in range(clients)]
        if reading:
            for one in people:
                one.read()
        return fanout, people


@asynccontextmanager
async def fronts() -> AsyncIterator[Front]:
    run = asyncio.Handle._run

    def count(handle: asyncio.Handle) -> None:
        front.steps.append(0)
        run(handle)

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        front = Front(stack)
        patch.setattr(asyncio.Handle, "_run", count)
        yield front


async def test_no_step_sends_much_of_a_layer_for_many() -> None:
    async with fronts() as front:
        channel, people = front.channel(CLIENTS)
        channel.send(TEXT)
        channel.send(LAYER)
        channel.send(TEXT)
        for one in people:
            await one.has(TEXT, LAYER, TEXT)
        assert sum(front.steps) == CLIENTS * (2 * len(TEXT) + len(LAYER))
        assert max(front.steps) <= TURN_BYTES + PIECE_BYTES


async def test_texts_of_another_channel_pass_between_the_pieces() -> None:
    async with fronts() as front:
        mapping, _ = front.channel(CLIENTS)
        talking, (other,) = front.channel(1)
        asyncio.get_running_loop().call_soon(talking.send, TEXT)
        mapping.send(LAYER)
        await other.has(TEXT)
        assert sum(front.steps) < CLIENTS * len(LAYER) / 2


async def test_a_client_that_does_not_read_keeps_nobody_waiting_and_gets_all_in_order() -> None:
    async with fronts() as front:
        channel, (slow,) = front.channel(1, reading=False)
        hasty = Client(front, channel)
        hasty.read()
        layers = [LAYER] * 4  # more than a socket takes
        for layer in layers:
            channel.send(layer)
        channel.send(TEXT)
        await hasty.has(*layers, TEXT)
        assert slow.stream.unsent_bytes
        assert front.memory.used < 2 * len(LAYER)  # all wait for the same bytes
        slow.read()
        await slow.has(*layers, TEXT)
        await until(lambda: slow.writer.is_ready and hasty.writer.is_ready)
        assert not front.memory.used


async def test_who_has_least_to_get_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[ScheduledStream] = []  # whose, in the order of sending
    send_piece = ScheduledStream.send_piece

    def record(stream: ScheduledStream) -> int:
        pieces.append(stream)
        return send_piece(stream)

    monkeypatch.setattr(ScheduledStream, "send_piece", record)
    async with fronts() as front:
        mapping, (mapper,) = front.channel(1)
        photographing, (other,) = front.channel(1)
        mapping.send(LAYER)
        photographing.send(PHOTO)
        await other.has(PHOTO)
        await mapper.has(LAYER)
        photo = -(-len(PHOTO) // PIECE_BYTES)
        assert pieces[:photo] == [other.stream] * photo
        assert mapper.stream in pieces[photo:]


async def test_photos_that_come_without_a_pause_do_not_hold_up_a_layer_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_scheduler, "AGING", 4)
    async with fronts() as front:
        mapping, (mapper,) = front.channel(1)
        photographing = [front.channel(1) for _ in range(CLIENTS)]
        mapping.send(LAYER)
        for _ in range(1000):
            for channel, (one,) in photographing:
                if one.writer.is_ready:
                    channel.send(PHOTO)
            await asyncio.sleep(0)
            if len(mapper.received) == len(LAYER):
                break
        else:
            pytest.fail("the layer has not come")


async def test_a_client_whose_turn_has_not_come_is_not_taken_for_silent() -> None:
    async with fronts() as front:
        channel, (client,) = front.channel(1)
        channel.send(LAYER)
        client.writer.ping()
        client.writer._pong_due_since -= 3600
        client.writer.last_received_at -= 7200
        assert not client.writer.pong_overdue(60)
        await client.has(LAYER, PING)
        await until(lambda: client.writer.is_ready)
        client.writer._pong_due_since -= 3600
        assert client.writer.pong_overdue(60)


async def test_a_stream_that_is_closed_lets_go_of_what_it_did_not_send() -> None:
    async with fronts() as front:
        channel, (client,) = front.channel(1, reading=False)
        for _ in range(4):
            channel.send(LAYER)
        written = client.stream.write(b"behind it")
        client.stream.close()
        with pytest.raises(StreamClosedError):
            await written
        with pytest.raises(StreamClosedError):
            client.stream.write(LAYER)
        await until(lambda: not front.memory.used)
        assert not has_unsent(client.stream)


async def test_the_kernel_holds_little_for_who_does_not_read_and_takes_all_at_the_end() -> None:
    async with fronts() as front:
        channel, (client,) = front.channel(1, reading=False)
        channel.send(LAYER)
        await until(client.stream.writing)
        assert tcp_info._in_kernel(client.stream.socket) <= 2 * KERNEL_BYTES
        unbound_kernel(client.stream)
        await until(lambda: not has_unsent(client.stream))
        client.stream.close()
        client.read()
        await client.has(LAYER)
