"""Frames as they are read: what has come is taken from the stream at once, and what is no frame of a client is refused.

Tornado asks its stream for a frame's first two bytes, its length, its mask and its content one after the other. Each
question costs as much as the rest of the reading, and the first lets the stream stop listening to its socket, and then
begin again. Tornado still decides what the bytes mean.

Large frames are read in steps and handled one by one, with pauses: ten photos that arrive together would otherwise be
ten times the twenty milliseconds that one of them costs a front, and every text would wait for their end.

What Tornado itself writes (pongs, goodbyes) goes through its stream, which we pass by: we are told when it waits there.
"""

import asyncio
from typing import NoReturn, Protocol

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

from gischat.front.sockets.memory import Memory, cut_off
from gischat.metrics import Gathered

CHUNK_BYTES = 2**16  # above that, a frame is large
LARGE_BYTES_PER_SECOND = 100e6  # a megabyte is 5 ms of work: half of the time is left to all others
STEP_BYTES = 2**18  # of a large frame, at the most, in a turn of the loop
LAST_FRAMES = 100  # that are read after our goodbye, for the client's own may be behind them
MOST_FRAGMENTS = 4096  # of one message: clients that cut messages do so in pieces of many kilobytes

FIN, MASKED, LENGTH, CONTROL = 0x80, 0x80, 0x7F, 0x08  # bits of a frame's first two bytes


class Unheard:
    """In place of a channel's counter, where there is no such channel."""

    total = 0


class Outlet(Protocol):
    """Whoever writes to the same socket, and not through the stream."""

    def wait_for(self, written: "asyncio.Future[None]") -> None:
        """Something waits in the stream until then: nothing may overtake it."""


