"""A connection's job queue: one job in flight at a time, the others pending.

Workers run in parallel, so the order within a connection requires that a job has ended before the next one is enqueued.
Admitted messages are never dropped.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from gischat.broker.entries import Job, Outcome, Source
from gischat.broker.inbox import EnqueueResult, JobState, JobStatus
from gischat.errors import RefusalReason, Unavailable
from gischat.front.dispatch.job_result import JobResult, enqueue_refusal, is_in_doubt, is_state_lost
from gischat.front.dispatch.replay_buffer import NOT_REPLAYED
from gischat.front.limits.admission import LARGE_BYTES, SMALL_BYTES
from gischat.protocol.messages import Message

if TYPE_CHECKING:
    from gischat.front.dispatch.dispatcher import Dispatcher

MESSAGE_LOST = "The server has lost this message. It was not sent: please send it again."
NOTHING_PRECEDES = ("", -math.inf)


class QueuedJob(NamedTuple):
    """A pending message and the callback for its result.

    `precondition` is called just before the message is enqueued; it returns the reason to refuse it, or None.
    """

    message: Message
    on_done: Callable[[JobResult], None]
    precondition: Callable[[], str | None] | None = None
    held: int = 0  # bytes that the admission counts while it is pending
    is_new: bool = True  # its result has not been counted
    is_resent: bool = False  # it was in flight when Redis lost its state

    @property
    def was_enqueued(self) -> bool:
        """Whether it was enqueued before, so that it may be published already, even if it is refused now."""
        return self.is_resent or not self.is_new


def _ignore_result(_: JobResult) -> None:
    """The result of a replayed job, which its sender got before."""


class JobQueue:
    """The jobs of one connection."""

    __slots__ = (
        "_at_once",
        "_bytes",
        "_checked_at",
        "_count",
        "_dispatcher",
        "_entry_id",
        "_held",
        "_in_flight",
        "_is_enqueued",
        "_missing_since",
        "_pending",
        "_preceding",
        "channel",
        "client",
        "id",
        "is_abandoned",
        "is_closed",
        "sender",
    )

    def __init__(
        self, dispatcher: "Dispatcher", channel: str, number: int, client: str, sender: str, *, count: int = 0
    ) -> None:
        self.channel = channel
        self.id = number
        self.client = client
        self.sender = sender
        self.is_closed = False  # the dispatcher has closed it; it may be open again, for a replay
        self.is_abandoned = False  # its client has gone: results are not delivered any more
        self._dispatcher = dispatcher
        self._count = count
        self._bytes = 0  # of pending messages, as the admission counts them
        self._held = 0  # … and of the job in flight, until Redis has enqueued it
        self._at_once = 0  # … or here, if it was small and went to Redis at once
        self._in_flight: QueuedJob | None = None
        self._is_enqueued = False  # whether Redis has answered that it enqueued the job in flight
        self._entry_id = b""  # of the job in flight in the inbox; empty if unknown
        # Loop time when it was enqueued, or its state last checked; None during a check
        self._checked_at: float | None = None
        self._missing_since: float | None = None  # loop time since which Redis has no trace of it
        self._preceding = NOTHING_PRECEDES  # id and loop time of the last published message
        self._pending: list[QueuedJob] = []  # short; a deque would take 600 bytes for each idle connection

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
        """Queue a message; `on_done` is called once, with its result. `precondition`: see `QueuedJob`.

        Args:
            bounded: apply the bounds; False for the front's own jobs.
            is_ahead: queue it ahead of all pending messages, except for those that are resent or replayed.

        Raises:
            Unavailable: the message is not admitted.
        """
        position, held = len(self._pending), len(message.body)
        ahead = position + (self._in_flight is not None)
        if ahead or held > LARGE_BYTES:
            self._dispatcher.admission.admit(self.client, held, ahead, self._bytes, bounded=bounded)
        else:
            if held > SMALL_BYTES:
                self._dispatcher.admission.admit("", held, 0, 0, bounded=bounded)
                self._at_once += held
            held = 0
        if is_ahead:
            position = next((at for at, queued in enumerate(self._pending) if not queued.was_enqueued), position)
        self._pending.insert(position, QueuedJob(message, on_done, precondition, held))
        self._bytes += held
        self._advance()

    def complete(self, number: int, result: JobResult) -> None:
        """Complete the job of that number and enqueue the next one; does nothing if the job was completed before."""
        if self._in_flight is None or number != self._count:
            return
        queued, self._in_flight = self._in_flight, None
        self._release()
        if not result.is_refusal:
            self._dispatcher.record(self, queued.message)
        if result.outcome in (Outcome.PUBLISHED, Outcome.DUPLICATE) and queued.message.type not in NOT_REPLAYED:
            self._preceding = queued.message.id, asyncio.get_running_loop().time()
        self._report(queued, result)
        self._advance()
        if self.is_closed and self.is_idle:
            self._dispatcher.close(self)

    def _report(self, queued: QueuedJob, result: JobResult) -> None:
        if queued.is_resent and result.outcome is Outcome.DUPLICATE:
            # Redis still has the original, which this connection receives like all others.
            result = result._replace(is_broadcast=True)
        if queued.is_new:
            self._dispatcher.counters.count_result(queued.message.type, result.outcome, result.refusal_reason)
        queued.on_done(result)

    def reject_pending(self, refusal: Unavailable) -> None:
        """Refuse pending messages, except for those that may have been published; the job in flight stays."""
        for queued in [queued for queued in self._pending if not queued.was_enqueued]:
            self._pending.remove(queued)
            self._bytes -= queued.held
            self._dispatcher.admission.release(self.client, queued.held)
            self._report(queued, JobResult.of(refusal, queued.message))

    def replay(self, messages: Sequence[Message]) -> None:
        """Enqueue these messages again, then the job in flight, ahead of everything pending."""
        jobs = [QueuedJob(message, _ignore_result, is_new=False) for message in messages]
        if self._in_flight is not None:
            # The precondition was met
            jobs.append(self._in_flight._replace(precondition=None, is_resent=True, held=self._held))
            self._in_flight, self._held = None, 0
        self._preceding = NOTHING_PRECEDES  # if Redis has lost it, it is replayed now, or too old to be
        self._pending[:0] = jobs
        self._bytes += sum(queued.held for queued in jobs)
        self._advance()

    def resend_in_flight(self) -> None:
        """Enqueue the job in flight again, because it or its result may be lost.

        If nothing was lost, this has no effect: its id is a duplicate, or its number was completed.
        """
        if self._in_flight is not None and self._is_enqueued and self._checked_at is not None:
            self._enqueue(self._in_flight.message, self._on_resent, again=True)

    def _advance(self) -> None:
        while self._in_flight is None and self._pending:
            queued = self._pending.pop(0)
            self._bytes -= queued.held
            self._held = queued.held
            if queued.precondition is not None and (reason := queued.precondition()) is not None:
                self._release()
                self._report(queued, JobResult.of(Unavailable(reason, RefusalReason.NOT_REGISTERED), queued.message))
                continue
            self._in_flight = queued
            self._count += 1
            self._entry_id, self._missing_since, self._checked_at = b"", None, asyncio.get_running_loop().time()
            again = queued.was_enqueued
            self._enqueue(queued.message, self._on_resent if again else self._on_enqueued, again=again)

    def _release(self) -> None:
        """Stop counting the job in flight."""
        if self._at_once:
            self._dispatcher.admission.release("", self._at_once)
            self._at_once = 0
        if self._held:
            self._dispatcher.admission.release(self.client, self._held)
            self._held = 0

    def check_overdue(self, now: float) -> None:
        """Query the state of the job in flight, if its result is overdue."""
        timings = self._dispatcher.timings
        if self._in_flight is None or not self._is_enqueued or self._checked_at is None:
            return
        if now - self._checked_at < timings.overdue:
            return
        self._checked_at = None
        cancels = self._missing_since is not None and now - self._missing_since >= timings.give_up
        message = self._in_flight.message
        status = self._dispatcher.job_status(self.channel, message.lane, self._job(message), self._entry_id, cancels)
        asyncio.ensure_future(status).add_done_callback(partial(self._on_status, self._count))

    def _on_status(self, number: int, status: "asyncio.Future[JobStatus]") -> None:
        now = asyncio.get_running_loop().time()
        if number != self._count or self._in_flight is None:
            return
        self._checked_at = now
        if status.cancelled() or status.exception() is not None:
            return  # the connection to Redis logs the error
        state, published = status.result()
        if state is JobState.PENDING:
            self._missing_since = None
        elif state is JobState.STATE_LOST:
            self._dispatcher.reports.state_lost(self.channel)
        elif state is JobState.CANCELLED:
            self.complete(
                number, JobResult.of(Unavailable(MESSAGE_LOST, RefusalReason.MESSAGE_LOST), self._in_flight.message)
            )
        elif self._dispatcher.positions[self.channel].offset >= published:  # otherwise its result may still arrive
            if self._missing_since is None:
                self._missing_since = now
                self._dispatcher.loss_log.report(LookupError(f"one of channel {self.channel}, which is enqueued again"))
            self.resend_in_flight()

    def _job(self, message: Message) -> Job:
        source = Source(self._dispatcher.front, self.id, self._count)
        body = cast(bytes, message.body)  # or chunks, in the heavy lane, which uploads slices of it
        return Job(source, message.type, message.id, body, self.client, self.sender)

    def _enqueue(
        self, message: Message, answered: Callable[[int, "asyncio.Future[EnqueueResult]"], None], *, again: bool = False
    ) -> None:
        self._is_enqueued = False
        id, at = self._preceding
        preceding = id if at > asyncio.get_running_loop().time() - self._dispatcher.timings.replay else ""
        enqueued = self._dispatcher.enqueue(self.channel, message.lane, self._job(message), preceding, again=again)
        enqueued.add_done_callback(partial(answered, self._count))

    def _on_enqueued(self, number: int, enqueued: "asyncio.Future[EnqueueResult]") -> None:
        refusal = enqueue_refusal(enqueued)
        if is_state_lost(enqueued) or is_in_doubt(enqueued):
            self._on_resent(number, enqueued)
        elif refusal is not None:
            if self._in_flight is not None:
                if self.is_abandoned:
                    # Its client resends messages whose result it did not get; none of those behind it may precede it.
                    self.reject_pending(refusal)
                self.complete(number, JobResult.of(refusal, self._in_flight.message))
        elif number == self._count:
            self._mark_enqueued(enqueued)

    def _on_resent(self, number: int, enqueued: "asyncio.Future[EnqueueResult]") -> None:
        refusal = enqueue_refusal(enqueued)
        if number != self._count or self._in_flight is None:
            return
        if is_in_doubt(enqueued):
            self._enqueue(self._in_flight.message, self._on_resent, again=True)
            return
        self._is_enqueued = True
        if is_state_lost(enqueued):
            self._dispatcher.reports.state_lost(self.channel)
        if refusal is None:
            self._mark_enqueued(enqueued)
        else:
            if self._missing_since is None:
                self._missing_since = asyncio.get_running_loop().time()
            # A refusal would be wrong, because the first attempt may have succeeded: repeat until the result is known.
            asyncio.get_running_loop().call_later(self._dispatcher.timings.resend, self._resend_if_current, number)

    def _mark_enqueued(self, enqueued: "asyncio.Future[EnqueueResult]") -> None:
        self._release()
        self._is_enqueued = True
        self._checked_at = asyncio.get_running_loop().time()
        self._entry_id = enqueued.result().entry_id

    def _resend_if_current(self, number: int) -> None:
        if number == self._count:
            self.resend_in_flight()
