"""One client's connection: frames in, frames out, and what it holds in between."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

import msgspec
from tornado.iostream import IOStream, StreamClosedError

from gischat import metrics
from gischat.errors import Cause, Refused, Uncompliant
from gischat.front.channel.audience import BROKEN, Send
from gischat.front.channel.closing import (
    MEMORY_FULL,
    SLOW_UPLOAD,
    TOO_FAST_FOR_TOO_LONG,
    TOO_SLOW,
    oversized_words,
    too_long,
)
from gischat.front.channel.rooms import Room
from gischat.front.door.rates import Pace, TooOften
from gischat.front.jobs.tally import UNKNOWN
from gischat.front.jobs.turnstile import Ending, Turnstiles
from gischat.front.sockets import link
from gischat.front.sockets.drops import Drops
from gischat.front.sockets.frames import PING, text_frame
from gischat.front.sockets.memory import COPIED_BYTES, Memory, cut_off
from gischat.front.sockets.parser import TEXT_NOT_UTF8
from gischat.messages import (
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
from gischat.metrics import Closing, Delay
from gischat.protocol.words import quoting
from gischat.reading import Messages
from gischat.streams.entries import LEAVE, RESTORE, Outcome

log = logging.getLogger(__name__)

NEWCOMER_LENGTH = 500  # characters; a longer one has more in it than a nickname
LARGE_BYTES = 2**14  # of one write, behind which the answer to a ping may be late

CUT_OFF = "Cut off: too much was held for it."

BINARY_FRAME = "Binary frames are not understood: send JSON as text."
YIELDED = (
    "Your nickname '{nickname}' has gone to somebody who asked for it, for nothing was heard from you. "
    "You get it back when it is free."
)
NOT_UTF8 = "The message is not valid UTF-8. It was not sent, and the connection ends: connect again."
GOING_AWAY = "The server is about to restart. Please send it again in a moment."


class Connection:
    """A client in a room.

    `nickname` is the one that the workers have registered for it, if any; `wish` is the one that it wants and somebody
    else has, which it gets when that is free; `address` is where it comes from, `since` when it came, in seconds since
    the epoch; `received` counts the messages that it has sent, good and bad; `last_heard` is when bytes came from it
    last, by the loop's clock; `pause` is for how many seconds nothing more is to be read; `goodbye` is the code and
    the reason that we have closed it with, if we have.
    """

    __slots__ = (
        "_close",
        "_drops",
        "_has_named_itself",
        "_is_closing",
        "_is_ping_moved",
        "_max_unread",
        "_memory",
        "_messages",
        "_pace",
        "_ping",
        "_ping_clock",
        "_requires_registration",
        "_stream",
        "_turnstile",
        "_turnstiles",
        "_unread",
        "_wanted",
        "_wishing",
        "address",
        "goodbye",
        "is_draining",
        "is_ready",
        "last_heard",
        "nickname",
        "number",
        "pause",
        "received",
        "room",
        "send_now",
        "since",
    )

    def __init__(
        self,
        room: Room,
        stream: IOStream,
        close: Callable[[int, str], None],
        *,
        messages: Messages,
        turnstiles: Turnstiles,
        pace: Pace,
        drops: Drops,
        memory: Memory,
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
        self._wanted: Message | None = None  # the newcomer that it has not got its nickname by
        self._wishing: asyncio.TimerHandle | None = None  # that asks for it again
        self.address = address
        self.since = now()
        self.is_draining = False
        self.last_heard = asyncio.get_running_loop().time()
        self.received = 0
        self.pause = 0.0
        self.goodbye: tuple[int, str] | None = None
        self.send_now: Send = stream.socket.send
        self.is_ready = True
        self._ping: link.Mark | None = None  # where the first unanswered one is, when it waits behind something
        self._is_ping_moved = False  # something large was sent since, and its answer is timed from behind that
        self._ping_clock = 0.0  # since when its answer is late; 0: none is unanswered
        self._stream = stream
        self._unread = 0  # bytes that wait in the stream's buffer
        self._close = close
        self._messages = messages
        self._pace = pace
        self._drops = drops
        self._memory = memory
        self._turnstiles = turnstiles
        self._turnstile = turnstiles.open(room.channel, address_key)
        self._max_unread = max_unread_bytes
        self._requires_registration = requires_registration
        self._has_named_itself = False
        self._is_closing = False
        self.number = self._turnstile.number
        if stream.writing():  # the answer to the handshake, still
            self.wait_for(stream.write(b""))

    # What comes in

    def receive(self, frame: str | bytes) -> None:
        """Checks a frame and sends it on its way; whatever is wrong with it is answered, never raised."""
        if self._is_closing:
            return  # after a goodbye nothing is taken, for nothing could be answered
        self.received += 1
        type = UNKNOWN
        try:
            self._pace.speak(len(frame))
            if isinstance(frame, bytes):
                raise Uncompliant(BINARY_FRAME)
            message = self._messages.read(frame)
            type = message.type
            if type in HEAVY_TYPES:
                self._pace.speak_heavily()
            if self.is_draining:
                raise Refused(GOING_AWAY, Cause.STOPPING)
            if self.room.bans.concern_nicknames:
                self.room.bans.check(message)
            # Whose nickname it bears is asked at its turn: a newcomer that came right before it has ended by then.
            objection = partial(self._objection, message) if self._requires_registration and message.author else None
            if type == "newcomer":
                self._has_named_itself = True
                self._wanted = message
            elif type == "exiter":
                self._wanted = None
            self._turnstile.submit(message, partial(self._ended, message), objection=objection)
        except (Uncompliant, Refused) as refusal:
            self._refuse(refusal, type, frame)
            self._keep_wish(type, frame)
        except Exception:
            log.exception("a frame could not be handled", extra=self._named)
            self._turnstiles.tally.refused(Cause.FAULT, type)
            self.send(uncompliant("The server made a mistake with this message. It was not sent."))

    def _refuse(self, refusal: Uncompliant | Refused, type: str = UNKNOWN, frame: str | bytes = "") -> None:
        self._turnstiles.tally.refused(refusal.cause, type)
        self._slow_down()
        if isinstance(refusal, TooOften):
            self._is_too_fast(refusal)
        is_text = type in ("text", UNKNOWN)
        reason = quoting(refusal.reason, frame) if is_text else refusal.reason
        self.send(uncompliant(reason))  # no more after a goodbye, which says the same

    def receive_oversized(self, size: int, most: int) -> None:
        """A message of `size` bytes has come that was longer than `most`, and of which nothing was kept."""
        if self._is_closing:
            return
        self.received += 1
        try:
            self._pace.speak(size)
            self._refuse(Refused(oversized_words(size, most), Cause.TOO_LARGE))
        except TooOften as refusal:
            self._refuse(refusal)

    def _objection(self, message: Message) -> str | None:
        """Why the message may not be sent under its author's name; that nobody else has it now, a worker sees."""
        if self._bears(message.author):
            return None
        if self.nickname is None:
            return f"Register your nickname first: nobody may write as '{message.author}' here without it."
        return f"You are registered as '{self.nickname}': you cannot write as '{message.author}'."

    def hear(self, *, answer: bool = False) -> bool:
        """A control frame or some fragments have come: who sends them without end is closed as if they were messages.

        Args:
            answer: they belong to a message, whose sender is to be told that it was not sent.

        Returns:
            Whether they are within the rates.
        """
        try:
            self._pace.speak(0)
        except TooOften as refusal:
            if answer:
                self._refuse(refusal)
            else:
                self._slow_down()
                self._is_too_fast(refusal)
            return False
        return True

    def _slow_down(self) -> None:
        """Something was refused: where that is the rule at its address, the next is not read at once."""
        self.pause = self._pace.refuse()
        if self.pause:
            what = "much of what comes from %s is refused: each of its connections is read once a second"
            self._drops.count(Delay.ADDRESS_REFUSALS, what, self._pace.address_key)

    def _is_too_fast(self, refusal: TooOften) -> None:
        """Each message that is refused is answered, and so that a flood does not make us write one: up to a number."""
        self._drops.count(refusal.cause, "connection %d sends too fast", self.number)
        if self._pace.goes_on():
            self._drops.count(Closing.WENT_ON, "connection %d went on sending too fast, closed", self.number)
            self.close(*TOO_FAST_FOR_TOO_LONG)
            # What it sends until it has read that is dropped; it has not for ever.
            asyncio.get_running_loop().call_later(self.room.timings.goodbye_to_flood, self._stream.close)

    def _ended(self, message: Message, ending: Ending) -> None:
        if ending.is_refusal:
            self.send(ending.body)
            if message.type == "newcomer":
                self._wish_was_refused(ending)
        elif message.type == "newcomer":
            self._has_nickname(nickname_of(message))
        elif message.type == "exiter":
            if ending.outcome is Outcome.PUBLISHED and self._bears(nickname_of(message)):
                self.nickname = None
        elif ending.outcome is Outcome.REPEATED and ending.body and not ending.is_heard:
            self.send(ending.body)  # it was published before, and its sender may not have heard of it

    # The nickname: clients send a newcomer once, and what they want then they want until they say otherwise

    @property
    def wish(self) -> str | None:
        """The nickname that it wants and has not got, if there is one."""
        return None if self._wanted is None else nickname_of(self._wanted)

    def _bears(self, nickname: str) -> bool:
        """Whether that is its nickname, in whatever case."""
        return self.nickname is not None and folded(self.nickname) == folded(nickname)

    def _has_nickname(self, nickname: str) -> None:
        if not self._bears(nickname):
            self.nickname = nickname
        if self.wish is not None and folded(self.wish) == folded(nickname):
            self._wanted = None
        if (reason := self.room.bans.why_not(nickname)) is not None:
            self.dismiss(1008, reason)  # banned while it was on its way

    def grant(self, newcomer: bytes) -> None:
        """The nickname that it waited for is its own now."""
        self._has_nickname(str(msgspec.json.decode(newcomer)["newcomer"]))

    def _wish_was_refused(self, ending: Ending) -> None:
        """Of a nickname that is taken Redis knows who waits for it; all else passes (Redis away, an inbox full)."""
        if ending.cause not in (Cause.UNPROCESSABLE, Cause.ID_USED):
            self._wish_later()

    def _keep_wish(self, type: str, frame: str | bytes) -> None:
        """A newcomer that came at a bad time is not said again; one that was refused for its pace was not read yet."""
        if type == UNKNOWN and isinstance(frame, str) and '"newcomer"' in frame[:NEWCOMER_LENGTH]:
            with contextlib.suppress(Uncompliant, Refused):
                message = self._messages.read(frame[:NEWCOMER_LENGTH], type="newcomer")
                self.room.bans.check(message)
                self._has_named_itself, self._wanted = True, message
                self._wish_later()
        elif type == "newcomer":
            self._wish_later()

    def _wish_later(self) -> None:
        if self._wanted is not None and self._wishing is None:
            self._wishing = asyncio.get_running_loop().call_later(self.room.timings.retry, self.wish_again)

    def wish_again(self) -> None:
        """Asks once more for the nickname that it waits for, if it does; nothing is said to it but of its success.

        It is the same message again: by its id the client knows what it is granted.
        """
        if self._wishing is not None:
            self._wishing.cancel()  # a gap asks earlier
            self._wishing = None
        wanted, wish = self._wanted, self.wish
        if wanted is None or wish is None or self._is_closing or self._stream.closed():
            return
        if self.room.bans.why_not(wish) is not None:
            return

        def ended(ending: Ending) -> None:
            if not ending.is_refusal:
                self._has_nickname(wish)
            elif self.wish == wish:
                self._wish_was_refused(ending)

        self._turnstile.submit(wanted, ended, bounded=False)

    def _wish_when_heard(self, since: float) -> None:
        """Who does not answer asks for no nickname: two who are both gone would pass one to and fro without end."""
        if self.last_heard > since:
            self.wish_again()
        elif not (self._is_closing or self._stream.closed()):
            asyncio.get_running_loop().call_later(self.room.timings.retry, self._wish_when_heard, since)

    def yield_nickname(self) -> None:
        """Gives its nickname to whoever waits for it, and waits for it in turn."""
        nickname = self.nickname
        if nickname is None:
            return

        def ended(ending: Ending) -> None:
            if not ending.is_refusal:
                self.nickname, self._wanted = None, self._wanted or newcomer_message(nickname)
                self.send(uncompliant(YIELDED.format(nickname=nickname)))
                self._wish_when_heard(asyncio.get_running_loop().time())

        self._turnstile.submit(exiter_message(nickname), ended, bounded=False)

    # What goes out

    def send(self, body: bytes) -> None:
        """Sends one message, as JSON."""
        self.write(text_frame(body))

    def ping(self) -> None:
        """Asks whether the client is there: whatever bytes come from it are an answer."""
        is_first = not self.owes_answer
        self.write(PING)
        if is_first:
            self._is_ping_moved = False
            self._time_ping()

    def _time_ping(self) -> None:
        """Times the answer to a ping from now on, and from behind all that is on its way to the client."""
        self._ping_clock = asyncio.get_running_loop().time()
        if not self._stream.closed():
            self._ping = link.mark(self._stream.socket, self._unread)

    @property
    def owes_answer(self) -> bool:
        """Whether nothing at all has come since a ping. Who is gone, or has been told goodbye, owes nothing."""
        is_here = not (self._is_closing or self._stream.closed())
        return bool(self._ping_clock) and self.last_heard <= self._ping_clock and is_here

    def is_silent(self, seconds: float) -> bool:
        """Whether the first of the unanswered pings was not answered for so long.

        As long as the client takes what stands before the ping, the time begins anew; it is to be asked often.
        """
        if not self.owes_answer:
            return False
        now = asyncio.get_running_loop().time()
        if self._ping is not None:
            moved = link.moved(self._stream.socket, self._ping)
            if moved is not None:
                self._ping, self._ping_clock = moved, now
        return now - self._ping_clock >= seconds

    @property
    def is_unreachable(self) -> bool:
        """Whether the other end's system does not answer either, whatever its program does."""
        return self._stream.closed() or link.is_lost(self._stream.socket)

    def write(self, data: bytes) -> None:
        """Sends whole frames: straight to the socket when it takes them, else through the stream's buffer.

        The socket is non-blocking, and nothing waits in the stream when it is passed by, so order holds.
        """
        if len(data) > LARGE_BYTES and self.owes_answer:
            # A history, as a rule. The client takes it after the ping, but may answer neither before it has both.
            self._write(data)
            if self._is_ping_moved:  # once, or what comes again and again would keep alive who takes nothing
                self._ping = None if self._stream.closed() else link.mark(self._stream.socket, self._unread)
            else:
                self._time_ping()
                self._is_ping_moved = True
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
            self.go_on(data, sent)

    def go_on(self, data: bytes, sent: int) -> None:
        """The socket has taken so much of whole frames, or is `BROKEN`."""
        if sent != BROKEN:
            rest = memoryview(data)[sent:]
            # What is small is copied, or all of the data would be kept for it.
            self._buffer(rest if len(rest) > COPIED_BYTES else bytes(rest))
        elif not self._stream.closed():
            self._stream.close()

    def wait_for(self, written: "asyncio.Future[None]") -> None:
        """Something was written to the stream, by whomever, and has not gone out: what follows waits behind it."""
        self._set_ready(False)
        written.add_done_callback(self._has_gone_out)

    def _buffer(self, data: bytes | memoryview) -> None:
        if self._is_closing:
            return  # nothing follows a goodbye (RFC 6455 §5.5.1)
        size = len(data)
        # A message longer than the bound still fits a client that has read all before.
        if self._unread and self._stream.writing() and self._unread + size > self._max_unread:
            self._is_too_slow()
            return
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            return  # its end is on the way to `ended`
        self._unread += size
        self._memory.take_data(self, data)
        self._set_ready(False)
        written.add_done_callback(partial(self._was_read, data))

    def _was_read(self, data: bytes | memoryview, written: "asyncio.Future[None]") -> None:
        self._unread -= len(data)
        self._memory.give_data(self, data)
        self._has_gone_out(written)

    def _has_gone_out(self, _: "asyncio.Future[None]") -> None:
        if not (self._is_closing or self._stream.closed() or self._stream.writing()):
            self._set_ready(True)

    def _set_ready(self, is_ready: bool) -> None:
        if self.is_ready != is_ready:
            self.is_ready = is_ready
            self.room.audience.sort(self)

    def _is_too_slow(self) -> None:
        self._stop_writing()
        log.info("too slow, closed", extra=self._named)
        metrics.CONNECTIONS_CLOSED.labels(Closing.TOO_SLOW).inc()
        # Later, for this may be in the midst of a walk through the room.
        asyncio.get_running_loop().call_soon(self.close, *TOO_SLOW)

    def let_go(self) -> None:
        """Ends at once, for what it does not read takes too much memory: a goodbye would wait behind all of that."""
        self._stop_writing()
        self.goodbye = 1006, CUT_OFF  # which nobody hears but the log
        cut_off(self._stream)

    def close(self, code: int, reason: str, told: str = "") -> None:
        """Says goodbye; `ended` follows when the socket is closed.

        Args:
            code, reason: of the close frame, which QGIS and QField show to nobody.
            told: what the user is told before, in an `uncompliant`; the reason, if nothing else.
        """
        if self.goodbye is not None:
            return
        self._stop_writing()
        self.goodbye = code, reason
        # Behind all that waits, and beyond the bound for that: it is little, and the last.
        with contextlib.suppress(StreamClosedError):
            self._stream.write(text_frame(uncompliant(told or reason)))
        self._close(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """Fails the connection, as RFC 6455 §7.1.7 demands: with a close frame alone, for who breaks the protocol
        understands no message. Only text that is not UTF-8 (§8.1) may be a program's slip, and is told in words."""
        self._drops.count(Closing.PROTOCOL_ERROR, "connection %d broke the protocol: %s", self.number, reason)
        if reason == TEXT_NOT_UTF8:
            self.send(uncompliant(NOT_UTF8))
        self._stop_writing()
        self.goodbye = self.goodbye or (code, reason)
        self._close(code, reason)

    def close_oversized(self, size: int, most: int) -> None:
        """A message of `size` bytes was announced, which is more than is read even to be dropped."""
        self.received += 1
        self._drops.count(Closing.TOO_LARGE, "connection %d announced %d bytes in a message", self.number, size)
        self.close(*too_long(size, most))

    def close_slow_upload(self) -> None:
        """A message has begun, and makes no progress."""
        self._drops.count(Closing.SLOW_UPLOAD, "connection %d makes no progress with a message", self.number)
        self.close(*SLOW_UPLOAD)

    def close_for_memory(self) -> None:
        """The front has no memory for what its address has begun; who is closed has been counted."""
        self.close(*MEMORY_FULL)

    def _stop_writing(self) -> None:
        self._is_closing = True
        self._set_ready(False)

    def dismiss(self, code: int, reason: str, told: str = "") -> None:
        """Says goodbye to somebody who may not be here: of what he has sent, what waits its turn is not published."""
        metrics.CONNECTIONS_CLOSED.labels(Closing.MODERATOR).inc()
        self.close(code, reason, told)
        self._turnstile.refuse_waiting(Refused(reason, Cause.BANNED))

    @property
    def _named(self) -> dict[str, object]:
        """What log lines about it bear."""
        return {"connection": self.number, "channel": self.room.channel}

    # How it begins and ends

    def ended(self) -> None:
        """The socket is closed. What it sent before is still published; then its nickname is given up."""
        self.room.leave(self)
        self._turnstile.is_abandoned = True
        if self._has_named_itself or not self._turnstile.is_idle:
            self._leave()
        else:
            self._turnstiles.close(self._turnstile)

    def _leave(self) -> None:
        def ended(ending: Ending) -> None:
            if ending.is_refusal:
                # A nickname that nobody gives up would be a ghost: again, until it is done or this front is gone.
                asyncio.get_running_loop().call_later(self.room.timings.retry, self._leave)
            else:
                self._turnstiles.close(self._turnstile)

        self._turnstile.submit(Message(LEAVE, "", b"{}"), ended, bounded=False)

    def restore(self) -> None:
        """Tells Redis again, when it has lost it, the nickname that it has, and then the one that it waits for.

        That comes before whatever it says next: nobody else shall get the nickname while it is writing.
        """
        self._wish_later()  # who has it shall be the first to say so
        nickname = self.nickname
        if nickname is None:
            return

        def objection() -> str | None:
            return None if self._bears(nickname) else "It was given up meanwhile."

        def ended(ending: Ending) -> None:
            if not ending.is_refusal:
                return
            if ending.cause is Cause.UNPROCESSABLE:  # somebody has taken it meanwhile
                self._wanted = self._wanted or newcomer_message(nickname)
                self.nickname = None
                self.send(ending.body)
            elif not (self._is_closing or self._stream.closed()):
                asyncio.get_running_loop().call_later(self.room.timings.retry, self.restore)

        body = msgspec.json.encode({RESTORE: nickname})
        message = Message(RESTORE, new_id(), body)
        self._turnstile.submit(message, ended, bounded=False, objection=objection, is_ahead=True)
