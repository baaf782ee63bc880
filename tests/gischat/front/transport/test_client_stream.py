"""A client's stream reads once for what has come, and misses nothing."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError

from gischat.front.transport.client_stream import LARGE_BYTES, SMALL_BYTES, ClientStream
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.usefixtures("io_loop")


class CountedSocket(socket.socket):
    """A socket that notes how much each read had room for."""

    def recv_into(self, buffer: Any, *arguments: Any) -> int:
        self.rooms = [*getattr(self, "rooms", ()), len(buffer)]
        return super().recv_into(buffer, *arguments)


@pytest.fixture
def ends(io_loop: IOLoop) -> Iterator[tuple[CountedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    counted = CountedSocket(fileno=ours.detach())
    with counted, theirs:
        yield counted, theirs


async def test_a_message_takes_one_read(ends: tuple[CountedSocket, socket.socket]) -> None:
    ours, theirs = ends
    stream = ClientStream(ours)
    for number in range(10):
        reading = asyncio.ensure_future(stream.read_bytes(LARGE_BYTES, partial=True))
        await asyncio.sleep(0)
        theirs.send(b"%d" % number)
        assert await asyncio.wait_for(reading, DEADLINE) == b"%d" % number
    # One more, before the stream has waited for the first
    assert ours.rooms == [SMALL_BYTES] * 11
    stream.close()


@pytest.mark.parametrize("seed", range(5))
async def test_all_that_is_sent_is_read_and_then_the_end(ends: tuple[CountedSocket, socket.socket], seed: int) -> None:
    ours, theirs = ends
    rng = random.Random(seed)
    stream = ClientStream(ours)
    sent = [rng.randbytes(rng.choice((1, SMALL_BYTES - 1, SMALL_BYTES, LARGE_BYTES, 200_000))) for _ in range(40)]

    async def send() -> None:
        for data in sent:
            await asyncio.get_running_loop().sock_sendall(theirs, data)
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        theirs.shutdown(socket.SHUT_WR)

    sending = asyncio.ensure_future(send())
    read = b""
    with contextlib.suppress(StreamClosedError):
        while True:
            read += await asyncio.wait_for(stream.read_bytes(LARGE_BYTES, partial=True), DEADLINE)
    await sending
    assert read == b"".join(sent)
    assert LARGE_BYTES in ours.rooms  # for what is large, as much as before
