"""Order: one job of a connection is on its way at a time, the rest wait.

Workers run in parallel, so only a job that has ended may be followed by the next one of the same connection. The bound
of what waits is in number and bytes; beyond it the sender is told, and nothing that was taken is dropped.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from gischat.errors import Refused
from gischat.front.gateway import Gateway
from gischat.messages import Message, uncompliant
from gischat.settings import Settings
from gischat.streams.entries import Job, Outcome, Publication, Source

log = logging.getLogger(__name__)

INBOX_FULL = "The server has too much to do at the moment. Please send it again later."
TOO_MANY_WAIT = "Too many of your messages are waiting to be published. Please send it again later."


class Ending(NamedTuple):
    """How a job ended; `body` is what was published, or the `uncompliant` that tells its sender why it was not."""

    outcome: Outcome
    body: bytes

    @property
    def is_refusal(self) -> bool:
        return self.outcome in (Outcome.REFUSED, Outcome.BURIED)


class Turn(NamedTuple):
    """A message that waits, and whom to tell of its end."""

    message: Message
    ended: Callable[[Ending], None]


class Turnstile:
    """Lets the jobs of one connection through, one at a time."""

    __slots__ = ("_bytes", "_channel", "_count", "_gate", "_passing", "_waiting", "number")

    def __init__(self, gate: "Turnstiles", channel: str, number: int) -> None:
        self._gate = gate
        self._channel = channel
        self.number = number
        self._count = 0
        self._bytes = 0
        self._passing: Turn | None = None
        self._waiting: deque[Turn] = deque()

    @property
    def is_idle(self) -> bool:
        return self._passing is None

    def submit(self, message: Message, ended: Callable[[Ending], None], *, bounded: bool = True) -> None:
        """Takes a message; `ended` is called once, when its job has ended.

        Raises:
            Refused: too much is waiting. What the front itself has to say is not `bounded`.
        """
        full = len(self._waiting) >= self._gate.max_messages or (
            self._waiting and self._bytes + len(message.body) > self._gate.max_bytes
        )
        if bounded and full:
            raise Refused(TOO_MANY_WAIT)
        self._waiting.append(Turn(message, ended))
        self._bytes += len(message.body)
        self._advance()

    def end(self, number: int, ending: Ending) -> None:
        """Ends the job of that number and lets the next one through; what has ended already ends no second time."""
        if self._passing is None or number != self._count:
            return
        turn, self._passing = self._passing, None
        turn.ended(ending)
        self._advance()

    def _advance(self) -> None:
        if self._passing is not None or not self._waiting:
            return
        self._passing = self._waiting.popleft()
        self._count += 1
        message = self._passing.message
        self._bytes -= len(message.body)
        source = Source(self._gate.front, self.number, self._count)
        job = Job(source, message.type, message.id, message.body)
        taken = self._gate.enqueue(self._channel, message.lane, job)
        taken.add_done_callback(partial(self._enqueued, self._count))

    def _enqueued(self, number: int, taken: "asyncio.Future[int]") -> None:
        if taken.cancelled():
            return
        error = taken.exception()
        if error is None and taken.result():
            return
        reason = INBOX_FULL if error is None else error.reason if isinstance(error, Refused) else None
        if reason is None:
            log.error("a job could not be enqueued", exc_info=error)
            reason = INBOX_FULL
        self.end(number, Ending(Outcome.REFUSED, uncompliant(reason)))


class Turnstiles:
    """All turnstiles of a front, found again by the number that a publication names."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self.front = gateway.front
        self.enqueue = gateway.enqueue
        self.max_messages = settings.max_waiting_messages
        self.max_bytes = settings.max_waiting_bytes
        self._numbers = itertools.count(1)
        self._open: dict[int, Turnstile] = {}

    def open(self, channel: str) -> Turnstile:
        number = next(self._numbers)
        turnstile = self._open[number] = Turnstile(self, channel, number)
        return turnstile

    def close(self, turnstile: Turnstile) -> None:
        """Forgets a turnstile; of a job that is still on its way nobody is told."""
        self._open.pop(turnstile.number, None)

    def end(self, publication: Publication) -> None:
        """Ends the job that the publication names, if it is one of ours."""
        source = publication.source
        if source is not None and source.front == self.front:
            turnstile = self._open.get(source.connection)
            if turnstile is not None:
                turnstile.end(source.number, Ending(publication.outcome, publication.body))

    @property
    def are_idle(self) -> bool:
        return all(turnstile.is_idle for turnstile in self._open.values())
