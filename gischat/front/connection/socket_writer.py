"""Writer to one client's socket: direct writes, or through the stream's buffer; pings; closing of slow clients."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from tornado.iostream import IOStream, StreamClosedError

from gischat.front.channel.fanout import BROKEN, Fanout, Send
from gischat.front.close_status import SLOW_CLIENT
from gischat.front.limits.memory_budget import COPIED_BYTES, MemoryBudget, abort
from gischat.front.transport import tcp_info
from gischat.front.transport.frames import PIECE_BYTES, PING, text_frame
from gischat.front.transport.write_scheduler import unsent_bytes
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import uncompliant

log = logging.getLogger(__name__)

LARGE_BYTES = 2**14  # of one write, after which the answer to a ping may be late

ABORTED = "Cut off: too much was held for it."


class SocketWriter:
    """Writes to a client's socket. A base class instead of a component, which would take a hundred bytes per client.

    `last_received_at` is the time of the last bytes received, by the loop's clock; `close_status` is the code and the
    reason with which we have closed the connection, if we have.
    """

    __slots__ = (
        "_close",
        "_fanout",
        "_is_closing",
        "_is_ping_deferred",
        "_max_unread",
        "_memory",
        "_ping",
        "_pong_due_since",
        "_stream",
        "_unread",
        "close_status",
        "is_ready",
        "last_received_at",
        "send_now",
    )

    is_event_stream = False
    KEEP_ALIVE = PING

    def __init__(
        self,
        stream: IOStream,
        close: Callable[[int, str], None],
        fanout: Fanout,
        memory: MemoryBudget,
        max_unread_bytes: int,
    ) -> None:
        """
        Args:
            stream: the socket's stream, plain TCP, after the websocket handshake.
            close: starts the websocket's closing handshake with a code and a reason.
            fanout: the fan-out that it may be in, which is updated when `is_ready` changes.
            max_unread_bytes: bytes buffered for a client that does not read, before it is closed.
        """
        self.last_received_at = asyncio.get_running_loop().time()
        self.close_status: tuple[int, str] | None = None
        self.send_now: Send = stream.socket.send
        self.is_ready = True
        self._ping: tcp_info.AckMark | None = None  # of the first unanswered ping, while unacknowledged
        self._is_ping_deferred = False  # a large write followed the ping, so its answer is timed from after that
        self._pong_due_since = 0.0  # start of the timeout; 0: no unanswered ping
        self._stream = stream
        self._unread = 0  # bytes in the stream's buffer
        self._close = close
        self._fanout = fanout
        self._memory = memory
        self._max_unread = max_unread_bytes
        self._is_closing = False
        if stream.writing():  # still the answer to the handshake
            self.wait_drained(stream.write(b""))

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._is_closing or self._stream.closed()

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of log lines about this connection."""
        raise NotImplementedError

    def send(self, body: bytes) -> None:
        """Send one message, as JSON."""
        self.write(text_frame(body))

    def write(self, data: bytes) -> None:
        """Send whole frames: directly to the non-blocking socket if it accepts them, else through the stream's buffer.

        Direct writes are used only while the stream's buffer is empty, so the order is kept. What is large goes through
        the stream, by turns (see `write_scheduler`).
        """
        self._fanout.catch_up(self)  # a layer whose turn has not come comes first
        if len(data) > LARGE_BYTES and self.awaiting_pong:
            # Usually a history, sent after the ping. The client may not answer before it has received both.
            self._write(data)
            if self._is_ping_deferred:  # only once: repeated writes must not keep a client alive that reads nothing
                self._ping = (
                    None
                    if self._stream.closed()
                    else tcp_info.take_mark(self._stream.socket, unsent_bytes(self._stream))
                )
            else:
                self._start_pong_timer()
                self._is_ping_deferred = True
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if not self.is_ready or len(data) > PIECE_BYTES:
            self._buffer(data)
            return
        try:
            sent = self.send_now(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = BROKEN
        if sent != len(data):
            self.finish_write(data, sent)

    def finish_write(self, data: bytes, sent: int) -> None:
        """Complete a direct write, of which the socket accepted `sent` bytes, or which is `BROKEN`."""
        if sent != BROKEN:
            rest = memoryview(data)[sent:]
            # Copy a small rest instead of keeping the whole frame alive.
            self._buffer(rest if len(rest) > COPIED_BYTES else bytes(rest))
        elif not self._stream.closed():
            self._stream.close()

    def wait_drained(self, written: "asyncio.Future[None]") -> None:
        """Buffer until a write to the stream, ours or Tornado's, has been flushed."""
        self._set_ready(False)
        written.add_done_callback(self._on_flushed)

    def _buffer(self, data: bytes | memoryview) -> None:
        if self._is_closing:
            return
        size = len(data)
        # Do not disconnect a caught-up client over one message longer than the limit, nor one whose turn has not come.
        if self._unread and self._stream.writing() and self._unread + size > self._max_unread:
            self._disconnect_slow()
            return
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            return  # closed; `on_socket_closed` follows
        self._unread += size
        self._memory.reserve_data(self, data)
        self._set_ready(False)
        written.add_done_callback(partial(self._on_written, data))

    def _on_written(self, data: bytes | memoryview, written: "asyncio.Future[None]") -> None:
        self._unread -= len(data)
        self._memory.release_data(self, data)
        self._on_flushed(written)

    def _on_flushed(self, _: "asyncio.Future[None]") -> None:
        if not (self._is_closing or self._stream.closed() or self._unread or self._stream.writing()):
            self._set_ready(True)

    def _set_ready(self, is_ready: bool) -> None:
        if self.is_ready != is_ready:
            self.is_ready = is_ready
            self._fanout.update(self)

    def ping(self) -> None:
        """Send a ping; any received bytes are an answer."""
        is_first = not self.awaiting_pong
        self._write(self.KEEP_ALIVE)
        if is_first:
            self._is_ping_deferred = False
            self._start_pong_timer()

    def _start_pong_timer(self) -> None:
        """Start the timeout of a ping now, or once all data before it has been delivered."""
        self._pong_due_since = asyncio.get_running_loop().time()
        if not self._stream.closed():
            self._ping = tcp_info.take_mark(self._stream.socket, unsent_bytes(self._stream))

    @property
    def awaiting_pong(self) -> bool:
        """Whether nothing has been received since a ping; False if the connection is closing or closed."""
        return bool(self._pong_due_since) and self.last_received_at <= self._pong_due_since and not self.is_gone

    def pong_overdue(self, seconds: float) -> bool:
        """Whether the first unanswered ping has been unanswered for so long; to be polled.

        The timeout restarts as long as the client receives data from before the ping, or its turn to be sent that has
        not come.
        """
        if not self.awaiting_pong:
            return False
        now = asyncio.get_running_loop().time()
        if self._unread and not self._stream.writing():
            self._pong_due_since = now
        if self._ping is not None:
            moved = tcp_info.mark_delivered(self._stream.socket, self._ping)
            if moved is not None:
                self._ping, self._pong_due_since = moved, now
        return now - self._pong_due_since >= seconds

    @property
    def is_peer_unreachable(self) -> bool:
        """Whether the peer's system does not acknowledge data either, regardless of its program."""
        return self._stream.closed() or tcp_info.is_unreachable(self._stream.socket)

    def _disconnect_slow(self) -> None:
        self.stop_writing()
        log.info("too slow, closed", extra=self.log_fields)
        metrics.CONNECTIONS_CLOSED.labels(CloseReason.SLOW_CLIENT).inc()
        # Deferred, since this may run during an iteration over the room.
        asyncio.get_running_loop().call_soon(self._say_goodbye, *SLOW_CLIENT)

    def evict(self) -> None:
        """Abort to free memory; a close frame would be queued after all unread data."""
        self.stop_writing()
        self.close_status = 1006, ABORTED  # only for the log
        abort(self._stream)

    def close(self, code: int, reason: str, told: str = "") -> None:
        """Send an `uncompliant` and a close frame; `on_socket_closed` follows when the socket is closed.

        Does nothing if it is closing already, by the client's close frame or ours.

        Args:
            code, reason: of the close frame, which QGIS and QField do not show.
            told: the reason in the `uncompliant`; by default `reason`.
        """
        if not self._is_closing:
            self._say_goodbye(code, reason, told)

    def _say_goodbye(self, code: int, reason: str, told: str = "") -> None:
        if self.close_status is not None:
            return
        self._fanout.catch_up(self)
        self.stop_writing()
        self.close_status = code, reason
        # After all buffered data, and regardless of its limit: it is small, and the last.
        with contextlib.suppress(StreamClosedError):
            self._stream.write(self._goodbye(uncompliant(told or reason)))
        self._close(code, reason)

    def _goodbye(self, body: bytes) -> bytes:
        """The last message, as it goes over the wire."""
        return text_frame(body)

    def stop_writing(self) -> None:
        """Drop all later writes: nothing may follow a close frame (RFC 6455 §5.5.1)."""
        self._is_closing = True
        self._set_ready(False)
