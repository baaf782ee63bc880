"""The outbox: sends one message at a time, and waits for the server's answer.

The answer is the message's echo, identified by its id, or an `uncompliant`, which names no message; since only one
message is in flight, it is about that one. If the connection ends before the answer, the message is resent with the
same id, of which the server publishes only one within ten minutes.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from gischat.client.errors import ChatError, Refused, Unconfirmed
from gischat.client.messages import Received

PATIENCE = 45.0  # seconds; the server processes a picture for up to 30
QUIET = 1.0  # seconds without a refusal after which a message without an echo, such as a like, counts as accepted
MAX_TRIES = 4  # connections that may end before an answer
ID_MEMORY = 570.0  # seconds for which the server recognises a duplicate, a little less than its ten minutes
PLEASE_WAIT = re.compile(r"Please wait (\d{1,4}) seconds?\.")  # in the server's text about a rate limit
# The server's texts about messages that may be resent at once: its front restarts, or Redis has lost the message
SEND_AGAIN = ("The server is about to restart.", "The server has lost this message.")


class _Lost(Enum):
    CONNECTION = "the connection ended"
    SILENCE = "no answer"


_Answer = Received | Refused | _Lost


@dataclass(eq=False)
class _Sending:
    """A message in flight or waiting."""

    id: str
    frame: str
    has_echo: bool
    answer: asyncio.Future[_Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    echo: Received | None = None
    is_abandoned: bool = False  # its call was cancelled

    def resolve(self, answer: _Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


def _seconds_to_wait(reason: str) -> float | None:
    """Seconds until a refused message may be sent again; None if it must not be."""
    if reason.startswith(SEND_AGAIN):
        return 1.0
    wait = PLEASE_WAIT.search(reason)
    return float(wait[1]) if wait else None


class Outbox:
    """Sends a chat's messages, one at a time."""

    def __init__(self, write: Callable[[str], Awaitable[None]], on_silence: Callable[[], None]) -> None:
        """Create an outbox, paused until `resume`.

        Args:
            write: sends a frame; returns when it is written, or the websocket has ended.
            on_silence: called when an answer is overdue, because the connection may be dead.
        """
        self._write = write
        self._on_silence = on_silence
        self._turn = asyncio.Lock()
        self._ready = asyncio.Event()
        self._current: _Sending | None = None
        self._deliveries: set[asyncio.Task[Received | None]] = set()
        self._end: ChatError | None = None
        self._over = asyncio.Event()
        self._resent: dict[str, None] = {}

    @contextlib.asynccontextmanager
    async def idle(self) -> AsyncIterator[None]:
        """Enter a context in which no message is in flight."""
        async with self._turn:
            yield

    async def send(self, id: str, frame: str, *, has_echo: bool = True) -> Received | None:
        """Send a message; returns its echo, or None if it has none.

        Raises:
            Refused: the server refuses it.
            Unconfirmed: whether it was published is unknown.
        """
        sending = _Sending(id, frame, has_echo)
        delivery = asyncio.create_task(self._deliver(sending))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._on_delivered)
        try:
            return await asyncio.shield(delivery)
        except asyncio.CancelledError:
            # It stays in flight until it is answered, so that its refusal is not taken for that of the next one.
            sending.is_abandoned = True
            raise

    def _on_delivered(self, delivery: "asyncio.Task[Received | None]") -> None:
        self._deliveries.discard(delivery)
        if not delivery.cancelled():
            delivery.exception()  # retrieve it, so that asyncio does not log it if nothing awaits it

    async def _deliver(self, sending: _Sending) -> Received | None:
        async with self._turn:
            self._current = sending
            try:
                return await self._try(sending)
            finally:
                self._current = None

    async def _try(self, sending: _Sending) -> Received | None:
        tries, sent_at = 0, None
        while True:
            while not self._ready.is_set():
                await self._ready.wait()
            if sending.echo is not None:
                return sending.echo
            if self._end is not None:
                raise self._end if sent_at is None else Unconfirmed(str(self._end))
            if sending.is_abandoned or tries == MAX_TRIES or (sent_at and time.monotonic() > sent_at + ID_MEMORY):
                raise Unconfirmed("The server has not said whether the message was published.")
            if tries:
                self._resend(sending.id)
            tries += 1
            sent_at = sent_at or time.monotonic()
            sending.answer = asyncio.get_running_loop().create_future()
            match await self._request(sending):
                case Refused() as refusal:
                    wait = _seconds_to_wait(str(refusal))
                    if wait is None or tries == MAX_TRIES:
                        raise refusal
                    sent_at = None
                    await self._wait(wait)
                case _Lost.SILENCE if not sending.has_echo:
                    return None
                case _Lost.SILENCE:
                    if tries > 1:
                        raise Unconfirmed("The server has not answered.")
                    self._ready.clear()
                    self._on_silence()
                case _Lost.CONNECTION:
                    pass
                case echo:
                    return echo

    async def _request(self, sending: _Sending) -> _Answer:
        try:
            await self._write(sending.frame)
            async with asyncio.timeout(PATIENCE if sending.has_echo else QUIET):
                return await sending.answer
        except TimeoutError:
            return _Lost.SILENCE

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def _resend(self, id: str) -> None:
        self._resent[id] = None
        if len(self._resent) > 1000:
            del self._resent[next(iter(self._resent))]

    def may_be_answer(self, id: str) -> bool:
        """Whether the message may be the echo of a resent one, which may be older than those received before."""
        return id in self._resent

    # Callbacks of the connection

    def resume(self) -> None:
        """Continue: the connection is ready."""
        self._ready.set()

    def pause(self, reason: str = "") -> None:
        """Pause: the websocket has ended; `reason` is the server's reason if it is about the message in flight."""
        if self._end is not None:
            return
        self._ready.clear()
        if self._current is not None:
            self._current.resolve(Refused(reason) if reason else _Lost.CONNECTION)

    def settle(self, message: Received) -> None:
        """Complete the message in flight, if this is its echo."""
        if self._current is not None and self._current.id == message.id:
            self._current.echo = message
            self._current.resolve(message)

    def refuse(self, reason: str) -> bool:
        """Refuse the message in flight; returns whether there is one."""
        if self._current is None or self._current.answer.done():
            return False
        self._current.resolve(Refused(reason))
        return True

    def end(self, error: ChatError) -> None:
        """End all messages with an error."""
        self.pause()
        self._end = error
        self._over.set()
        self._ready.set()
