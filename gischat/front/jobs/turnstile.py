"""Order: one job of a connection is on its way at a time, the rest wait.

Workers run in parallel, so only a job that has ended may be followed by the next one of the same connection. The bound
of what waits is in number and bytes; beyond it the sender is told, and nothing that was taken is dropped.
"""

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Container, Sequence
from functools import partial
from typing import NamedTuple, Self

from gischat.errors import Cause, Refused
from gischat.front.jobs.gateway import CROWDED, DAMAGED, FORGOTTEN, FROZEN, TAKEN, Gateway, Inquiry, State
from gischat.front.jobs.line import TOO_MANY_OF_ADDRESS
from gischat.front.jobs.tally import Tally
from gischat.messages import Lane, Message, uncompliant
from gischat.protocol.schemas import schemas
from gischat.settings import Settings
from gischat.streams.answers import RedisError
from gischat.streams.complaint import Complaint
from gischat.streams.entries import COUNT, HEARTBEAT, LEAVE, PRESENCE, RESTORE, Job, Outcome, Publication, Source
from gischat.streams.multiplexer import TOO_BUSY, Lost
from gischat.timings import Timings

log = logging.getLogger(__name__)

INBOX_FULL = "The server has too much to do at the moment. Please send it again later."
CHANNEL_FROZEN = "This channel is frozen: it can be read, but nobody can write in it at the moment. It was not sent."
CHANNEL_DAMAGED = (
    "This channel's data on the server is damaged: nothing can be sent here until its operator has repaired it. "
    "It was not sent."
)
LOST = "The server has lost this message. It was not sent: please send it again."
REOPENED_COUNT = 1_000_000_000  # no connection has sent so many messages: these jobs are told apart from all others
TOLD_BY_PRESENCE = frozenset({COUNT, HEARTBEAT, RESTORE})  # anew, as it is then; not as it was
REFUSED_BY_WORKERS = {str(cause): cause for cause in (Cause.ID_USED, Cause.NOT_REGISTERED)}  # by publications' types
TOO_MANY_WAIT = "Too many of your messages are waiting to be published. Please send it again later."


class Ending(NamedTuple):
    """How a job ended; `body` is what was published, or the `uncompliant` that tells its sender why it was not."""

    outcome: Outcome
    body: bytes
    cause: Cause = Cause.UNPROCESSABLE  # of a refusal
    is_heard: bool = False  # the connection gets the body as all others do

    @classmethod
    def of(cls, refusal: Refused, message: Message) -> Self:
        return cls(Outcome.REFUSED, uncompliant(message.refused(refusal.reason)), refusal.cause)

    @property
    def is_refusal(self) -> bool:
        return self.outcome in (Outcome.REFUSED, Outcome.BURIED)


class Turn(NamedTuple):
    """A message that waits, and whom to tell of its end.

    `objection` is asked when its turn has come, and says why it may not pass; None if it may.
    """

    message: Message
    ended: Callable[[Ending], None]
    objection: Callable[[], str | None] | None = None
    is_new: bool = True  # its end has not been counted
    is_resent: bool = False  # it was on its way when Redis lost something

    @property
    def was_let_through(self) -> bool:
        """Whether it is said again, and may be published already, whatever becomes of it now."""
        return self.is_resent or not self.is_new


def _nobody(_: Ending) -> None:
    """Who had sent it has been told before."""


