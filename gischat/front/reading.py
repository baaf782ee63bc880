"""Frames as they are read: what has come is taken from the stream at once.

Tornado asks its stream for a frame's first two bytes, its length, its mask and its content one after the other. Each
question costs as much as the rest of the reading, and the first lets the stream stop listening to its socket, and then
begin again. Tornado still decides what the bytes mean.

Large frames are read in steps and handled one by one, with pauses: ten photos that arrive together would otherwise be
ten times the twenty milliseconds that one of them costs a front, and every text would wait for their end.
"""

import asyncio

from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

from gischat.metrics import Gathered

CHUNK_BYTES = 2**16  # above that, a frame is large
LARGE_BYTES_PER_SECOND = 100e6  # a megabyte is 5 ms of work: half of the time is left to all others
STEP_BYTES = 2**18  # of a large frame, at the most, in a turn of the loop


class ReadAhead(WebSocketProtocol13):
    """Tornado's websocket, where reading is cheaper."""

    # Tornado's has nearly as many attributes as Python shares the names of; more would cost a kilobyte.
    __slots__ = ("_ahead", "_at", "_large_one", "_received")

    _ahead: bytes  # read, and not asked for yet, from `_at` on
    _at: int

    def __init__(
        self, handler: WebSocketHandler, params: _WebSocketParams, received: Gathered, large_one: asyncio.Lock
    ) -> None:
        """
        Args:
            received: counts the bytes that come.
            large_one: held by the connection, one of all, whose large frame is the next to be handled.
        """
        super().__init__(handler, mask_outgoing=False, params=params)
        self._received = received
        self._ahead, self._at = b"", 0
        self._large_one = large_one

    @property
    def bytes_in(self) -> int:
        """All bytes that have been read, frames' heads included."""
        return self._wire_bytes_in

    async def _read_bytes(self, n: int) -> bytes:
        missing = self._at + n - len(self._ahead)
        if missing > 0:
            parts = [self._ahead[self._at :]]
            self._ahead, self._at = b"", 0
            while missing > 0:
                size = min(max(missing, CHUNK_BYTES), STEP_BYTES)
                parts.append(await self.stream.read_bytes(size, partial=missing < CHUNK_BYTES))
                self._received.total += len(parts[-1])
                missing -= len(parts[-1])
                if missing >= STEP_BYTES:
                    await asyncio.sleep(0)  # what had come already did not wait for the loop
            self._ahead = b"".join(parts)
            if n > CHUNK_BYTES:
                await self._take_turn(n)
        start, end = self._at, self._at + n
        data = self._ahead[start:end]
        # Nothing is held for a client that is silent.
        self._ahead, self._at = (b"", 0) if end == len(self._ahead) else (self._ahead, end)
        self._wire_bytes_in += n
        return data

    async def _take_turn(self, size: int) -> None:
        """Waits until a frame of this size may be handled; no other is in the same turn of the loop."""
        async with self._large_one:
            await asyncio.sleep(size / LARGE_BYTES_PER_SECOND)
