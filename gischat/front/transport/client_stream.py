"""A connection's stream that reads its socket only when data may have arrived."""

import socket

from tornado.iostream import IOStream

SMALL_BYTES = 2**12  # of buffer, which Tornado zeroes before each read; most messages are small
LARGE_BYTES = 2**16


class ClientStream(IOStream):
    """Tornado reads before it waits, even right after a read that emptied the socket; this stream waits.

    It misses nothing that arrives in between, because the event loop polls level-triggered.
    """

    __slots__ = ("_is_emptied",)

    def __init__(self, connection: socket.socket) -> None:
        self._is_emptied = False
        super().__init__(connection, read_chunk_size=SMALL_BYTES)

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        if self._is_emptied:
            self._is_emptied = False
            return None
        room = len(buf)
        size = super().read_from_fd(buf)
        if size == room:
            self.read_chunk_size = LARGE_BYTES
        elif size:  # neither the end (0) nor nothing (None)
            self._is_emptied = True
            if size < SMALL_BYTES:
                self.read_chunk_size = SMALL_BYTES
        return size
