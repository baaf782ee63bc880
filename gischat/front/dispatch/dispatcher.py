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

from gischat.broker.client import TOO_BUSY, ConnectionLost
from gischat.broker.entries import COUNT, HEARTBEAT, LEAVE, PRESENCE, RESTORE, Job, Outcome, Publication, Source
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.resp_errors import RedisError
from gischat.errors import RefusalReason, Unavailable
from gischat.front.dispatch.gateway import CROWDED, DAMAGED, FORGOTTEN, FROZEN, TAKEN, Gateway, JobState, JobStatus
from gischat.front.dispatch.message_counters import MessageCounters
from gischat.front.dispatch.upload_queue import TOO_MANY_OF_ADDRESS
from gischat.protocol.messages import Lane, Message, uncompliant
from gischat.protocol.schemas import schemas
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

INBOX_FULL = "The server has too much to do at the moment. Please send it again later."
CHANNEL_FROZEN = "This channel is frozen: it can be read, but nobody can write in it at the moment. It was not sent."
CHANNEL_DAMAGED = (
    "This channel's data on the server is damaged: nothing can be sent here until its operator has repaired it. "
    "It was not sent."
)
MESSAGE_LOST = "The server has lost this message. It was not sent: please send it again."
REPLAYED_JOB_NUMBERS = (
    1_000_000_000  # no connection has sent so many messages: these jobs are told apart from all others
)
NOT_REPLAYED = frozenset({COUNT, HEARTBEAT, RESTORE})  # anew, as it is then; not as it was
WORKER_REFUSALS = {
    str(cause): cause for cause in (RefusalReason.DUPLICATE_ID, RefusalReason.NOT_REGISTERED)
}  # by publications' types
TOO_MANY_PENDING = "Too many of your messages are waiting to be published. Please send it again later."


class JobResult(NamedTuple):
    """How a job ended; `body` is what was published, or the `uncompliant` that tells its sender why it was not."""

    outcome: Outcome
    body: bytes
    refusal_reason: RefusalReason = RefusalReason.UNPROCESSABLE  # of a refusal
    is_broadcast: bool = False  # the connection gets the body as all others do

    @classmethod
    def of(cls, refusal: Unavailable, message: Message) -> Self:
        return cls(Outcome.REFUSED, uncompliant(message.refused(refusal.reason)), refusal.cause)

    @property
    def is_refusal(self) -> bool:
        return self.outcome in (Outcome.REFUSED, Outcome.DEAD_LETTERED)


class QueuedJob(NamedTuple):
    """A message that waits, and whom to tell of its end.

    `objection` is asked when its turn has come, and says why it may not pass; None if it may.
    """

    message: Message
    on_done: Callable[[JobResult], None]
    precondition: Callable[[], str | None] | None = None
    is_new: bool = True  # its end has not been counted
    is_resent: bool = False  # it was on its way when Redis lost something

    @property
    def was_let_through(self) -> bool:
        """Whether it is said again, and may be published already, whatever becomes of it now."""
        return self.is_resent or not self.is_new


def _ignore_result(_: JobResult) -> None:
    """Who had sent it has been told before."""


