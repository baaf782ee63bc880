"""A client's stream reads once for what has come, and misses nothing."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

from gischat.front.transport.client_stream import LARGE_BYTES, SMALL_BYTES, ClientStream
from tests.support.waiting import DEADLINE

pytestmark = pytest.mark.usefixtures("io_loop")


class CountedSocket(socket.socket):
    """A socket that notes how much each read had room for."""

    def recv_into(self, buffer: Any, *arguments: Any) -> int:
        self.rooms = [*getattr(self, "rooms", ()), len(buffer)]
        return super().recv_into(buffer, *arguments)


async def test_a_message_takes_one_read_and_what_is_large_few() -> None:
    ours, theirs = socket.socketpair()
    with CountedSocket(fileno=ours.detach()) as counted, theirs:
        stream = ClientStream(counted)
        for number in range(10):
            reading = asyncio.ensure_future(stream.read_bytes(LARGE_BYTES, partial=True))
            await asyncio.sleep(0)
            theirs.send(b"%d" % number)
            assert await asyncio.wait_for(reading, DEADLINE) == b"%d" % number
        # One more, before the stream has waited for the first
        assert counted.rooms == [SMALL_BYTES] * 11
        # When much comes, and then the end
        large = bytes(range(256)) * 300
        theirs.sendall(large)
        theirs.close()
        read = b""
        with contextlib.suppress(StreamClosedError):
            while True:
                read += await asyncio.wait_for(stream.read_bytes(LARGE_BYTES, partial=True), DEADLINE)
        assert read == large
        assert LARGE_BYTES in counted.rooms
