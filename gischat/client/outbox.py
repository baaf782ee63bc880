"""What is sent, one message at a time, until the server has answered each.

The answer is the message's echo, known by its id, or an `uncompliant`, which names no message: with only one on its way
there is no doubt which is meant. When the connection ends before the answer has come, the message is sent again under
the same id: the server publishes an id once within ten minutes.
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

PATIENCE = 45.0  # seconds; the server gives a picture up to 30
QUIET = 1.0  # seconds without a refusal after which what has no echo, as a like, is taken for accepted
MAX_TRIES = 4  # connections that ended before there was an answer
ID_MEMORY = 570.0  # seconds in which the server knows an id again, a little less than its ten minutes
PLEASE_WAIT = re.compile(r"Please wait (\d{1,4}) seconds?\.")  # how the server says that it was too often
# … and that the same may be sent at once: its own front goes down, or Redis has lost what it held
SEND_AGAIN = ("The server is about to restart.", "The server has lost this message.")


class _Lost(Enum):
    LINE = "the connection ended"
    SILENCE = "no answer"


_Answer = Received | Refused | _Lost


@dataclass(eq=False)
class _Sending:
    """A message on its way."""

    id: str
    frame: str
    has_echo: bool
    answer: asyncio.Future[_Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    echo: Received | None = None
    is_abandoned: bool = False  # nobody waits for it any more

    def resolve(self, answer: _Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


def _seconds_to_wait(reason: str) -> float | None:
    """After which a refused message may be sent again; None where that would not help."""
    if reason.startswith(SEND_AGAIN):
        return 1.0
    wait = PLEASE_WAIT.search(reason)
    return float(wait[1]) if wait else None


class Outbox:
    def __init__(self, write: Callable[[str], Awaitable[None]], on_silence: Callable[[], None]) -> None:
        """
        Args:
            write: puts a frame on the line; returns when it is off our hands, or the line has ended.
            on_silence: an answer is overdue; the line may be dead.
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
    async def between(self) -> AsyncIterator[None]:
        """A moment in which nothing is on its way."""
        async with self._turn:
            yield

    async def send(self, id: str, frame: str, *, has_echo: bool = True) -> Received | None:
        """Sends a message; returns it as it was published, or None where it has no echo.

        Raises:
            Refused: the server does not publish it.
            Unconfirmed: it is not known whether it was published.
        """
        sending = _Sending(id, frame, has_echo)
        delivery = asyncio.create_task(self._deliver(sending))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._forget)
        try:
            return await asyncio.shield(delivery)
        except asyncio.CancelledError:
            # It keeps its turn until it is answered: a refusal must not be taken for the next one's.
            sending.is_abandoned = True
            raise

    def _forget(self, delivery: "asyncio.Task[Received | None]") -> None:
        self._deliveries.discard(delivery)
        if not delivery.cancelled():
            delivery.exception()  # nobody may wait for it any more

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
            match await self._ask(sending):
                case Refused() as refusal:
                    wait = _seconds_to_wait(str(refusal))
                    if wait is None or tries == MAX_TRIES:
                        raise refusal
                    sent_at = None
                    await self._rest(wait)
                case _Lost.SILENCE if not sending.has_echo:
                    return None
                case _Lost.SILENCE:
                    if tries > 1:
                        raise Unconfirmed("The server has not answered.")
                    self._ready.clear()
                    self._on_silence()
                case _Lost.LINE:
                    pass
                case echo:
                    return echo

    async def _ask(self, sending: _Sending) -> _Answer:
        try:
            await self._write(sending.frame)
            async with asyncio.timeout(PATIENCE if sending.has_echo else QUIET):
                return await sending.answer
        except TimeoutError:
            return _Lost.SILENCE

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def _resend(self, id: str) -> None:
        self._resent[id] = None
        if len(self._resent) > 1000:
            del self._resent[next(iter(self._resent))]

    def may_be_answer(self, id: str) -> bool:
        """Whether it may answer one that was sent again, and so be older than what came before."""
        return id in self._resent

    # What the line tells

    def resume(self) -> None:
        """The line is ready."""
        self._ready.set()

    def pause(self, told: str = "") -> None:
        """The line has ended; `told` are the server's words if it was for the message on its way."""
        if self._end is not None:
            return
        self._ready.clear()
        if self._current is not None:
            self._current.resolve(Refused(told) if told else _Lost.LINE)

    def settle(self, message: Received) -> None:
        """A message has come: perhaps ours."""
        if self._current is not None and self._current.id == message.id:
            self._current.echo = message
            self._current.resolve(message)

    def refuse(self, reason: str) -> bool:
        """The server refuses what is on its way; returns whether anything is."""
        if self._current is None or self._current.answer.done():
            return False
        self._current.resolve(Refused(reason))
        return True

    def end(self, error: ChatError) -> None:
        """The chat is over."""
        self.pause()
        self._end = error
        self._over.set()
        self._ready.set()