class JobQueue:
    """Lets the jobs of one connection through, one at a time."""

    __slots__ = (
        "_bytes",
        "_checked_at",
        "_count",
        "_dispatcher",
        "_entry_id",
        "_in_flight",
        "_is_enqueued",
        "_missing_since",
        "_pending",
        "_preceding",
        "channel",
        "client",
        "id",
        "is_abandoned",
        "sender",
    )

    def __init__(
        self, gate: "Dispatcher", channel: str, number: int, client: str, sender: str, *, count: int = 0
    ) -> None:
        self.channel = channel
        self.id = number
        self.client = client
        self.sender = sender
        self.is_abandoned = False  # nobody hears any more what becomes of its jobs
        self._dispatcher = gate
        self._count = count
        self._bytes = 0
        self._in_flight: QueuedJob | None = None
        self._is_enqueued = False  # Redis has said that it took the one that is passing
        self._entry_id = b""  # … and where it stands in the inbox, if that is known
        # When that was, or it was last asked what became of it; None: it is asked
        self._checked_at: float | None = None
        self._missing_since: float | None = None  # there is nothing of it in Redis
        self._preceding = ("", -math.inf)  # the id of the last that was published, and when
        self._pending: list[QueuedJob] = []  # short; a deque would take 600 bytes of each who says nothing

    @property
    def is_idle(self) -> bool:
        return self._in_flight is None and not self._pending

    def submit(
        self,
        message: Message,
        on_done: Callable[[JobResult], None],
        *,
        bounded: bool = True,
        precondition: Callable[[], str | None] | None = None,
        is_ahead: bool = False,
    ) -> None:
        """Takes a message; `on_done` is called once, when its job has ended. For `precondition` see `QueuedJob`.

        Args:
            is_ahead: it passes all that waits, but for what is said again.

        Raises:
            Unavailable: too much is waiting. What the front itself has to say is not `bounded`.
        """
        full = len(self._pending) >= self._dispatcher.max_messages or (
            self._pending and self._bytes + len(message.body) > self._dispatcher.max_bytes
        )
        if bounded and full:
            raise Unavailable(TOO_MANY_PENDING, RefusalReason.QUEUE_FULL)
        if bounded and not self.is_idle and not self._dispatcher.fits(len(message.body)):
            raise Unavailable(INBOX_FULL, RefusalReason.QUEUE_FULL)
        place = len(self._pending)
        if is_ahead:
            place = next((at for at, turn in enumerate(self._pending) if not turn.was_let_through), place)
        self._pending.insert(place, QueuedJob(message, on_done, precondition))
        self._count_bytes(len(message.body))
        self._advance()

    def complete(self, number: int, ending: JobResult) -> None:
        """Ends the job of that number and lets the next one through; what has ended already ends no second time."""
        if self._in_flight is None or number != self._count:
            return
        turn, self._in_flight = self._in_flight, None
        if not ending.is_refusal:
            self._dispatcher.record(self, turn.message)
        if ending.outcome in (Outcome.PUBLISHED, Outcome.DUPLICATE) and turn.message.type not in NOT_REPLAYED:
            self._preceding = turn.message.id, asyncio.get_running_loop().time()
        self._report(turn, ending)
        self._advance()

    def _report(self, turn: QueuedJob, ending: JobResult) -> None:
        if turn.is_resent and ending.outcome is Outcome.DUPLICATE:
            ending = ending._replace(
                is_broadcast=True
            )  # Redis has not lost it: its connection hears it with all others
        if turn.is_new:
            self._dispatcher.counters.count_result(turn.message.type, ending.outcome, ending.refusal_reason)
        turn.on_done(ending)

    def reject_pending(self, refusal: Unavailable) -> None:
        """Ends what waits, unsent; what is on its way is in Redis, and stays there, and so may what is said again."""
        for turn in [turn for turn in self._pending if not turn.was_let_through]:
            self._pending.remove(turn)
            self._count_bytes(-len(turn.message.body))
            self._report(turn, JobResult.of(refusal, turn.message))

    def replay(self, messages: Sequence[Message], on_done: Callable[[JobResult], None] = _ignore_result) -> None:
        """Lets these through once more, and what is on its way behind them, before all that waits."""
        turns = [QueuedJob(message, on_done, is_new=False) for message in messages]
        if self._in_flight is not None:
            turns.append(self._in_flight._replace(precondition=None, is_resent=True))  # it was let through
            self._in_flight = None
        self._preceding = ("", -math.inf)  # it may be lost, and then it is one of these or too old to be said again
        self._pending[:0] = turns
        self._count_bytes(sum(len(turn.message.body) for turn in turns))
        self._advance()

    def resend_in_flight(self) -> None:
        """Enqueues what is on its way once more, for it or its end may be lost.

        If nothing was lost, the second does nothing: its id has been published, or its number has ended.
        """
        if self._in_flight is not None and self._is_enqueued and self._checked_at is not None:
            self._enqueue(self._in_flight.message, self._on_resent, again=True)

    def _advance(self) -> None:
        while self._in_flight is None and self._pending:
            turn = self._pending.pop(0)
            self._count_bytes(-len(turn.message.body))
            if turn.precondition is not None and (reason := turn.precondition()) is not None:
                self._report(turn, JobResult.of(Unavailable(reason, RefusalReason.NOT_REGISTERED), turn.message))
                continue
            self._in_flight = turn
            self._count += 1
            self._entry_id, self._missing_since, self._checked_at = b"", None, asyncio.get_running_loop().time()
            again = turn.was_let_through
            self._enqueue(turn.message, self._on_resent if again else self._on_enqueued, again=again)

    def _count_bytes(self, size: int) -> None:
        self._bytes += size
        self._dispatcher.pending_bytes += size

    def check_overdue(self, now: float) -> None:
        """Asks what became of the job in flight, if its end is overdue."""
        timings = self._dispatcher.timings
        if self._in_flight is None or not self._is_enqueued or self._checked_at is None:
            return
        if now - self._checked_at < timings.overdue:
            return
        self._checked_at = None
        cancels = self._missing_since is not None and now - self._missing_since >= timings.give_up
        message = self._in_flight.message
        inquiry = self._dispatcher.job_status(self.channel, message.lane, self._job(message), self._entry_id, cancels)
        asyncio.ensure_future(inquiry).add_done_callback(partial(self._on_status, self._count))

    def _on_status(self, number: int, found: "asyncio.Future[JobStatus]") -> None:
        now = asyncio.get_running_loop().time()
        if number != self._count or self._in_flight is None:
            return
        self._checked_at = now
        if found.cancelled() or found.exception() is not None:
            return  # of what else is asked of Redis is said what is wrong with it
        state, published = found.result()
        if state is JobState.PENDING:
            self._missing_since = None
        elif state is JobState.STATE_LOST:
            self._dispatcher.on_state_lost(self.channel)
        elif state is JobState.CANCELLED:
            self.complete(
                number, JobResult.of(Unavailable(MESSAGE_LOST, RefusalReason.MESSAGE_LOST), self._in_flight.message)
            )
        elif self._dispatcher.delivered_offset.get(self.channel, 0) >= published:  # else its end may be on its way
            if self._missing_since is None:
                self._missing_since = now
                self._dispatcher.loss_log.report(LookupError(f"one of channel {self.channel}, which is enqueued again"))
            self.resend_in_flight()

    def _job(self, message: Message) -> Job:
        source = Source(self._dispatcher.front, self.id, self._count)
        return Job(source, message.type, message.id, message.body, self.client, self.sender)

    def _enqueue(
        self, message: Message, answered: Callable[[int, "asyncio.Future[int | bytes]"], None], *, again: bool = False
    ) -> None:
        self._is_enqueued = False
        id, at = self._preceding
        preceding = id if at > asyncio.get_running_loop().time() - self._dispatcher.timings.replay else ""
        taken = self._dispatcher.enqueue(self.channel, message.lane, self._job(message), preceding, again=again)
        taken.add_done_callback(partial(answered, self._count))

    def _on_enqueued(self, number: int, taken: "asyncio.Future[int | bytes]") -> None:
        refusal = _refusal(taken)
        if _is_state_lost(taken) or _is_in_doubt(taken):
            self._on_resent(number, taken)
        elif refusal is not None:
            if self._in_flight is not None:
                if self.is_abandoned:
                    # Its client sends again what it has not heard the end of: nothing shall overtake this one.
                    self.reject_pending(refusal)
                self.complete(number, JobResult.of(refusal, self._in_flight.message))
        elif number == self._count:
            self._mark_enqueued(taken)

    def _on_resent(self, number: int, taken: "asyncio.Future[int | bytes]") -> None:
        refusal = _refusal(taken)
        if number != self._count or self._in_flight is None:
            return
        if _is_in_doubt(taken):
            self._enqueue(self._in_flight.message, self._on_resent, again=True)
            return
        self._is_enqueued = True
        if _is_state_lost(taken):
            self._dispatcher.on_state_lost(self.channel)
        if refusal is None:
            self._mark_enqueued(taken)
        else:
            if self._missing_since is None:
                self._missing_since = asyncio.get_running_loop().time()
            # It cannot be refused, for the first may have got through: it is tried until it is known.
            asyncio.get_running_loop().call_later(self._dispatcher.timings.resend, self._resend_if_current, number)

    def _mark_enqueued(self, taken: "asyncio.Future[int | bytes]") -> None:
        self._is_enqueued = True
        self._checked_at = asyncio.get_running_loop().time()
        place = taken.result()
        self._entry_id = place if isinstance(place, bytes) else b""

    def _resend_if_current(self, number: int) -> None:
        if number == self._count:
            self.resend_in_flight()


