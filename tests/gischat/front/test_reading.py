"""What a client sends is read as it was sent, however the network cuts it."""

import asyncio
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


def reader(stream: IOStream, received: Gathered) -> Any:
    reading = ReadAhead(cast(Any, SimpleNamespace()), _WebSocketParams(), received)
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
