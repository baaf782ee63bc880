"""A websocket's reading side: bytes are taken from the stream as they come, parsed, and handed on by turns.

Tornado does the opening handshake; frames are ours. What is not complete is counted, and has a deadline by progress.
"""

import asyncio
import contextlib
import socket
from typing import Protocol

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

from gischat.front.limits.memory_budget import MemoryBudget, abort
from gischat.front.transport.frame_parser import (
    CLOSE,
    PING,
    Control,
    Dropped,
    Event,
    Fragment,
    FrameParser,
    MessageTooLong,
    ProtocolError,
    close_status,
)
from gischat.front.transport.frames import close_frame, pong_frame
from gischat.front.transport.read_scheduler import MESSAGE_WORK, ReadScheduler
from gischat.front.transport.upload_watch import UploadWatch
from gischat.front.transport.write_scheduler import has_unsent
from gischat.observability.metrics import BufferedCounter
from gischat.protocol.long_text import LongText
from gischat.timings import Timings

CHUNK_BYTES = 2**16  # that are read at once; a message above that is large
LAST_FRAMES = 100  # that are read after our close frame, for the client's own may be behind them
FRAGMENTS = 128  # of a message are another message's worth: they cost about as much


class NullCounter:
    """In place of a channel's counter, where there is no such channel."""

    total = 0


class Endpoint(Protocol):
    """Who is spoken to over the websocket."""

    last_received_at: float  # when bytes came last, by the loop's clock
    read_pause: float  # seconds for which nothing more is to be read of it, once

    def write(self, data: bytes) -> None:
        """Sends whole frames."""

    def receive(self, frame: str | LongText | bytes) -> None:
        """A message has come: a text, or binary."""

    def on_control_frame(self, *, answer: bool = False) -> bool:
        """A control frame, or so many fragments as are worth a message; False when it is one too many.

        Args:
            answer: the client is to be told that its message was not sent.
        """

    def receive_oversized(self, size: int, most: int) -> None:
        """A message of `size` bytes has come, has not been kept, and was longer than `most`."""

    def close_oversized(self, size: int, most: int) -> None:
        """A message of `size` bytes was announced, which is not read to its end: closes the connection."""

    def close_slow_upload(self) -> None:
        """A message has begun, and makes no progress: closes the connection."""

    def close_for_memory(self) -> None:
        """A message has begun, and the front has no memory for it: closes the connection."""

    def fail(self, code: int, reason: str) -> None:
        """The client broke the protocol: closes the connection with nothing but a close frame."""