def _refusal(taken: "asyncio.Future[int | bytes]") -> Unavailable | None:
    """Why a job was not enqueued, in words for its sender; None when it was."""
    if taken.cancelled():
        return Unavailable(INBOX_FULL, RefusalReason.SHUTTING_DOWN)
    error = taken.exception()
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, RedisError | ConnectionLost):  # which the connection to it complains of
        return Unavailable(TOO_BUSY)
    if error is not None:
        log.error("a job could not be enqueued", exc_info=error)
        return Unavailable(INBOX_FULL, RefusalReason.INTERNAL_ERROR)
    if taken.result() == FROZEN:
        return Unavailable(CHANNEL_FROZEN, RefusalReason.FROZEN)
    if taken.result() == CROWDED:
        return Unavailable(TOO_MANY_OF_ADDRESS, RefusalReason.ADDRESS_QUEUE_FULL)
    if taken.result() == DAMAGED:
        return Unavailable(CHANNEL_DAMAGED, RefusalReason.DAMAGED)
    is_taken = taken.result() == TAKEN or isinstance(taken.result(), bytes)
    return None if is_taken else Unavailable(INBOX_FULL, RefusalReason.INBOX_FULL)


def _is_state_lost(taken: "asyncio.Future[int | bytes]") -> bool:
    return not taken.cancelled() and taken.exception() is None and taken.result() == FORGOTTEN


