"""A websocket's reading side: it reads the stream, parses frames and hands messages on, in turn with other connections.

Tornado does the opening handshake; frames are ours. Incomplete messages are counted by `admission`, and have a deadline
by progress.
"""

import asyncio
import contextlib
import socket

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

from gischat.front.limits.admission import Admission
from gischat.front.limits.memory_budget import abort
from gischat.front.transport.endpoint import Endpoint
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
from gischat.front.transport.write_scheduler import has_unsent, unbound_kernel
from gischat.observability.metrics import BufferedCounter
from gischat.protocol.long_text import LongText
from gischat.timings import Timings

CHUNK_BYTES = 2**16  # of one read; a longer message is large
LAST_FRAMES = 100  # read after our close frame, since the client's own may follow them
FRAGMENTS = 128  # of a message cost about as much as another message, and count as one


class NullCounter:
    """The counter of a channel that does not exist."""

    total = 0


class BufferedWebSocketProtocol(WebSocketProtocol13):
    """Tornado's websocket with our own reader, whose memory for incomplete messages is bounded over all clients."""

    # Tornado's has nearly as many attributes as Python shares the names of; more would cost a kilobyte.
    __slots__ = (
        "_address",
        "_admission",
        "_close_answer",
        "_fragments",
        "_held",
        "_in_hand",
        "_last_frames",
        "_max_size",
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
        admission: Admission,
        turns: ReadScheduler,
        uploads: UploadWatch,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            address_key: the key under which the limits count the client's address.
            received: counts the bytes read.
            admission, turns, uploads: shared by all connections of the front.
        """
        super().__init__(handler, mask_outgoing=False, params=params)
        self.endpoint: Endpoint | None = None
        self.bytes_in = 0  # bytes read, including frame headers
        self._address = address_key
        self._max_size = params.max_message_size
        self._parser = FrameParser(self._max_size)
        self._received = received
        self._admission = admission
        self._scheduler = turns
        self._uploads = uploads
        self._close_answer = timings.close_answer
        self._fragments = 0  # not yet counted as a message
        self._held = 0  # bytes reserved
        self._in_hand = 0  # bytes of a complete large message that waits for its turn
        self._last_frames = 0  # received after our close frame
        self._timer: asyncio.TimerHandle | None = None

    async def _receive_frame_loop(self) -> None:
        # This ends the request and frees what served the handshake: two kilobytes per client.
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(self._on_ended)

    def _on_ended(self, reading: "asyncio.Task[None]") -> None:
        if not reading.cancelled() and (error := reading.exception()) is not None:
            self.handler.log_exception(type(error), error, error.__traceback__)

    # Reading

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
            if has_unsent(self.stream):
                await self.stream.write(b"")  # until the timer of `close` ends it
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
                    if size <= CHUNK_BYTES or await self._pace_large_message(size):
                        self._handle_data(event)
                else:
                    work -= 1
                    self._handle_other(event)
                if self.endpoint is not None and self.endpoint.read_pause and not self.server_terminated:
                    await self._pause(data, self.endpoint)
                    work = 0
        except MessageTooLong as error:
            await self._refuse_oversized(error.size)
        self._account()

    async def _wait_for_turn(self, data: bytes) -> int:
        """Wait, if necessary, until more received data may be handled; returns the allowed amount of work.

        Received data is handled even if the client is gone by then: people say something and leave.
        """
        if not self._scheduler.try_acquire(self._address):
            self._reserve(self._parser.held + len(data))
            await self._scheduler.acquire(self._address)
        return MESSAGE_WORK

    async def _pause(self, data: bytes, endpoint: Endpoint) -> None:
        """Pause reading from a client that is refused too much; drop its data if it is gone by then."""
        pause, endpoint.read_pause = endpoint.read_pause, 0.0
        self._reserve(self._parser.held + len(data))
        await asyncio.sleep(pause)
        if self.stream.closed():
            raise StreamClosedError

    async def _pace_large_message(self, size: int) -> bool:
        """Wait until a large message may be handled; False if it was refused meanwhile."""
        self._in_hand = size
        self._reserve(size)
        await self._scheduler.acquire_large(self._address, size)
        is_kept, self._in_hand = bool(self._in_hand), 0
        self._reserve(0)  # whoever handles it counts it from now on
        return is_kept

    def _handle_data(self, message: str | LongText | bytes) -> None:
        self._uploads.end(self)
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.receive(message)

    def _handle_other(self, event: Control | Dropped | Fragment) -> None:
        if isinstance(event, Control):
            self._handle_control(event)
        elif isinstance(event, Dropped):
            self._uploads.end(self)
            if self.endpoint is not None and event.size > self._max_size:
                self.endpoint.receive_dropped(event.size, self._max_size)
        else:
            self._fragments += 1
            if self._fragments >= FRAGMENTS:
                self._fragments = 0
                if self.endpoint is not None and not self.endpoint.on_control_frame(answer=not self._parser.is_dropped):
                    self._parser.drop()

    def _handle_control(self, frame: Control) -> None:
        if frame.opcode == CLOSE:
            self.close_code, self.close_reason = close_status(frame.payload)
            self.client_terminated = True
            if self.endpoint is not None:
                self.endpoint.stop_writing()
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
        """Ignore frames after our close frame, except the client's own; stop reading if there are too many.

        The socket stays open while the client may answer, since it has our close frame to read.
        """
        self._last_frames += 1
        if isinstance(event, Control) and event.opcode == CLOSE:
            self._handle_control(event)
        elif self._last_frames >= LAST_FRAMES:
            if not self.stream.closed():
                closed = asyncio.Event()
                self.stream.set_close_callback(closed.set)
                await closed.wait()
            raise StreamClosedError

    # Incomplete messages

    def _account(self) -> None:
        """Update the bytes reserved and the upload deadline once all received data is parsed."""
        self._reserve(self._parser.held)
        if self._parser.is_midway:
            self._uploads.begin(self)
        else:
            self._uploads.end(self)

    def _reserve(self, size: int) -> None:
        more = size - self._held
        if more:
            self._held = size
            self._admission.reserve(self, self._address, more)

    @property
    def progress(self) -> int:
        """Received bytes of the incomplete message."""
        return self._parser.progress

    def abort_slow_upload(self) -> None:
        """Close the connection, since its incomplete message makes no progress."""
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.close_slow_upload()

    def evict(self) -> bool:
        """Refuse the message that is incomplete or waits for its turn; returns whether the connection is closed.

        It is closed if there is no such message: small ones that wait cannot be dropped, since each must be answered.
        """
        size, self._in_hand = self._parser.drop() + self._in_hand, 0
        self._reserve(0)
        if self.endpoint is None or self.server_terminated:
            abort(self.stream)
        elif size:
            self.endpoint.receive_dropped(size)
            return False
        else:
            self.endpoint.close_for_memory()
        return True

    # Closing

    async def _refuse_oversized(self, size: int) -> None:
        """Refuse to read a message of this size; its sender gets a close frame, and time to read it."""
        self._parser.drop()
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.close_oversized(size, self._max_size)
        await self._drain()

    async def _fail(self, error: ProtocolError) -> None:
        """Fail the connection (RFC 6455 §7.1.7)."""
        if self.endpoint is not None and not self.server_terminated:
            self.endpoint.fail(error.code, error.reason)
        self.close(error.code, error.reason)
        with contextlib.suppress(OSError):
            if not has_unsent(self.stream) and not self.stream.closed():
                self.stream.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(StreamClosedError):
            await self._drain()

    async def _drain(self) -> None:
        """Read and discard: closing with unread bytes would be a reset, and the client would lose our close frame."""
        while True:
            await self.stream.read_bytes(CHUNK_BYTES, partial=True)
            await asyncio.sleep(0)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Send a close frame, unless one was sent; the connection ends after the client's close frame or a timeout."""
        if not self.server_terminated:
            self.server_terminated = True
            self._parser.drop()
            self._timer = asyncio.get_running_loop().call_later(self._close_answer, self._abort)
            if not self.stream.closed():
                unbound_kernel(self.stream)
                self.stream.write(close_frame(code, reason or ""))
        if self.client_terminated and not has_unsent(self.stream):
            self.stream.close()

    def _end(self) -> None:
        self._parser.clear()  # now, without waiting for the garbage collector
        self._reserve(0)
        self._uploads.end(self)
        self._abort()
        if self._timer is not None:
            self._timer.cancel()
        self.handler.on_ws_connection_close(self.close_code, self.close_reason)
