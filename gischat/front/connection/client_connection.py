"""One client's connection: frames in, frames out, and what it holds in between."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

import msgspec
from tornado.iostream import IOStream, StreamClosedError

from gischat.broker.entries import LEAVE, RESTORE, Outcome
from gischat.errors import RefusalReason, Unavailable, Uncompliant
from gischat.front.channel.fanout import BROKEN, Send
from gischat.front.channel.room import Room
from gischat.front.close_status import (
    MEMORY_FULL,
    RATE_LIMIT_ABUSE,
    SLOW_CLIENT,
    SLOW_UPLOAD,
    message_too_long,
    oversized_words,
)
from gischat.front.dispatch.dispatcher import Dispatcher, JobResult
from gischat.front.dispatch.message_counters import UNKNOWN_TYPE
from gischat.front.limits.memory_budget import COPIED_BYTES, MemoryBudget, abort
from gischat.front.limits.rate_limit import ConnectionRateLimiter, RateLimitExceeded
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport import tcp_info
from gischat.front.transport.frame_parser import TEXT_NOT_UTF8
from gischat.front.transport.frames import PING, text_frame
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason, Delay
from gischat.protocol.messages import (
    HEAVY_TYPES,
    Message,
    exiter_message,
    folded,
    new_id,
    newcomer_message,
    nickname_of,
    now,
    uncompliant,
)
from gischat.protocol.parsing import MessageParser
from gischat.protocol.wording import quoting

log = logging.getLogger(__name__)

MAX_NEWCOMER_LENGTH = 500  # characters; a longer one has more in it than a nickname
LARGE_BYTES = 2**14  # of one write, behind which the answer to a ping may be late

ABORTED = "Cut off: too much was held for it."

BINARY_FRAME = "Binary frames are not understood: send JSON as text."
NICKNAME_YIELDED = (
    "Your nickname '{nickname}' has gone to somebody who asked for it, for nothing was heard from you. "
    "You get it back when it is free."
)
NOT_UTF8 = "The message is not valid UTF-8. It was not sent, and the connection ends: connect again."
RESTARTING = "The server is about to restart. Please send it again in a moment."


class ClientConnection:
    """A client in a room.

    `nickname` is the one that the workers have registered for it, if any; `wish` is the one that it wants and somebody
    else has, which it gets when that is free; `address` is where it comes from, `since` when it came, in seconds since
    the epoch; `received` counts the messages that it has sent, good and bad; `last_heard` is when bytes came from it
    last, by the loop's clock; `pause` is for how many seconds nothing more is to be read; `goodbye` is the code and
    the reason that we have closed it with, if we have.
    """

    __slots__ = (
        "_close",
        "_dispatcher",
        "_has_requested_nickname",
        "_is_closing",
        "_is_ping_deferred",
        "_job_queue",
        "_max_unread",
        "_memory",
        "_messages",
        "_nickname_retry",
        "_ping",
        "_pong_due_since",
        "_rate_limiter",
        "_rejections",
        "_requested",
        "_requires_registration",
        "_stream",
        "_unread",
        "address",
        "close_status",
        "connected_at",
        "id",
        "is_draining",
        "is_ready",
        "last_received_at",
        "messages_received",
        "nickname",
        "read_pause",
        "room",
        "send_now",
    )

    def __init__(
        self,
        room: Room,
        stream: IOStream,
        close: Callable[[int, str], None],
        *,
        messages: MessageParser,
        dispatcher: Dispatcher,
        pace: ConnectionRateLimiter,
        drops: RejectionLog,
        memory: MemoryBudget,
        max_unread_bytes: int,
        requires_registration: bool = False,
        address: str = "",
        address_key: str = "",
    ) -> None:
        """
        Args:
            address_key: the network that limits count the address as.
            stream: the socket's stream, with the websocket handshake behind it; plain TCP.
            close: starts the websocket's closing handshake with a code and a reason.
            max_unread_bytes: how much may wait for a client that does not read, before it is closed.
            requires_registration: it may write under its registered nickname alone.
        """
        self.room = room
        self.nickname: str | None = None
        self._requested: Message | None = None  # the newcomer that it has not got its nickname by
        self._nickname_retry: asyncio.TimerHandle | None = None  # that asks for it again
        self.address = address
        self.connected_at = now()
        self.is_draining = False
        self.last_received_at = asyncio.get_running_loop().time()
        self.messages_received = 0
        self.read_pause = 0.0
        self.close_status: tuple[int, str] | None = None
        self.send_now: Send = stream.socket.send
        self.is_ready = True
        self._ping: tcp_info.AckMark | None = None  # where the first unanswered one is, when it waits behind something
        self._is_ping_deferred = False  # something large was sent since, and its answer is timed from behind that
        self._pong_due_since = 0.0  # since when its answer is late; 0: none is unanswered
        self._stream = stream
        self._unread = 0  # bytes that wait in the stream's buffer
        self._close = close
        self._messages = messages
        self._rate_limiter = pace
        self._rejections = drops
        self._memory = memory
        self._dispatcher = dispatcher
        self._job_queue = dispatcher.open(room.channel, address_key)
        self._max_unread = max_unread_bytes
        self._requires_registration = requires_registration
        self._has_requested_nickname = False
        self._is_closing = False
        self.id = self._job_queue.id
        if stream.writing():  # the answer to the handshake, still
            self.wait_drained(stream.write(b""))

    # What comes in

    def receive(self, frame: str | bytes) -> None:
        """Checks a frame and sends it on its way; whatever is wrong with it is answered, never raised."""
        if self._is_closing:
            return  # after a goodbye nothing is taken, for nothing could be answered
        self.messages_received += 1
        type = UNKNOWN_TYPE
        try:
            self._rate_limiter.acquire_message(len(frame))
            if isinstance(frame, bytes):
                raise Uncompliant(BINARY_FRAME)
            message = self._messages.parse(frame)
            type = message.type
            if type in HEAVY_TYPES:
                self._rate_limiter.acquire_heavy()
            if self.is_draining:
                raise Unavailable(RESTARTING, RefusalReason.SHUTTING_DOWN)
            if self.room.bans.concern_nicknames:
                self.room.bans.check(message)
            # Whose nickname it bears is asked at its turn: a newcomer that came right before it has ended by then.
            objection = partial(self._check_author, message) if self._requires_registration and message.author else None
            if type == "newcomer":
                self._has_requested_nickname = True
                self._requested = message
            elif type == "exiter":
                self._requested = None
            self._job_queue.submit(message, partial(self._on_job_done, message), precondition=objection)
        except (Uncompliant, Unavailable) as refusal:
            self._send_refusal(refusal, type, frame)
            self._keep_requested_nickname(type, frame)
        except Exception:
            log.exception("a frame could not be handled", extra=self._log_fields)
            self._dispatcher.counters.count_refusal(RefusalReason.INTERNAL_ERROR, type)
            self.send(uncompliant("The server made a mistake with this message. It was not sent."))

    def _send_refusal(
        self, refusal: Uncompliant | Unavailable, type: str = UNKNOWN_TYPE, frame: str | bytes = ""
    ) -> None:
        self._dispatcher.counters.count_refusal(refusal.cause, type)
        self._slow_down()
        if isinstance(refusal, RateLimitExceeded):
            self._on_rate_limited(refusal)
        is_text = type in ("text", UNKNOWN_TYPE)
        reason = quoting(refusal.reason, frame) if is_text else refusal.reason
        self.send(uncompliant(reason))  # no more after a goodbye, which says the same

    def receive_oversized(self, size: int, most: int) -> None:
        """A message of `size` bytes has come that was longer than `most`, and of which nothing was kept."""
        if self._is_closing:
            return
        self.messages_received += 1
        try:
            self._rate_limiter.acquire_message(size)
            self._send_refusal(Unavailable(oversized_words(size, most), RefusalReason.TOO_LARGE))
        except RateLimitExceeded as refusal:
            self._send_refusal(refusal)

    def _check_author(self, message: Message) -> str | None:
        """Why the message may not be sent under its author's name; that nobody else has it now, a worker sees."""
        if self._is_registered_as(message.author):
            return None
        if self.nickname is None:
            return f"Register your nickname first: nobody may write as '{message.author}' here without it."
        return f"You are registered as '{self.nickname}': you cannot write as '{message.author}'."

    def on_control_frame(self, *, answer: bool = False) -> bool:
        """A control frame or some fragments have come: who sends them without end is closed as if they were messages.

        Args:
            answer: they belong to a message, whose sender is to be told that it was not sent.

        Returns:
            Whether they are within the rates.
        """
        try:
            self._rate_limiter.acquire_message(0)
        except RateLimitExceeded as refusal:
            if answer:
                self._send_refusal(refusal)
            else:
                self._slow_down()
                self._on_rate_limited(refusal)
            return False
        return True

    def _slow_down(self) -> None:
        """Something was refused: where that is the rule at its address, the next is not read at once."""
        self.read_pause = self._rate_limiter.record_refusal()
        if self.read_pause:
            what = "much of what comes from %s is refused: each of its connections is read once a second"
            self._rejections.record(Delay.ADDRESS_REFUSALS, what, self._rate_limiter.address_key)

    def _on_rate_limited(self, refusal: RateLimitExceeded) -> None:
        """Each message that is refused is answered, and so that a flood does not make us write one: up to a number."""
        self._rejections.record(refusal.cause, "connection %d sends too fast", self.id)
        if self._rate_limiter.limit_exceeded_repeatedly():
            self._rejections.record(
                CloseReason.RATE_LIMIT_ABUSE, "connection %d went on sending too fast, closed", self.id
            )
            self.close(*RATE_LIMIT_ABUSE)
            # What it sends until it has read that is dropped; it has not for ever.
            asyncio.get_running_loop().call_later(self.room.timings.flood_close, self._stream.close)

    def _on_job_done(self, message: Message, ending: JobResult) -> None:
        if ending.is_refusal:
            self.send(ending.body)
            if message.type == "newcomer":
                self._retry_unless_taken(ending)
        elif message.type == "newcomer":
            self._set_nickname(nickname_of(message))
        elif message.type == "exiter":
            if ending.outcome is Outcome.PUBLISHED and self._is_registered_as(nickname_of(message)):
                self.nickname = None
        elif ending.outcome is Outcome.DUPLICATE and ending.body and not ending.is_broadcast:
            self.send(ending.body)  # it was published before, and its sender may not have heard of it

    # The nickname: clients send a newcomer once, and what they want then they want until they say otherwise

    @property
    def requested_nickname(self) -> str | None:
        """The nickname that it wants and has not got, if there is one."""
        return None if self._requested is None else nickname_of(self._requested)

    def _is_registered_as(self, nickname: str) -> bool:
        """Whether that is its nickname, in whatever case."""
        return self.nickname is not None and folded(self.nickname) == folded(nickname)

    def _set_nickname(self, nickname: str) -> None:
        if not self._is_registered_as(nickname):
            self.nickname = nickname
        if self.requested_nickname is not None and folded(self.requested_nickname) == folded(nickname):
            self._requested = None
        if (reason := self.room.bans.ban_reason(nickname)) is not None:
            self.kick(1008, reason)  # banned while it was on its way

    def grant_nickname(self, newcomer: bytes) -> None:
        """The nickname that it waited for is its own now."""
        self._set_nickname(str(msgspec.json.decode(newcomer)["newcomer"]))

    def _retry_unless_taken(self, ending: JobResult) -> None:
        """Of a nickname that is taken Redis knows who waits for it; all else passes (Redis away, an inbox full)."""
        if ending.refusal_reason not in (RefusalReason.UNPROCESSABLE, RefusalReason.DUPLICATE_ID):
            self._retry_nickname_later()

    def _keep_requested_nickname(self, type: str, frame: str | bytes) -> None:
        """A newcomer that came at a bad time is not said again; one that was refused for its pace was not read yet."""
        if type == UNKNOWN_TYPE and isinstance(frame, str) and '"newcomer"' in frame[:MAX_NEWCOMER_LENGTH]:
            with contextlib.suppress(Uncompliant, Unavailable):
                message = self._messages.parse(frame[:MAX_NEWCOMER_LENGTH], type="newcomer")
                self.room.bans.check(message)
                self._has_requested_nickname, self._requested = True, message
                self._retry_nickname_later()
        elif type == "newcomer":
            self._retry_nickname_later()

    def _retry_nickname_later(self) -> None:
        if self._requested is not None and self._nickname_retry is None:
            self._nickname_retry = asyncio.get_running_loop().call_later(self.room.timings.retry, self.retry_nickname)

    def retry_nickname(self) -> None:
        """Asks once more for the nickname that it waits for, if it does; nothing is said to it but of its success.

        It is the same message again: by its id the client knows what it is granted.
        """
        if self._nickname_retry is not None:
            self._nickname_retry.cancel()  # a gap asks earlier
            self._nickname_retry = None
        wanted, wish = self._requested, self.requested_nickname
        if wanted is None or wish is None or self._is_closing or self._stream.closed():
            return
        if self.room.bans.ban_reason(wish) is not None:
            return

        def ended(ending: JobResult) -> None:
            if not ending.is_refusal:
                self._set_nickname(wish)
            elif self.requested_nickname == wish:
                self._retry_unless_taken(ending)

        self._job_queue.submit(wanted, ended, bounded=False)

    def _retry_nickname_when_responsive(self, since: float) -> None:
        """Who does not answer asks for no nickname: two who are both gone would pass one to and fro without end."""
        if self.last_received_at > since:
            self.retry_nickname()
        elif not (self._is_closing or self._stream.closed()):
            asyncio.get_running_loop().call_later(self.room.timings.retry, self._retry_nickname_when_responsive, since)

    def yield_nickname(self) -> None:
        """Gives its nickname to whoever waits for it, and waits for it in turn."""
        nickname = self.nickname
        if nickname is None:
            return

        def ended(ending: JobResult) -> None:
            if not ending.is_refusal:
                self.nickname, self._requested = None, self._requested or newcomer_message(nickname)
                self.send(uncompliant(NICKNAME_YIELDED.format(nickname=nickname)))
                self._retry_nickname_when_responsive(asyncio.get_running_loop().time())

        self._job_queue.submit(exiter_message(nickname), ended, bounded=False)

    # What goes out

    def send(self, body: bytes) -> None:
        """Sends one message, as JSON."""
        self.write(text_frame(body))

    def ping(self) -> None:
        """Asks whether the client is there: whatever bytes come from it are an answer."""
        is_first = not self.awaiting_pong
        self.write(PING)
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
        is_here = not (self._is_closing or self._stream.closed())
        return bool(self._pong_due_since) and self.last_received_at <= self._pong_due_since and is_here

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
            self.room.fanout.update(self)

    def _disconnect_slow(self) -> None:
        self._stop_writing()
        log.info("too slow, closed", extra=self._log_fields)
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
            self._stream.write(text_frame(uncompliant(told or reason)))
        self._close(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """Fails the connection, as RFC 6455 §7.1.7 demands: with a close frame alone, for who breaks the protocol
        understands no message. Only text that is not UTF-8 (§8.1) may be a program's slip, and is told in words."""
        self._rejections.record(CloseReason.PROTOCOL_ERROR, "connection %d broke the protocol: %s", self.id, reason)
        if reason == TEXT_NOT_UTF8:
            self.send(uncompliant(NOT_UTF8))
        self._stop_writing()
        self.close_status = self.close_status or (code, reason)
        self._close(code, reason)

    def close_oversized(self, size: int, most: int) -> None:
        """A message of `size` bytes was announced, which is more than is read even to be dropped."""
        self.messages_received += 1
        self._rejections.record(CloseReason.TOO_LARGE, "connection %d announced %d bytes in a message", self.id, size)
        self.close(*message_too_long(size, most))

    def close_slow_upload(self) -> None:
        """A message has begun, and makes no progress."""
        self._rejections.record(CloseReason.SLOW_UPLOAD, "connection %d makes no progress with a message", self.id)
        self.close(*SLOW_UPLOAD)

    def close_for_memory(self) -> None:
        """The front has no memory for what its address has begun; who is closed has been counted."""
        self.close(*MEMORY_FULL)

    def _stop_writing(self) -> None:
        self._is_closing = True
        self._set_ready(False)

    def kick(self, code: int, reason: str, told: str = "") -> None:
        """Says goodbye to somebody who may not be here: of what he has sent, what waits its turn is not published."""
        metrics.CONNECTIONS_CLOSED.labels(CloseReason.MODERATOR).inc()
        self.close(code, reason, told)
        self._job_queue.reject_pending(Unavailable(reason, RefusalReason.BANNED))

    @property
    def _log_fields(self) -> dict[str, object]:
        """What log lines about it bear."""
        return {"connection": self.id, "channel": self.room.channel}

    # How it begins and ends

    def on_socket_closed(self) -> None:
        """The socket is closed. What it sent before is still published; then its nickname is given up."""
        self.room.leave(self)
        self._job_queue.is_abandoned = True
        if self._has_requested_nickname or not self._job_queue.is_idle:
            self._unregister()
        else:
            self._dispatcher.close(self._job_queue)

    def _unregister(self) -> None:
        def ended(ending: JobResult) -> None:
            if ending.is_refusal:
                # A nickname that nobody gives up would be a ghost: again, until it is done or this front is gone.
                asyncio.get_running_loop().call_later(self.room.timings.retry, self._unregister)
            else:
                self._dispatcher.close(self._job_queue)

        self._job_queue.submit(Message(LEAVE, "", b"{}"), ended, bounded=False)

    def restore_nickname(self) -> None:
        """Tells Redis again, when it has lost it, the nickname that it has, and then the one that it waits for.

        That comes before whatever it says next: nobody else shall get the nickname while it is writing.
        """
        self._retry_nickname_later()  # who has it shall be the first to say so
        nickname = self.nickname
        if nickname is None:
            return

        def precondition() -> str | None:
            return None if self._is_registered_as(nickname) else "It was given up meanwhile."

        def on_done(result: JobResult) -> None:
            if not result.is_refusal:
                return
            if result.refusal_reason is RefusalReason.UNPROCESSABLE:  # somebody has taken it meanwhile
                self._requested = self._requested or newcomer_message(nickname)
                self.nickname = None
                self.send(result.body)
            elif not (self._is_closing or self._stream.closed()):
                asyncio.get_running_loop().call_later(self.room.timings.retry, self.restore_nickname)

        body = msgspec.json.encode({RESTORE: nickname})
        message = Message(RESTORE, new_id(), body)
        self._job_queue.submit(message, on_done, bounded=False, precondition=precondition, is_ahead=True)