def _is_in_doubt(taken: "asyncio.Future[int | bytes]") -> bool:
    """Whether the job may have been taken: the connection was lost before the answer came."""
    return not taken.cancelled() and isinstance(taken.exception(), ConnectionLost)


class CompletedJob(NamedTuple):
    """A message that has ended, lately."""

    at: float
    queue: JobQueue
    message: Message


class Dispatcher:
    """All dispatcher of a front, found again by the number that a publication names."""

    def __init__(self, gateway: Gateway, settings: Settings, timings: Timings = Timings()) -> None:
        self.timings = timings
        self.front = gateway.front
        self.last_offset: dict[str, int] = {}  # by channel, the number of the last publication that was heard
        self.delivered_offset: dict[str, int] = {}  # … or that was there before, or again after Redis has lost some
        self.on_state_lost: Callable[[str], None] = lambda channel: (
            None
        )  # called when Redis has lost a channel's latest
        self._gateway = gateway
        self._replay_buffer: deque[CompletedJob] = deque()
        self._replay_bytes = 0
        self.max_messages = settings.max_waiting_messages
        self.max_bytes = settings.max_waiting_bytes
        self.counters = MessageCounters(schemas(settings))
        self.pending_bytes = 0  # of all dispatcher
        self._max_pending_bytes = settings.max_front_bytes
        self._ids = itertools.count(1)
        self.loss_log = LogThrottle("redis has lost messages in flight", timings, patience=0.0)
        self._open: dict[int, JobQueue] = {}

    def open(self, channel: str, client: str = "", sender: str = "") -> JobQueue:
        """A job_queue for one connection, or for one message from elsewhere; `client` and `sender`: see `Job`."""
        number = next(self._ids)
        job_queue = self._open[number] = JobQueue(self, channel, number, client, sender)
        return job_queue

    def fits(self, size: int) -> bool:
        """Whether so many bytes more may wait, over all connections."""
        return self.pending_bytes + size <= self._max_pending_bytes

    def enqueue(
        self, channel: str, lane: Lane, job: Job, preceding: str, *, again: bool
    ) -> "asyncio.Future[int | bytes]":
        return self._gateway.enqueue(channel, lane, job, self.last_offset.get(channel, 0), preceding, again=again)

    def job_status(self, channel: str, lane: Lane, job: Job, place: bytes, cancels: bool) -> Awaitable[JobStatus]:
        cancels_to = self.delivered_offset.get(channel, 0) if cancels else None
        return self._gateway.job_status(channel, lane, job, place, self.last_offset.get(channel, 0), cancels_to)

    async def run(self) -> None:
        """Looks after what is in flight: a job whose end does not come is enqueued again, or its sender is told."""
        while True:
            await asyncio.sleep(self.timings.overdue / 4)
            now = asyncio.get_running_loop().time()
            for job_queue in list(self._open.values()):
                job_queue.check_overdue(now)

    def is_open(self, number: int) -> bool:
        """Whether the connection of that number is here, or something that it has sent is on its way."""
        return number in self._open

    def leave(self, channel: str, number: int) -> None:
        """Tells that a connection is gone which Redis believes to be here."""
        job_queue = self._open[number] = JobQueue(self, channel, number, "", "", count=REPLAYED_JOB_NUMBERS)

        def ended(ending: JobResult) -> None:
            self.close(job_queue)
            if ending.is_refusal:
                asyncio.get_running_loop().call_later(self.timings.retry, self.leave, channel, number)

        job_queue.submit(Message(LEAVE, "", b"{}"), ended, bounded=False)

    def close(self, job_queue: JobQueue) -> None:
        """Forgets a job_queue; of a job that is still on its way nobody is told."""
        self._open.pop(job_queue.id, None)

    def complete(self, publication: Publication) -> None:
        """Ends the job that the publication names, if it is one of ours."""
        source = publication.source
        if source is not None and source.front == self.front:
            job_queue = self._open.get(source.connection)
            if job_queue is not None:
                cause = WORKER_REFUSALS.get(publication.type, RefusalReason.UNPROCESSABLE)
                job_queue.complete(source.number, JobResult(publication.outcome, publication.body, cause))

    def resend_in_flight(self, channel: str | None = None) -> None:
        """Enqueues what is on its way in a channel (or in all) once more: something may have been lost."""
        for job_queue in list(self._open.values()):
            if channel in (None, job_queue.channel):
                job_queue.resend_in_flight()

    def record(self, job_queue: JobQueue, message: Message) -> None:
        """Remembers for a moment what has ended, for Redis may lose it before every front has heard it."""
        now = asyncio.get_running_loop().time()
        if message.type not in NOT_REPLAYED:
            self._replay_buffer.append(CompletedJob(now, job_queue, message))
            self._replay_bytes += len(message.body)
        while self._replay_buffer and (
            self._replay_buffer[0].at < now - self.timings.replay or self._replay_bytes > self.max_bytes
        ):
            self._replay_bytes -= len(self._replay_buffer.popleft().message.body)

    def replay(self, channel: str, since: float) -> None:
        """Says once more what has ended in a channel since then, each connection's in order: Redis has lost some of it.

        What it has not lost it does not publish again, and what a front has heard it does not deliver again.
        """
        lately: dict[JobQueue, list[Message]] = {}
        for said in self._trim_replay_buffer(channel, since):
            lately.setdefault(said.queue, []).append(said.message)
        for job_queue in list(self._open.values()):
            if job_queue.channel == channel:
                job_queue.replay(lately.pop(job_queue, ()))
        for job_queue, messages in lately.items():
            self._replay_closed(job_queue, messages)

    def _trim_replay_buffer(self, channel: str, since: float) -> list[CompletedJob]:
        """Takes what is to be said again out of what was said: it will end, and be noted, once more."""
        again = [said for said in self._replay_buffer if said.queue.channel == channel and said.at >= since]
        self._replay_buffer = deque(said for said in self._replay_buffer if said.queue.channel != channel)
        self._replay_bytes = sum(len(said.message.body) for said in self._replay_buffer)
        return again

    def delete_messages(self, channel: str, ids: Container[str] | None) -> None:
        """What was withdrawn (None: all that was said in the channel) is not said again; who came and went is."""

        def is_withdrawn(said: CompletedJob) -> bool:
            is_of_channel = said.queue.channel == channel and said.message.type not in PRESENCE
            return is_of_channel and (ids is None or said.message.id in ids)

        self._replay_buffer = deque(said for said in self._replay_buffer if not is_withdrawn(said))
        self._replay_bytes = sum(len(said.message.body) for said in self._replay_buffer)

    def _replay_closed(self, job_queue: JobQueue, messages: Sequence[Message]) -> None:
        def ended(_: JobResult) -> None:
            if job_queue.is_idle:
                self.close(job_queue)

        self._open[job_queue.id] = job_queue
        job_queue.replay(messages, ended)

    def reject_pending(self, refusal: Unavailable) -> None:
        """Ends all that waits in the front, and tells the senders."""
        for job_queue in list(self._open.values()):
            job_queue.reject_pending(refusal)

    @property
    def are_idle(self) -> bool:
        return all(job_queue.is_idle for job_queue in self._open.values())