class ReadAhead(WebSocketProtocol13):
    """Tornado's websocket, where reading is cheaper, and bounded over all who do not finish what they began."""

    # Tornado's has nearly as many attributes as Python shares the names of; more would cost a kilobyte.
    __slots__ = (
        "_ahead",
        "_at",
        "_fragments",
        "_held",
        "_is_last",
        "_large_one",
        "_last_frames",
        "_memory",
        "_questions",
        "_reading",
        "_received",
        "outlet",
    )

    _ahead: bytes  # read, and not asked for yet, from `_at` on
    _at: int
    _questions: int  # that Tornado has still to ask about a frame
    _is_last: bool  # the frame is the last of a message, and no control frame
    _fragments: int  # frames of a message that is not complete
    _held: int  # their bytes
    _last_frames: int  # frames that have begun after our goodbye

    def __init__(
        self,
        handler: WebSocketHandler,
        params: _WebSocketParams,
        *,
        received: Gathered | Unheard,
        memory: Memory,
        large_one: asyncio.Lock,
    ) -> None:
        """
        Args:
            received: counts the bytes that come.
            memory: what is held for all connections of the front.
            large_one: held by the connection, one of all, whose large frame is the next to be handled.
        """
        super().__init__(handler, mask_outgoing=False, params=params)
        self._received = received
        self._ahead, self._at = b"", 0
        self._large_one = large_one
        self._questions = self._fragments = self._held = self._last_frames = 0
        self._is_last = False
        self._memory = memory
        self.outlet: Outlet | None = None

    async def _receive_frame_loop(self) -> None:
        # The request is over with that, and what has served the handshake may go: two kilobytes for each client.
        self._reading = asyncio.create_task(super()._receive_frame_loop())
        self._reading.add_done_callback(self._has_ended)

    def _has_ended(self, reading: "asyncio.Task[None]") -> None:
        if not reading.cancelled() and (error := reading.exception()) is not None:
            self.handler.log_exception(type(error), error, error.__traceback__)
            self._abort()

    def let_go(self) -> None:
        """Ends the connection: what it has begun takes too much memory."""
        self._hold(-self._held)
        cut_off(self.stream)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._hold(-self._held)

    @property
    def bytes_in(self) -> int:
        """All bytes that have been read, frames' heads included."""
        return self._wire_bytes_in

    def _write_frame(self, fin: bool, opcode: int, data: bytes, flags: int = 0) -> "asyncio.Future[None]":
        written = super()._write_frame(fin, opcode, data, flags)
        if self.outlet is not None and self.stream.writing():
            self.outlet.wait_for(written)
        return written

    async def _read_bytes(self, n: int) -> bytes:
        if self.server_terminated and not self._questions:
            await self._begin_last_frame()
        missing = self._at + n - len(self._ahead)
        if missing > 0:
            rest, self._ahead, self._at = self._ahead[self._at :], b"", 0
            if not rest and missing <= CHUNK_BYTES:  # as a rule: a frame begins, and comes whole
                rest = await self.stream.read_bytes(CHUNK_BYTES, partial=True)
                self._received.total += len(rest)
                missing = n - len(rest)
            self._ahead = await self._read_rest(rest, n) if missing > 0 else rest
        start, end = self._at, self._at + n
        data = self._ahead[start:end]
        # Nothing is held for a client that is silent.
        self._ahead, self._at = (b"", 0) if end == len(self._ahead) else (self._ahead, end)
        self._wire_bytes_in += n
        self._follow(data)
        return data

    async def _begin_last_frame(self) -> None:
        """After our goodbye nobody's rates hold, for nothing is taken any more: so a flood is not read to its end.

        The socket stays open for as long as Tornado waits for the client's goodbye: it has ours to read.
        """
        self._last_frames += 1
        if self._last_frames > LAST_FRAMES:
            closed = asyncio.Event()
            self.stream.set_close_callback(closed.set)
            await closed.wait()
            raise StreamClosedError

    async def _read_rest(self, rest: bytes, n: int) -> bytes:
        """Reads on until there are n bytes, and counts what is there: its sender may take as long as he likes."""
        parts, has, turned_at = [rest], len(rest), len(rest)
        self._memory.take(self, has)
        try:
            while has < n:
                # Of what is long, no more is read than belongs to it: it need not be copied then.
                most = CHUNK_BYTES if n <= CHUNK_BYTES else min(n - has, CHUNK_BYTES)
                part = await self.stream.read_bytes(most, partial=True)
                parts.append(part)
                has += len(part)
                self._received.total += len(part)
                self._memory.take(self, len(part))
                if has - turned_at >= STEP_BYTES:
                    turned_at = has
                    await asyncio.sleep(0)  # what had come already did not wait for the loop
            if n > CHUNK_BYTES:
                await self._take_turn(n)
            return b"".join(parts)
        finally:
            self._memory.give(self, has)

    async def _take_turn(self, size: int) -> None:
        """Waits until a frame of this size may be handled; no other is in the same turn of the loop."""
        async with self._large_one:
            await asyncio.sleep(size / LARGE_BYTES_PER_SECOND)

    def _follow(self, data: bytes) -> None:
        """Sees what Tornado is given: where a frame begins, and where it ends."""
        if not self._questions:
            self._begin_frame(*data)
            return
        self._questions -= 1
        if not self._questions:
            if self._is_last:
                self._fragments = 0
                self._hold(-self._held)
            elif self._fragments:
                self._hold(len(data))

    def _begin_frame(self, first: int, second: int) -> None:
        """Looks at the first two bytes of a frame (RFC 6455 §5.2), before anything is asked of the rest."""
        if not second & MASKED:
            self._refuse(1002, "A client's frames must be masked.")  # RFC 6455 §5.1
        self._questions = 1 + (second & LENGTH > 125) + 1  # its mask; its length, if it is long; its content
        is_data = not first & CONTROL
        self._is_last = bool(is_data and first & FIN)
        if is_data and not self._is_last:
            self._fragments += 1
            if self._fragments > MOST_FRAGMENTS:
                self._refuse(1008, "The message is in too many pieces.")

    def _hold(self, size: int) -> None:
        if size:
            self._held += size
            self._memory.take(self, size)

    def _refuse(self, code: int, reason: str) -> NoReturn:
        self.close(code, reason)
        raise StreamClosedError