class Turnstile:
    """Lets the jobs of one connection through, one at a time."""

    __slots__ = (
        "_bytes",
        "_count",
        "_gate",
        "_is_enqueued",
        "_looked_at",
        "_lost_since",
        "_passing",
        "_place",
        "_preceding",
        "_waiting",
        "channel",
        "client",
        "is_abandoned",
        "number",
        "sender",
    )

    def __init__(
        self, gate: "Turnstiles", channel: str, number: int, client: str, sender: str, *, count: int = 0
    ) -> None:
        self.channel = channel
        self.number = number
        self.client = client
        self.sender = sender
        self.is_abandoned = False  # nobody hears any more what becomes of its jobs
        self._gate = gate
        self._count = count
        self._bytes = 0
        self._passing: Turn | None = None
        self._is_enqueued = False  # Redis has said that it took the one that is passing
        self._place = b""  # … and where it stands in the inbox, if that is known
        self._looked_at: float | None = None  # when that was, or it was last asked what became of it; None: it is asked
        self._lost_since: float | None = None  # there is nothing of it in Redis
        self._preceding = ("", -math.inf)  # the id of the last that was published, and when
        self._waiting: list[Turn] = []  # short; a deque would take 600 bytes of each who says nothing

    @property
    def is_idle(self) -> bool:
        return self._passing is None and not self._waiting

    def submit(
        self,
        message: Message,
        ended: Callable[[Ending], None],
        *,
        bounded: bool = True,
        objection: Callable[[], str | None] | None = None,
        is_ahead: bool = False,
    ) -> None:
        """Takes a message; `ended` is called once, when its job has ended. For `objection` see `Turn`.

        Args:
            is_ahead: it passes all that waits, but for what is said again.

        Raises:
            Refused: too much is waiting. What the front itself has to say is not `bounded`.
        """
        full = len(self._waiting) >= self._gate.max_messages or (
            self._waiting and self._bytes + len(message.body) > self._gate.max_bytes
        )
        if bounded and full:
            raise Refused(TOO_MANY_WAIT, Cause.QUEUE_FULL)
        if bounded and not self.is_idle and not self._gate.has_room_for(len(message.body)):
            raise Refused(INBOX_FULL, Cause.QUEUE_FULL)
        place = len(self._waiting)
        if is_ahead:
            place = next((at for at, turn in enumerate(self._waiting) if not turn.was_let_through), place)
        self._waiting.insert(place, Turn(message, ended, objection))
        self._count_bytes(len(message.body))
        self._advance()

    def end(self, number: int, ending: Ending) -> None:
        """Ends the job of that number and lets the next one through; what has ended already ends no second time."""
        if self._passing is None or number != self._count:
            return
        turn, self._passing = self._passing, None
        if not ending.is_refusal:
            self._gate.note(self, turn.message)
        if ending.outcome in (Outcome.PUBLISHED, Outcome.REPEATED) and turn.message.type not in TOLD_BY_PRESENCE:
            self._preceding = turn.message.id, asyncio.get_running_loop().time()
        self._tell(turn, ending)
        self._advance()

    def _tell(self, turn: Turn, ending: Ending) -> None:
        if turn.is_resent and ending.outcome is Outcome.REPEATED:
            ending = ending._replace(is_heard=True)  # Redis has not lost it: its connection hears it with all others
        if turn.is_new:
            self._gate.tally.ended(turn.message.type, ending.outcome, ending.cause)
        turn.ended(ending)

    def refuse_waiting(self, refusal: Refused) -> None:
        """Ends what waits, unsent; what is on its way is in Redis, and stays there, and so may what is said again."""
        for turn in [turn for turn in self._waiting if not turn.was_let_through]:
            self._waiting.remove(turn)
            self._count_bytes(-len(turn.message.body))
            self._tell(turn, Ending.of(refusal, turn.message))

    def repeat(self, messages: Sequence[Message], ended: Callable[[Ending], None] = _nobody) -> None:
        """Lets these through once more, and what is on its way behind them, before all that waits."""
        turns = [Turn(message, ended, is_new=False) for message in messages]
        if self._passing is not None:
            turns.append(self._passing._replace(objection=None, is_resent=True))  # it was let through
            self._passing = None
        self._preceding = ("", -math.inf)  # it may be lost, and then it is one of these or too old to be said again
        self._waiting[:0] = turns
        self._count_bytes(sum(len(turn.message.body) for turn in turns))
        self._advance()

    def enqueue_again(self) -> None:
        """Enqueues what is on its way once more, for it or its end may be lost.

        If nothing was lost, the second does nothing: its id has been published, or its number has ended.
        """
        if self._passing is not None and self._is_enqueued and self._looked_at is not None:
            self._enqueue(self._passing.message, self._enqueued_again, again=True)

    def _advance(self) -> None:
        while self._passing is None and self._waiting:
            turn = self._waiting.pop(0)
            self._count_bytes(-len(turn.message.body))
            if turn.objection is not None and (reason := turn.objection()) is not None:
                self._tell(turn, Ending.of(Refused(reason, Cause.NOT_REGISTERED), turn.message))
                continue
            self._passing = turn
            self._count += 1
            self._place, self._lost_since, self._looked_at = b"", None, asyncio.get_running_loop().time()
            again = turn.was_let_through
            self._enqueue(turn.message, self._enqueued_again if again else self._enqueued, again=again)

    def _count_bytes(self, size: int) -> None:
        self._bytes += size
        self._gate.waiting_bytes += size

    def look_after(self, now: float) -> None:
        """Asks what became of the job in flight, if its end is overdue."""
        timings = self._gate.timings
        if self._passing is None or not self._is_enqueued or self._looked_at is None:
            return
        if now - self._looked_at < timings.overdue:
            return
        self._looked_at = None
        cancels = self._lost_since is not None and now - self._lost_since >= timings.give_up
        message = self._passing.message
        inquiry = self._gate.inquire(self.channel, message.lane, self._job(message), self._place, cancels)
        asyncio.ensure_future(inquiry).add_done_callback(partial(self._found, self._count))

    def _found(self, number: int, found: "asyncio.Future[Inquiry]") -> None:
        now = asyncio.get_running_loop().time()
        if number != self._count or self._passing is None:
            return
        self._looked_at = now
        if found.cancelled() or found.exception() is not None:
            return  # of what else is asked of Redis is said what is wrong with it
        state, published = found.result()
        if state is State.WAITS:
            self._lost_since = None
        elif state is State.FORGOTTEN:
            self._gate.forgotten(self.channel)
        elif state is State.CANCELLED:
            self.end(number, Ending.of(Refused(LOST, Cause.LOST), self._passing.message))
        elif self._gate.followed.get(self.channel, 0) >= published:  # else its end may be on its way
            if self._lost_since is None:
                self._lost_since = now
                self._gate.losses.make(LookupError(f"one of channel {self.channel}, which is enqueued again"))
            self.enqueue_again()

    def _job(self, message: Message) -> Job:
        source = Source(self._gate.front, self.number, self._count)
        return Job(source, message.type, message.id, message.body, self.client, self.sender)

    def _enqueue(
        self, message: Message, answered: Callable[[int, "asyncio.Future[int | bytes]"], None], *, again: bool = False
    ) -> None:
        self._is_enqueued = False
        id, at = self._preceding
        preceding = id if at > asyncio.get_running_loop().time() - self._gate.timings.replay else ""
        taken = self._gate.enqueue(self.channel, message.lane, self._job(message), preceding, again=again)
        taken.add_done_callback(partial(answered, self._count))

    def _enqueued(self, number: int, taken: "asyncio.Future[int | bytes]") -> None:
        refusal = _refusal(taken)
        if _is_forgotten(taken) or _is_in_doubt(taken):
            self._enqueued_again(number, taken)
        elif refusal is not None:
            if self._passing is not None:
                if self.is_abandoned:
                    # Its client sends again what it has not heard the end of: nothing shall overtake this one.
                    self.refuse_waiting(refusal)
                self.end(number, Ending.of(refusal, self._passing.message))
        elif number == self._count:
            self._was_taken(taken)

    def _enqueued_again(self, number: int, taken: "asyncio.Future[int | bytes]") -> None:
        refusal = _refusal(taken)
        if number != self._count or self._passing is None:
            return
        if _is_in_doubt(taken):
            self._enqueue(self._passing.message, self._enqueued_again, again=True)
            return
        self._is_enqueued = True
        if _is_forgotten(taken):
            self._gate.forgotten(self.channel)
        if refusal is None:
            self._was_taken(taken)
        else:
            if self._lost_since is None:
                self._lost_since = asyncio.get_running_loop().time()
            # It cannot be refused, for the first may have got through: it is tried until it is known.
            asyncio.get_running_loop().call_later(self._gate.timings.resend, self._enqueue_again_if, number)

    def _was_taken(self, taken: "asyncio.Future[int | bytes]") -> None:
        self._is_enqueued = True
        self._looked_at = asyncio.get_running_loop().time()
        place = taken.result()
        self._place = place if isinstance(place, bytes) else b""

    def _enqueue_again_if(self, number: int) -> None:
        if number == self._count:
            self.enqueue_again()


