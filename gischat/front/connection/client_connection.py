"""A client's connection: checks, queues and answers its messages."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

import msgspec
from tornado.iostream import IOStream

from gischat.broker.access_keys import AccessKey
from gischat.broker.entries import Outcome
from gischat.errors import RefusalReason, Unavailable, Uncompliant
from gischat.front.channel.room import Room
from gischat.front.close_status import MEMORY_FULL, RATE_LIMIT_ABUSE, SLOW_UPLOAD, message_too_long, oversized_words
from gischat.front.connection.nickname_request import NicknameRequest
from gischat.front.connection.socket_writer import SocketWriter
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_result import JobResult
from gischat.front.dispatch.message_counters import UNKNOWN_TYPE
from gischat.front.limits.admission import SERVER_FULL
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rate_limit import ConnectionRateLimiter, RateLimitExceeded
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.frame_parser import TEXT_NOT_UTF8
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason, Delay
from gischat.protocol.long_text import LongText
from gischat.protocol.messages import Message, folded, nickname_of, now, uncompliant
from gischat.protocol.parsing import MessageParser
from gischat.protocol.types import LIVE_TYPES
from gischat.protocol.wording import quoting

log = logging.getLogger(__name__)

MAX_NEWCOMER_LENGTH = 500  # characters; a longer message contains more than a nickname

BINARY_FRAME = "Binary frames are not understood: send JSON as text."
NOT_UTF8 = "The message is not valid UTF-8. It was not sent, and the connection ends: connect again."
RESTARTING = "The server is about to restart. Please send it again in a moment."


class ClientConnection(SocketWriter):
    """A client in a room.

    `nickname` is its registered nickname, if any; `connected_at` is in seconds since the epoch; `messages_received`
    counts its messages, valid or not; `read_pause` is the number of seconds for which reading must pause.
    """

    __slots__ = (
        "_dispatcher",
        "_job_queue",
        "_messages",
        "_rate_limiter",
        "_rejections",
        "_requires_registration",
        "access_key",
        "address",
        "connected_at",
        "id",
        "is_draining",
        "messages_received",
        "nickname",
        "nickname_request",
        "read_pause",
        "room",
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
        rejections: RejectionLog,
        memory: MemoryBudget,
        max_unread_bytes: int,
        requires_registration: bool = False,
        address: str = "",
        address_key: str = "",
    ) -> None:
        """
        Args:
            address_key: the key under which the limits count the address.
            stream, close, max_unread_bytes: see `SocketWriter`.
            requires_registration: the client may write only under its registered nickname.
        """
        super().__init__(stream, close, room.fanout, memory, max_unread_bytes)
        self.room = room
        self.nickname: str | None = None
        self.access_key: AccessKey | None = None
        self.nickname_request: NicknameRequest | None = None
        self.address = address
        self.connected_at = now()
        self.is_draining = False
        self.messages_received = 0
        self.read_pause = 0.0
        self._messages = messages
        self._rate_limiter = pace
        self._rejections = rejections
        self._dispatcher = dispatcher
        self._job_queue = dispatcher.open(room.channel, address_key)
        self._requires_registration = requires_registration
        self.id = self._job_queue.id

    # Receiving

    def receive(self, frame: str | LongText | bytes) -> None:
        """Check a frame and queue its message; faults are answered, never raised."""
        if self._is_closing:
            return  # it could not be answered any more
        self.messages_received += 1
        type = UNKNOWN_TYPE
        try:
            self._rate_limiter.acquire_message(frame.size if isinstance(frame, LongText) else len(frame))
            if isinstance(frame, bytes):
                raise Uncompliant(BINARY_FRAME)
            message = self._messages.parse_long(frame) if isinstance(frame, LongText) else self._messages.parse(frame)
            type = message.type
            if message.lane.is_sandboxed:
                self._rate_limiter.acquire_heavy()
            if self.is_draining:
                raise Unavailable(RESTARTING, RefusalReason.SHUTTING_DOWN)
            if self.room.bans.concern_nicknames:
                self.room.bans.check(message)
            if type in LIVE_TYPES:
                self.room.live.share(self, message)
                self._dispatcher.counters.count_live(type)
                return
            # The author is checked when the job is dispatched: by then a preceding newcomer is done.
            objection = partial(self._check_author, message) if self._requires_registration and message.author else None
            if type == "newcomer":
                self._request().requested = message
            elif type == "exiter" and self.nickname_request is not None:
                self.nickname_request.requested = None
            self._job_queue.submit(message, partial(self._on_job_done, message), precondition=objection)
        except (Uncompliant, Unavailable) as refusal:
            beginning = frame.text if isinstance(frame, LongText) else frame
            self._send_refusal(refusal, type, beginning)
            self._keep_requested_nickname(type, beginning)
        except Exception:
            log.exception("a frame could not be handled", extra=self.log_fields)
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
        self.send(uncompliant(reason))  # dropped if the connection is closing, which has said why

    def receive_dropped(self, size: int, most: int | None = None) -> None:
        """Refuse a message of `size` bytes which is discarded: it has more than `most`, or the front no room for it."""
        if self._is_closing:
            return
        self.messages_received += 1
        try:
            self._rate_limiter.acquire_message(size)
            words = SERVER_FULL if most is None else (oversized_words(size, most), RefusalReason.TOO_LARGE)
            self._send_refusal(Unavailable(*words))
        except RateLimitExceeded as refusal:
            self._send_refusal(refusal)

    def _check_author(self, message: Message) -> str | None:
        """Why the message must not be sent under its author's name; a worker checks that no other client has it."""
        if self.is_registered_as(message.author):
            return None
        if self.nickname is None:
            return f"Register your nickname first: nobody may write as '{message.author}' here without it."
        return f"You are registered as '{self.nickname}': you cannot write as '{message.author}'."

    def on_control_frame(self, *, answer: bool = False) -> bool:
        """Count a control frame or some fragments towards the rate limit; a flood of them closes the connection.

        Args:
            answer: they belong to a message; tell its sender if it is refused.

        Returns:
            Whether they are within the limit.
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
        """Count a refusal; pause reading if the address causes too many."""
        self.read_pause = self._rate_limiter.record_refusal()
        if self.read_pause:
            what = "many messages from %s are refused: each of its connections is read once a second"
            self._rejections.record(Delay.ADDRESS_REFUSALS, what, self._rate_limiter.address_key)

    def _on_rate_limited(self, refusal: RateLimitExceeded) -> None:
        """Close the connection after too many refusals for its rate, since each of them is answered."""
        self._rejections.record(refusal.cause, "connection %d sends too fast", self.id)
        if self._rate_limiter.limit_exceeded_repeatedly():
            self._rejections.record(
                CloseReason.RATE_LIMIT_ABUSE, "connection %d went on sending too fast, closed", self.id
            )
            self.close(*RATE_LIMIT_ABUSE)
            # Until the client has read that, its messages are dropped, for a limited time.
            asyncio.get_running_loop().call_later(self.room.timings.flood_close, self._stream.close)

    def _on_job_done(self, message: Message, ending: JobResult) -> None:
        if ending.is_refusal:
            self.send(ending.body)
            if message.type == "newcomer":
                self._request().retry_unless_taken(ending)
        elif message.type == "newcomer":
            self._request().grant(nickname_of(message))
        elif message.type == "exiter":
            if ending.outcome is Outcome.PUBLISHED and self.is_registered_as(nickname_of(message)):
                self.nickname = None
                self.room.live.stop(self.id)
        elif ending.outcome is Outcome.DUPLICATE and ending.body and not ending.is_broadcast:
            self.send(ending.body)  # published before; the sender may have missed its echo
            self.room.record_echo(ending.body)

    # Nickname

    def is_registered_as(self, nickname: str) -> bool:
        """Whether that is its nickname, ignoring case."""
        return self.nickname is not None and folded(self.nickname) == folded(nickname)

    def _request(self) -> NicknameRequest:
        if self.nickname_request is None:
            self.nickname_request = NicknameRequest(self, self._job_queue)
        return self.nickname_request

    def grant_nickname(self, newcomer: bytes) -> None:
        """The client got the nickname that it waited for."""
        self._request().grant(str(msgspec.json.decode(newcomer)["newcomer"]))

    def _keep_requested_nickname(self, type: str, frame: str | bytes) -> None:
        """Keep the nickname of a refused newcomer, which clients do not repeat; if rate-limited, parse it first."""
        if type == UNKNOWN_TYPE and isinstance(frame, str) and '"newcomer"' in frame[:MAX_NEWCOMER_LENGTH]:
            with contextlib.suppress(Uncompliant, Unavailable):
                message = self._messages.parse(frame[:MAX_NEWCOMER_LENGTH], type="newcomer")
                self.room.bans.check(message)
                self._request().requested = message
                self._request().retry_later()
        elif type == "newcomer" and self.nickname_request is not None:
            self.nickname_request.retry_later()

    def retry_nickname(self) -> None:
        if self.nickname_request is not None:
            self.nickname_request.retry()

    def yield_nickname(self) -> None:
        if self.nickname_request is not None:
            self.nickname_request.yield_nickname()

    def restore_nickname(self) -> None:
        if self.nickname_request is not None:
            self.nickname_request.restore()

    # Closing

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 §7.1.7), with only a close frame, since a client that violates the protocol
        would not understand a message. Invalid UTF-8 (§8.1), which may be a client's slip, gets an `uncompliant`."""
        self._rejections.record(CloseReason.PROTOCOL_ERROR, "connection %d broke the protocol: %s", self.id, reason)
        self._fanout.catch_up(self)
        if reason == TEXT_NOT_UTF8:
            self.send(uncompliant(NOT_UTF8))
        self.stop_writing()
        self.close_status = self.close_status or (code, reason)
        self._close(code, reason)

    def close_oversized(self, size: int, most: int) -> None:
        """Close for an announced message of `size` bytes, too many even to read and discard."""
        self.messages_received += 1
        self._rejections.record(CloseReason.TOO_LARGE, "connection %d announced %d bytes in a message", self.id, size)
        self.close(*message_too_long(size, most))

    def close_slow_upload(self) -> None:
        """Close for a message under way that makes no progress."""
        self._rejections.record(CloseReason.SLOW_UPLOAD, "connection %d makes no progress with a message", self.id)
        self.close(*SLOW_UPLOAD)

    def close_for_memory(self) -> None:
        """Close because the front has no room for its messages; `admission` has logged it."""
        self.close(*MEMORY_FULL)

    def kick(self, code: int, reason: str, told: str = "") -> None:
        """Close for a moderator; the client's pending messages are not published."""
        metrics.CONNECTIONS_CLOSED.labels(CloseReason.MODERATOR).inc()
        self.close(code, reason, told)
        self._job_queue.reject_pending(Unavailable(reason, RefusalReason.BANNED))

    @property
    def log_fields(self) -> dict[str, object]:
        return {"connection": self.id, "channel": self.room.channel}

    def on_socket_closed(self) -> None:
        """The socket is closed: leave the room. Pending messages are still published; then the nickname is released."""
        self.room.leave(self)
        self._job_queue.is_abandoned = True
        if self.nickname_request is not None or not self._job_queue.is_idle:
            self._dispatcher.unregister(self._job_queue)
        else:
            self._dispatcher.close(self._job_queue)
