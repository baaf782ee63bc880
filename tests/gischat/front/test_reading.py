"""What a client sends is read as it was sent, however the network cuts it."""

import asyncio
import itertools
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import _WebSocketParams

from gischat import metrics
from gischat.front.reading import CHUNK_BYTES, ReadAhead
from gischat.metrics import Gathered

SIZES = (2, 4, 0, 125, 2, 2, 4, 65_536, 2, 8, 4, 300_000, 2, 4, 1)


@pytest.fixture
def received() -> Gathered:
    return Gathered(metrics.RECEIVED_BYTES.labels("QGIS"))


def reader(stream: IOStream, received: Gathered, large_one: asyncio.Lock | None = None) -> Any:
    reading = ReadAhead(cast(Any, SimpleNamespace()), _WebSocketParams(), received, large_one or asyncio.Lock())
    reading.stream = stream
    return reading


@pytest.mark.parametrize("step", [97, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 10**6])
async def test_the_same_bytes_are_read_whatever_the_pieces_in_which_they_come(received: Gathered, step: int) -> None:
    # Given bytes that come in pieces
    ours, theirs = socket.socketpair()
    sent = bytes(number * 31 % 251 for number in range(sum(SIZES)))
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    stream, other = IOStream(ours), IOStream(theirs)
    reading = reader(stream, received)

    async def send() -> None:
        for piece in pieces:
            await other.write(piece)

    # When they are asked for in sizes of a frame's parts
    sending = asyncio.create_task(send())
    read = [await reading._read_bytes(size) for size in SIZES]
    await sending
    # Then each answer has its size, and all together are what was sent
    assert [len(part) for part in read] == list(SIZES)
    assert b"".join(read) == sent
    # And all of it was counted, and nothing is held any more
    assert received.total == len(sent)
    assert reading._ahead == b""
    assert reading._wire_bytes_in == len(sent)
    stream.close()
    other.close()


async def test_a_client_that_goes_in_the_middle_is_noticed(received: Gathered) -> None:
    ours, theirs = socket.socketpair()
    stream = IOStream(ours)
    theirs.sendall(b"abc")
    theirs.close()
    with pytest.raises(StreamClosedError):
        await reader(stream, received)._read_bytes(4)


async def test_large_frames_that_come_together_leave_a_turn_of_the_loop_to_others(received: Gathered) -> None:
    # Given three connections, each with a large frame that has come wholly
    large_one, size = asyncio.Lock(), CHUNK_BYTES + 1
    pairs = [socket.socketpair() for _ in range(3)]
    streams = [IOStream(ours) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * size)
        theirs.sendall(bytes(size))
    events: list[str] = []

    async def read(stream: IOStream) -> None:
        await reader(stream, received, large_one)._read_bytes(size)
        events.append("large")

    async def others() -> None:
        while events.count("large") < len(streams):
            events.append("other")
            await asyncio.sleep(0)

    # When all are read, while others want the loop too
    await asyncio.gather(*(read(stream) for stream in streams), others())
    # Then no large frame follows another without one of theirs in between
    assert ("large", "large") not in itertools.pairwise(events)
    for stream, (_, theirs) in zip(streams, pairs, strict=True):
        stream.close()
        theirs.close()