def _refusal(taken: "asyncio.Future[int | bytes]") -> Refused | None:
    """Why a job was not enqueued, in words for its sender; None when it was."""
    if taken.cancelled():
        return Refused(INBOX_FULL, Cause.STOPPING)
    error = taken.exception()
    if isinstance(error, Refused):
        return error
    if isinstance(error, RedisError | Lost):  # which the connection to it complains of
        return Refused(TOO_BUSY)
    if error is not None:
        log.error("a job could not be enqueued", exc_info=error)
        return Refused(INBOX_FULL, Cause.FAULT)
    if taken.result() == FROZEN:
        return Refused(CHANNEL_FROZEN, Cause.FROZEN)
    if taken.result() == CROWDED:
        return Refused(TOO_MANY_OF_ADDRESS, Cause.ADDRESS_FULL)
    if taken.result() == DAMAGED:
        return Refused(CHANNEL_DAMAGED, Cause.DAMAGED)
    is_taken = taken.result() == TAKEN or isinstance(taken.result(), bytes)
    return None if is_taken else Refused(INBOX_FULL, Cause.INBOX_FULL)


def _is_forgotten(taken: "asyncio.Future[int | bytes]") -> bool:
    return not taken.cancelled() and taken.exception() is None and taken.result() == FORGOTTEN


