"""A client's stream, which asks the socket for more only when more may have come."""

import socket

from tornado.iostream import IOStream

SMALL_BYTES = 2**12  # room for what comes next, where it is small as a rule: Tornado zeroes it before each read
LARGE_BYTES = 2**16


class ClientStream(IOStream):
    """Tornado tries to read before it waits, also right after a read that has emptied the socket; this one waits.

    What came in between is not missed: the loop tells again and again that a socket can be read.
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
        elif size:  # 0: the end
            self._is_emptied = True
            if size < SMALL_BYTES:
                self.read_chunk_size = SMALL_BYTES
        return size