class BufferedWebSocketProtocol(WebSocketProtocol13):
    """Tornado's websocket with a reader of our own, bounded over all clients who do not finish what they began."""

    # Tornado's has nearly as many attributes as Python shares the names of; more would cost a kilobyte.
    __slots__ = (
        "_address",
        "_close_answer",
        "_fragments",
        "_held",
        "_is_uploading",
        "_last_frames",
        "_max_size",
        "_memory",
        "_parser",
        "_reading",
        "_received",
        "_scheduler",
        "_timer",
        "_uploads",
        "bytes_in",
        "endpoint",
    )

    def __init__(
        self,
        handler: WebSocketHandler,
        params: _WebSocketParams,
        *,
        address_key: str,
        received: BufferedCounter | NullCounter,
        memory: MemoryBudget,
        turns: ReadScheduler,
        uploads: UploadWatch,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            address_key: the network that limits count the client's address as.
            received: counts the bytes that come.
            memory: what is held for all connections of the front.
            turns, uploads: of all of them.
        """
        super().__init__(handler, mask_outgoing=False, params=params)
        self.endpoint: Endpoint | None = None
        self.bytes_in = 0  # all that have been read, frames' heads included
        self._address = address_key
        self._max_size = params.max_message_size
        self._parser = FrameParser(self._max_size)
        self._received = received
        self._memory = memory
        self._scheduler = turns
        self._uploads = uploads
        self._close_answer = timings.close_answer
        self._is_uploading = False
        self._fragments = 0  # that have not been counted as a message
        self._held = 0  # bytes that the memory knows of
        self._last_frames = 0  # frames that have come after our close frame
        self._timer: asyncio.TimerHandle | None = None

    async def _receive_frame_loop(self) -> None:
        # The request is over with that, and what has served the handshake may go: two kilobytes for each client.
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(self._has_ended)

    def _has_ended(self, reading: "asyncio.Task[None]") -> None:
        if not reading.cancelled() and (error := reading.exception()) is not None:
            self.handler.log_exception(type(error), error, error.__traceback__)

    # What comes in

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time
        try:
            while not self.client_terminated:
                data = await self.stream.read_bytes(CHUNK_BYTES, partial=True)
                self.bytes_in += len(data)
                self._received.total += len(data)
                if self.endpoint is not None:
                    self.endpoint.last_received_at = now()
                await self._handle_all(data)
        except StreamClosedError:
            pass
        except ProtocolError as error:
            await self._fail(error)
        finally:
            self._end()

    async def _handle_all(self, data: bytes) -> None:
        work = await self._wait_for_turn(data)
        try:
            for event in self._parser.feed(data):
                if work <= 0:
                    work = await self._wait_for_turn(data)
                if self.server_terminated:
                    work -= 1
                    await self._handle_last(event)
                elif isinstance(event, (str, LongText, bytes)):
                    work -= MESSAGE_WORK
                    size = event.size if isinstance(event, LongText) else len(event)
                    if size > CHUNK_BYTES:
                        await self._pace_large_frame(size)
                    self._handle_data(event)
                else:
                    work -= 1
                    self._handle_other(event)
                if self.endpoint is not None and self.endpoint.read_pause and not self.server_terminated:
                    await self._pause(data, self.endpoint)
                    work = 0
        except MessageTooLong as error:
            await self._stop_at(error.size)
        self._account()

    async def _wait_for_turn(self, data: bytes) -> int:
        """Waits, if it must, until more of what was read may be handled; returns how much work that may be.

        What has been read is handled though the client may be gone by then: people say something and leave.
        """
        if not self._scheduler.try_acquire(self._address):
            self._reserve(self._parser.held + len(data))
            await self._scheduler.acquire(self._address)
        return MESSAGE_WORK

    async def _pause(self, data: bytes, endpoint: Endpoint) -> None:
        """Nothing more is read of who is refused too much, for a moment; and nothing ever, if that is gone by then."""
        pause, endpoint.read_pause = endpoint.read_pause, 0.0
        self._reserve(self._parser.held + len(data))
        await asyncio.sleep(pause)
        self._assert_open()

    async def _pace_large_frame(self, size: int) -> None:
        self._reserve(size)
        await self._scheduler.acquire_large(self._address, size)

    def _handle_data(self, message: str | LongText | bytes) -> None:
        self._end_upload()
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.receive(message)

    def _handle_other(self, event: Control | Dropped | Fragment) -> None:
        if isinstance(event, Control):
            self._handle_control(event)
        elif isinstance(event, Dropped):
            self._end_upload()
            if self.endpoint is not None and event.size > self._max_size:
                self.endpoint.receive_oversized(event.size, self._max_size)
        else:
            self._fragments += 1
            if self._fragments >= FRAGMENTS:
                self._fragments = 0
                self._pace_fragments()

    def _pace_fragments(self) -> None:
        if self.endpoint is not None and not self.endpoint.on_control_frame(answer=not self._parser.is_dropped):
            self._parser.drop()

    def _handle_control(self, frame: Control) -> None:
        if frame.opcode == CLOSE:
            self.close_code, self.close_reason = close_status(frame.payload)
            self.client_terminated = True
            self.close(self.close_code)  # with the client's own code (RFC 6455 §5.5.1)
            return
        if frame.opcode == PING:
            if self.endpoint is not None:
                self.endpoint.write(pong_frame(frame.payload))
            elif not self.stream.closed():
                self.stream.write(pong_frame(frame.payload))
        if self.endpoint is not None:
            self.endpoint.on_control_frame()

    async def _handle_last(self, event: Event) -> None:
        """After our close frame nothing is taken any more but the client's own; a flood is not read to its end.

        The socket stays open for as long as the client may answer: it has our close frame to read.
        """
        self._last_frames += 1
        if isinstance(event, Control) and event.opcode == CLOSE:
            self._handle_control(event)
        elif self._last_frames >= LAST_FRAMES:
            await self._until_closed()

    async def _until_closed(self) -> None:
        if not self.stream.closed():
            closed = asyncio.Event()
            self.stream.set_close_callback(closed.set)
            await closed.wait()
        raise StreamClosedError

    def _assert_open(self) -> None:
        if self.stream.closed():
            raise StreamClosedError

    # What is not complete

    def _account(self) -> None:
        """Counts what is kept, when all that has come is parsed."""
        self._reserve(self._parser.held)
        if self._parser.is_midway:
            if not self._is_uploading:
                self._is_uploading = True
                self._uploads.begin(self)
        else:
            self._end_upload()

    def _end_upload(self) -> None:
        if self._is_uploading:
            self._is_uploading = False
            self._uploads.end(self)

    def _reserve(self, size: int) -> None:
        more = size - self._held
        if more:
            self._held = size
            self._memory.reserve_incoming(self, self._address, more)

    @property
    def progress(self) -> int:
        """Bytes that have come of the message that is not complete."""
        return self._parser.progress

    def abort_slow_upload(self) -> None:
        """Closes the connection, for the message that has begun makes no progress."""
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.close_slow_upload()

    def evict(self) -> None:
        """Closes the connection: what its address has begun takes too much memory."""
        self._parser.drop()
        self._reserve(0)
        if self.endpoint is None or self.server_terminated:
            abort(self.stream)
        else:
            self.endpoint.close_for_memory()

    # The end

    async def _stop_at(self, size: int) -> None:
        """A message of this size is not read; its sender gets what was said to it, and time to read that."""
        self._parser.drop()
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.close_oversized(size, self._max_size)
        await self._drain()

    async def _fail(self, error: ProtocolError) -> None:
        """Fails the connection (RFC 6455 §7.1.7)."""
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.fail(error.code, error.reason)
        self.close(error.code, error.reason)
        with contextlib.suppress(OSError):
            if not has_unsent(self.stream) and not self.stream.closed():
                self.stream.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(StreamClosedError):
            await self._drain()

    async def _drain(self) -> None:
        """Reads and drops what still comes: with unread bytes, the end would be a reset, and our last words lost."""
        while True:
            await self.stream.read_bytes(CHUNK_BYTES, partial=True)
            await asyncio.sleep(0)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Sends a close frame, if none was sent; the connection ends when the client's has come, too, or time is up."""
        if not self.server_terminated:
            self.server_terminated = True
            self._parser.drop()
            self._timer = asyncio.get_running_loop().call_later(self._close_answer, self._abort)
            if not self.stream.closed():
                self.stream.write(close_frame(code, reason or ""))
        if self.client_terminated:
            self.stream.close()

    def _end(self) -> None:
        self._parser.clear()  # at once, not when the garbage collector comes to it
        self._reserve(0)
        self._end_upload()
        self._abort()
        if self._timer is not None:
            self._timer.cancel()
        self.handler.on_ws_connection_close(self.close_code, self.close_reason)
