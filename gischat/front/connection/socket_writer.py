"""The way out to one client: frames straight to its socket, or through a buffer; pings; the end of a slow client."""

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
from gischat.front.transport.frames import PING, text_frame
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason
from gischat.protocol.messages import uncompliant

log = logging.getLogger(__name__)

LARGE_BYTES = 2**14  # of one write, behind which the answer to a ping may be late

ABORTED = "Cut off: too much was held for it."


class SocketWriter:
    """Writes to a client's socket. It is what a client's connection inherits from, and no part that it has: one more
    object, known to both, would weigh a hundred bytes of each idle client.

    `last_received_at` is when bytes came from it last, by the loop's clock; `close_status` is the code and the reason
    that we have closed it with, if we have.
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
            stream: the socket's stream, with the websocket handshake behind it; plain TCP.
            close: starts the websocket's closing handshake with a code and a reason.
            fanout: that it may be in: it is told when this client becomes ready, or is no longer.
            max_unread_bytes: how much may wait for a client that does not read, before it is closed.
        """
        self.last_received_at = asyncio.get_running_loop().time()
        self.close_status: tuple[int, str] | None = None
        self.send_now: Send = stream.socket.send
        self.is_ready = True
        self._ping: tcp_info.AckMark | None = None  # where the first unanswered one is, when it waits behind something
        self._is_ping_deferred = False  # something large was sent since, and its answer is timed from behind that
        self._pong_due_since = 0.0  # since when its answer is late; 0: none is unanswered
        self._stream = stream
        self._unread = 0  # bytes that wait in the stream's buffer
        self._close = close
        self._fanout = fanout
        self._memory = memory
        self._max_unread = max_unread_bytes
        self._is_closing = False
        if stream.writing():  # the answer to the handshake, still
            self.wait_drained(stream.write(b""))

    @property
    def is_gone(self) -> bool:
        """Whether it has been told goodbye, or is gone without."""
        return self._is_closing or self._stream.closed()

    @property
    def log_fields(self) -> dict[str, object]:
        """What log lines about it bear."""
        raise NotImplementedError

    def send(self, body: bytes) -> None:
        """Sends one message, as JSON."""
        self.write(text_frame(body))

    def write(self, data: bytes) -> None:
        """Sends whole frames: straight to the socket when it takes them, else through the stream's buffer.

        The socket is non-blocking, and nothing waits in the stream when it is passed by, so order holds.
        """
        if len(data) > LARGE_BYTES and self.awaiting_pong:
            # A history, as a rule. The client takes it after the ping, but may answer neither before it has both.
            self._write(data)
            if self._is_ping_deferred:  # once, or what comes again and again would keep alive who takes nothing
                self._ping = None if self._stream.closed() else tcp_info.take_mark(self._stream.socket, self._unread)
            else:
                self._start_pong_timer()
                self._is_ping_deferred = True
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if not self.is_ready:
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
        """The socket has taken so much of whole frames, or is `BROKEN`."""
        if sent != BROKEN:
            rest = memoryview(data)[sent:]
            # What is small is copied, or all of the data would be kept for it.
            self._buffer(rest if len(rest) > COPIED_BYTES else bytes(rest))
        elif not self._stream.closed():
            self._stream.close()

    def wait_drained(self, written: "asyncio.Future[None]") -> None:
        """Something was written to the stream, by whomever, and has not gone out: what follows waits behind it."""
        self._set_ready(False)
        written.add_done_callback(self._on_flushed)

    def _buffer(self, data: bytes | memoryview) -> None:
        if self._is_closing:
            return  # nothing follows a goodbye (RFC 6455 §5.5.1)
        size = len(data)
        # A message longer than the bound still fits a client that has read all before.
        if self._unread and self._stream.writing() and self._unread + size > self._max_unread:
            self._disconnect_slow()
            return
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            return  # its end is on the way to `ended`
        self._unread += size
        self._memory.reserve_data(self, data)
        self._set_ready(False)
        written.add_done_callback(partial(self._on_written, data))

    def _on_written(self, data: bytes | memoryview, written: "asyncio.Future[None]") -> None:
        self._unread -= len(data)
        self._memory.release_data(self, data)
        self._on_flushed(written)

    def _on_flushed(self, _: "asyncio.Future[None]") -> None:
        if not (self._is_closing or self._stream.closed() or self._stream.writing()):
            self._set_ready(True)

    def _set_ready(self, is_ready: bool) -> None:
        if self.is_ready != is_ready:
            self.is_ready = is_ready
            self._fanout.update(self)

    def ping(self) -> None:
        """Asks whether the client is there: whatever bytes come from it are an answer."""
        is_first = not self.awaiting_pong
        self._write(self.KEEP_ALIVE)
        if is_first:
            self._is_ping_deferred = False
            self._start_pong_timer()

    def _start_pong_timer(self) -> None:
        """Times the answer to a ping from now on, and from behind all that is on its way to the client."""
        self._pong_due_since = asyncio.get_running_loop().time()
        if not self._stream.closed():
            self._ping = tcp_info.take_mark(self._stream.socket, self._unread)

    @property
    def awaiting_pong(self) -> bool:
        """Whether nothing at all has come since a ping. Who is gone, or has been told goodbye, owes nothing."""
        return bool(self._pong_due_since) and self.last_received_at <= self._pong_due_since and not self.is_gone

    def pong_overdue(self, seconds: float) -> bool:
        """Whether the first of the unanswered pings was not answered for so long.

        As long as the client takes what stands before the ping, the time begins anew; it is to be asked often.
        """
        if not self.awaiting_pong:
            return False
        now = asyncio.get_running_loop().time()
        if self._ping is not None:
            moved = tcp_info.mark_delivered(self._stream.socket, self._ping)
            if moved is not None:
                self._ping, self._pong_due_since = moved, now
        return now - self._pong_due_since >= seconds

    @property
    def is_peer_unreachable(self) -> bool:
        """Whether the other end's system does not answer either, whatever its program does."""
        return self._stream.closed() or tcp_info.is_unreachable(self._stream.socket)

    def _disconnect_slow(self) -> None:
        self._stop_writing()
        log.info("too slow, closed", extra=self.log_fields)
        metrics.CONNECTIONS_CLOSED.labels(CloseReason.SLOW_CLIENT).inc()
        # Later, for this may be in the midst of a walk through the room.
        asyncio.get_running_loop().call_soon(self.close, *SLOW_CLIENT)

    def evict(self) -> None:
        """Ends at once, for what it does not read takes too much memory: a goodbye would wait behind all of that."""
        self._stop_writing()
        self.close_status = 1006, ABORTED  # which nobody hears but the log
        abort(self._stream)

    def close(self, code: int, reason: str, told: str = "") -> None:
        """Says goodbye; `ended` follows when the socket is closed.

        Args:
            code, reason: of the close frame, which QGIS and QField show to nobody.
            told: what the user is told before, in an `uncompliant`; the reason, if nothing else.
        """
        if self.close_status is not None:
            return
        self._stop_writing()
        self.close_status = code, reason
        # Behind all that waits, and beyond the bound for that: it is little, and the last.
        with contextlib.suppress(StreamClosedError):
            self._stream.write(self._goodbye(uncompliant(told or reason)))
        self._close(code, reason)

    def _goodbye(self, body: bytes) -> bytes:
        """The last message, as it goes over the wire."""
        return text_frame(body)

    def _stop_writing(self) -> None:
        self._is_closing = True
        self._set_ready(False)