def _is_in_doubt(taken: "asyncio.Future[int | bytes]") -> bool:
    """Whether the job may have been taken: the connection was lost before the answer came."""
    return not taken.cancelled() and isinstance(taken.exception(), Lost)


class Said(NamedTuple):
    """A message that has ended, lately."""

    at: float
    turnstile: Turnstile
    message: Message


class Turnstiles:
    """All turnstiles of a front, found again by the number that a publication names."""

    def __init__(self, gateway: Gateway, settings: Settings, timings: Timings = Timings()) -> None:
        self.timings = timings
        self.front = gateway.front
        self.heard: dict[str, int] = {}  # by channel, the number of the last publication that was heard
        self.followed: dict[str, int] = {}  # … or that was there before, or again after Redis has lost some
        self.forgotten: Callable[[str], None] = lambda channel: None  # called when Redis has lost a channel's latest
        self._gateway = gateway
        self._lately: deque[Said] = deque()
        self._lately_bytes = 0
        self.max_messages = settings.max_waiting_messages
        self.max_bytes = settings.max_waiting_bytes
        self.tally = Tally(schemas(settings))
        self.waiting_bytes = 0  # of all turnstiles
        self._most_waiting_bytes = settings.max_front_bytes
        self._numbers = itertools.count(1)
        self.losses = Complaint("redis has lost messages in flight", timings, patience=0.0)
        self._open: dict[int, Turnstile] = {}

    def open(self, channel: str, client: str = "", sender: str = "") -> Turnstile:
        """A turnstile for one connection, or for one message from elsewhere; `client` and `sender`: see `Job`."""
        number = next(self._numbers)
        turnstile = self._open[number] = Turnstile(self, channel, number, client, sender)
        return turnstile

    def has_room_for(self, size: int) -> bool:
        """Whether so many bytes more may wait, over all connections."""
        return self.waiting_bytes + size <= self._most_waiting_bytes

    def enqueue(
        self, channel: str, lane: Lane, job: Job, preceding: str, *, again: bool
    ) -> "asyncio.Future[int | bytes]":
        return self._gateway.enqueue(channel, lane, job, self.heard.get(channel, 0), preceding, again=again)

    def inquire(self, channel: str, lane: Lane, job: Job, place: bytes, cancels: bool) -> Awaitable[Inquiry]:
        cancels_to = self.followed.get(channel, 0) if cancels else None
        return self._gateway.inquire(channel, lane, job, place, self.heard.get(channel, 0), cancels_to)

    async def run(self) -> None:
        """Looks after what is in flight: a job whose end does not come is enqueued again, or its sender is told."""
        while True:
            await asyncio.sleep(self.timings.overdue / 4)
            now = asyncio.get_running_loop().time()
            for turnstile in list(self._open.values()):
                turnstile.look_after(now)

    def is_open(self, number: int) -> bool:
        """Whether the connection of that number is here, or something that it has sent is on its way."""
        return number in self._open

    def leave(self, channel: str, number: int) -> None:
        """Tells that a connection is gone which Redis believes to be here."""
        turnstile = self._open[number] = Turnstile(self, channel, number, "", "", count=REOPENED_COUNT)

        def ended(ending: Ending) -> None:
            self.close(turnstile)
            if ending.is_refusal:
                asyncio.get_running_loop().call_later(self.timings.retry, self.leave, channel, number)

        turnstile.submit(Message(LEAVE, "", b"{}"), ended, bounded=False)

    def close(self, turnstile: Turnstile) -> None:
        """Forgets a turnstile; of a job that is still on its way nobody is told."""
        self._open.pop(turnstile.number, None)

    def end(self, publication: Publication) -> None:
        """Ends the job that the publication names, if it is one of ours."""
        source = publication.source
        if source is not None and source.front == self.front:
            turnstile = self._open.get(source.connection)
            if turnstile is not None:
                cause = REFUSED_BY_WORKERS.get(publication.type, Cause.UNPROCESSABLE)
                turnstile.end(source.number, Ending(publication.outcome, publication.body, cause))

    def enqueue_again(self, channel: str | None = None) -> None:
        """Enqueues what is on its way in a channel (or in all) once more: something may have been lost."""
        for turnstile in list(self._open.values()):
            if channel in (None, turnstile.channel):
                turnstile.enqueue_again()

    def note(self, turnstile: Turnstile, message: Message) -> None:
        """Remembers for a moment what has ended, for Redis may lose it before every front has heard it."""
        now = asyncio.get_running_loop().time()
        if message.type not in TOLD_BY_PRESENCE:
            self._lately.append(Said(now, turnstile, message))
            self._lately_bytes += len(message.body)
        while self._lately and (self._lately[0].at < now - self.timings.replay or self._lately_bytes > self.max_bytes):
            self._lately_bytes -= len(self._lately.popleft().message.body)

    def repeat(self, channel: str, since: float) -> None:
        """Says once more what has ended in a channel since then, each connection's in order: Redis has lost some of it.

        What it has not lost it does not publish again, and what a front has heard it does not deliver again.
        """
        lately: dict[Turnstile, list[Message]] = {}
        for said in self._forget(channel, since):
            lately.setdefault(said.turnstile, []).append(said.message)
        for turnstile in list(self._open.values()):
            if turnstile.channel == channel:
                turnstile.repeat(lately.pop(turnstile, ()))
        for turnstile, messages in lately.items():
            self._repeat_of_closed(turnstile, messages)

    def _forget(self, channel: str, since: float) -> list[Said]:
        """Takes what is to be said again out of what was said: it will end, and be noted, once more."""
        again = [said for said in self._lately if said.turnstile.channel == channel and said.at >= since]
        self._lately = deque(said for said in self._lately if said.turnstile.channel != channel)
        self._lately_bytes = sum(len(said.message.body) for said in self._lately)
        return again

    def withdraw(self, channel: str, ids: Container[str] | None) -> None:
        """What was withdrawn (None: all that was said in the channel) is not said again; who came and went is."""

        def is_withdrawn(said: Said) -> bool:
            is_of_channel = said.turnstile.channel == channel and said.message.type not in PRESENCE
            return is_of_channel and (ids is None or said.message.id in ids)

        self._lately = deque(said for said in self._lately if not is_withdrawn(said))
        self._lately_bytes = sum(len(said.message.body) for said in self._lately)

    def _repeat_of_closed(self, turnstile: Turnstile, messages: Sequence[Message]) -> None:
        def ended(_: Ending) -> None:
            if turnstile.is_idle:
                self.close(turnstile)

        self._open[turnstile.number] = turnstile
        turnstile.repeat(messages, ended)

    def refuse_waiting(self, refusal: Refused) -> None:
        """Ends all that waits in the front, and tells the senders."""
        for turnstile in list(self._open.values()):
            turnstile.refuse_waiting(refusal)

    @property
    def are_idle(self) -> bool:
        return all(turnstile.is_idle for turnstile in self._open.values())
