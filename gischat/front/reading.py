"""Frames as they are read: what has come is taken from the stream at once.

Tornado asks its stream for a frame's first two bytes, its length, its mask and its content one after the other. Each
question costs as much as the rest of the reading, and the first lets the stream stop listening to its socket, and then
begin again. Tornado still decides what the bytes mean.
"""

from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

from gischat.metrics import Gathered

CHUNK_BYTES = 2**16


class ReadAhead(WebSocketProtocol13):
    """Tornado's websocket, where reading is cheaper."""

    # Tornado's has nearly as many attributes as Python shares the names of; more would cost a kilobyte.
    __slots__ = ("_ahead", "_at", "_received")

    _ahead: bytes  # read, and not asked for yet, from `_at` on
    _at: int

    def __init__(self, handler: WebSocketHandler, params: _WebSocketParams, received: Gathered) -> None:
        """
        Args:
            received: counts the bytes that come.
        """
        super().__init__(handler, mask_outgoing=False, params=params)
        self._received = received
        self._ahead, self._at = b"", 0

    @property
    def bytes_in(self) -> int:
        """All bytes that have been read, frames' heads included."""
        return self._wire_bytes_in

    async def _read_bytes(self, n: int) -> bytes:
        missing = self._at + n - len(self._ahead)
        if missing > 0:
            ahead, self._ahead, self._at = self._ahead[self._at :], b"", 0
            while missing > 0:
                more = await self.stream.read_bytes(max(missing, CHUNK_BYTES), partial=missing < CHUNK_BYTES)
                self._received.total += len(more)
                ahead += more
                missing -= len(more)
            self._ahead = ahead
        start, end = self._at, self._at + n
        data = self._ahead[start:end]
        # Nothing is held for a client that is silent.
        self._ahead, self._at = (b"", 0) if end == len(self._ahead) else (self._ahead, end)
        self._wire_bytes_in += n
        return data
