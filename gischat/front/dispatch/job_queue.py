"""A connection's queue of messages: one job of it is in flight at a time, the rest wait.

Workers run in parallel, so only a job that has ended may be followed by the next one of the same connection. Nothing
that was admitted is dropped.
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
from gischat.front.limits.admission import LARGE_BYTES
from gischat.protocol.messages import Message

if TYPE_CHECKING:
    from gischat.front.dispatch.dispatcher import Dispatcher

MESSAGE_LOST = "The server has lost this message. It was not sent: please send it again."
NOTHING_PRECEDES = ("", -math.inf)


class QueuedJob(NamedTuple):
    """A message that waits, and whom to tell of its end.

    `precondition` is asked when its turn has come, and says why it may not pass; None if it may.
    """

    message: Message
    on_done: Callable[[JobResult], None]
    precondition: Callable[[], str | None] | None = None
    is_new: bool = True  # its end has not been counted
    is_resent: bool = False  # it was on its way when Redis lost something
    held: int = 0  # bytes that the admission counts, as long as it waits

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
        "sender",
    )

    def __init__(
        self, dispatcher: "Dispatcher", channel: str, number: int, client: str, sender: str, *, count: int = 0
    ) -> None:
        self.channel = channel
        self.id = number
        self.client = client
        self.sender = sender
        self.is_abandoned = False  # nobody hears any more what becomes of its jobs
        self._dispatcher = dispatcher
        self._count = count
        self._bytes = 0  # that the admission counts of those that wait
        self._held = 0  # … and of the one that is passing, until Redis has taken it
        self._in_flight: QueuedJob | None = None
        self._is_enqueued = False  # Redis has said that it took the one that is passing
        self._entry_id = b""  # … and where it stands in the inbox, if that is known
        # When that was, or it was last asked what became of it; None: it is asked
        self._checked_at: float | None = None
        self._missing_since: float | None = None  # there is nothing of it in Redis
        self._preceding = NOTHING_PRECEDES  # the id of the last that was published, and when
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
            Unavailable: it is not admitted. What the front itself has to say is not `bounded`.
        """
        place, held = len(self._pending), len(message.body)
        if held <= LARGE_BYTES and not place and self._in_flight is None:
            held = 0
        elif bounded:
            self._dispatcher.admission.admit(self.client, held, place, self._bytes)
        else:
            self._dispatcher.admission.hold(self.client, held)
        if is_ahead:
            place = next((at for at, queued in enumerate(self._pending) if not queued.was_let_through), place)
        self._pending.insert(place, QueuedJob(message, on_done, precondition, held=held))
        self._bytes += held
        self._advance()

    def complete(self, number: int, result: JobResult) -> None:
        """Ends the job of that number and lets the next one through; what has ended already ends no second time."""
        if self._in_flight is None or number != self._count:
            return
        queued, self._in_flight = self._in_flight, None
        if self._held:
            self._release()
        if not result.is_refusal:
            self._dispatcher.record(self, queued.message)
        if result.outcome in (Outcome.PUBLISHED, Outcome.DUPLICATE) and queued.message.type not in NOT_REPLAYED:
            self._preceding = queued.message.id, asyncio.get_running_loop().time()
        self._report(queued, result)
        self._advance()

    def _report(self, queued: QueuedJob, result: JobResult) -> None:
        if queued.is_resent and result.outcome is Outcome.DUPLICATE:
            # Redis has not lost it: its connection hears it with all others.
            result = result._replace(is_broadcast=True)
        if queued.is_new:
            self._dispatcher.counters.count_result(queued.message.type, result.outcome, result.refusal_reason)
        queued.on_done(result)

    def reject_pending(self, refusal: Unavailable) -> None:
        """Ends what waits, unsent; what is on its way is in Redis, and stays there, and so may what is said again."""
        for queued in [queued for queued in self._pending if not queued.was_let_through]:
            self._pending.remove(queued)
            self._bytes -= queued.held
            self._dispatcher.admission.release(self.client, queued.held)
            self._report(queued, JobResult.of(refusal, queued.message))

    def replay(self, messages: Sequence[Message], on_done: Callable[[JobResult], None] = _ignore_result) -> None:
        """Lets these through once more, and what is on its way behind them, before all that waits."""
        jobs = [QueuedJob(message, on_done, is_new=False) for message in messages]
        if self._in_flight is not None:
            # It was let through
            jobs.append(self._in_flight._replace(precondition=None, is_resent=True, held=self._held))
            self._in_flight, self._held = None, 0
        self._preceding = NOTHING_PRECEDES  # it may be lost, and then it is one of these or too old to be said again
        self._pending[:0] = jobs
        self._bytes += sum(queued.held for queued in jobs)
        self._advance()

    def resend_in_flight(self) -> None:
        """Enqueues what is on its way once more, for it or its end may be lost.

        If nothing was lost, the second does nothing: its id has been published, or its number has ended.
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
            again = queued.was_let_through
            self._enqueue(queued.message, self._on_resent if again else self._on_enqueued, again=again)

    def _release(self) -> None:
        self._dispatcher.admission.release(self.client, self._held)
        self._held = 0

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
            self._dispatcher.reports.state_lost(self.channel)
        elif state is JobState.CANCELLED:
            self.complete(
                number, JobResult.of(Unavailable(MESSAGE_LOST, RefusalReason.MESSAGE_LOST), self._in_flight.message)
            )
        elif self._dispatcher.positions[self.channel].offset >= published:  # else its end may be on its way
            if self._missing_since is None:
                self._missing_since = now
                self._dispatcher.loss_log.report(LookupError(f"one of channel {self.channel}, which is enqueued again"))
            self.resend_in_flight()

    def _job(self, message: Message) -> Job:
        source = Source(self._dispatcher.front, self.id, self._count)
        body = cast(bytes, message.body)  # of pieces, which are of the heavy lane, slices are brought
        return Job(source, message.type, message.id, body, self.client, self.sender)

    def _enqueue(
        self, message: Message, answered: Callable[[int, "asyncio.Future[EnqueueResult]"], None], *, again: bool = False
    ) -> None:
        self._is_enqueued = False
        id, at = self._preceding
        preceding = id if at > asyncio.get_running_loop().time() - self._dispatcher.timings.replay else ""
        taken = self._dispatcher.enqueue(self.channel, message.lane, self._job(message), preceding, again=again)
        taken.add_done_callback(partial(answered, self._count))

    def _on_enqueued(self, number: int, taken: "asyncio.Future[EnqueueResult]") -> None:
        refusal = enqueue_refusal(taken)
        if is_state_lost(taken) or is_in_doubt(taken):
            self._on_resent(number, taken)
        elif refusal is not None:
            if self._in_flight is not None:
                if self.is_abandoned:
                    # Its client sends again what it has not heard the end of: nothing shall overtake this one.
                    self.reject_pending(refusal)
                self.complete(number, JobResult.of(refusal, self._in_flight.message))
        elif number == self._count:
            self._mark_enqueued(taken)

    def _on_resent(self, number: int, taken: "asyncio.Future[EnqueueResult]") -> None:
        refusal = enqueue_refusal(taken)
        if number != self._count or self._in_flight is None:
            return
        if is_in_doubt(taken):
            self._enqueue(self._in_flight.message, self._on_resent, again=True)
            return
        self._is_enqueued = True
        if is_state_lost(taken):
            self._dispatcher.reports.state_lost(self.channel)
        if refusal is None:
            self._mark_enqueued(taken)
        else:
            if self._missing_since is None:
                self._missing_since = asyncio.get_running_loop().time()
            # It cannot be refused, for the first may have got through: it is tried until it is known.
            asyncio.get_running_loop().call_later(self._dispatcher.timings.resend, self._resend_if_current, number)

    def _mark_enqueued(self, taken: "asyncio.Future[EnqueueResult]") -> None:
        if self._held:
            self._release()
        self._is_enqueued = True
        self._checked_at = asyncio.get_running_loop().time()
        self._entry_id = taken.result().entry_id

    def _resend_if_current(self, number: int) -> None:
        if number == self._count:
            self.resend_in_flight()
