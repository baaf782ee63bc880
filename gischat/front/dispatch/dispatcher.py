"""The dispatcher: a front's job queues, between the connections and the inboxes."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Container

from gischat.broker.broker import Broker
from gischat.broker.entries import LEAVE, Job, Publication
from gischat.broker.inbox import EnqueueResult, JobStatus
from gischat.broker.log_throttle import LogThrottle
from gischat.errors import RefusalReason, Unavailable
from gischat.front.dispatch.job_queue import JobQueue
from gischat.front.dispatch.job_result import JobResult
from gischat.front.dispatch.message_counters import MessageCounters
from gischat.front.dispatch.replay_buffer import CompletedJob, ReplayBuffer
from gischat.front.dispatch.state_reports import StateReports
from gischat.front.dispatch.stream_position import StreamPosition
from gischat.front.limits.admission import Admission
from gischat.front.limits.rejection_log import RejectionLog
from gischat.protocol.messages import Lane, Message
from gischat.protocol.schemas import schemas
from gischat.settings import Settings
from gischat.timings import Timings

# The first number of the front's own jobs about a former connection: higher than those of the connection's jobs
REPLAYED_JOB_NUMBERS = 1_000_000_000
# Types of publications by which workers refuse a message for a reason of its own
WORKER_REFUSALS = {str(cause): cause for cause in (RefusalReason.DUPLICATE_ID, RefusalReason.NOT_REGISTERED)}


class Dispatcher:
    """All job queues of a front, by the connection id that a publication's source contains.

    Attributes:
        positions: this front's position in each channel's publications.
        reports: takes reports of losses, gaps and reconnections.
    """

    def __init__(
        self, broker: Broker, settings: Settings, timings: Timings = Timings(), admission: Admission | None = None
    ) -> None:
        self.timings = timings
        self.front = broker.front
        self.positions: defaultdict[str, StreamPosition] = defaultdict(StreamPosition)
        self.reports = StateReports()
        self._inbox = broker.inbox
        self.admission = admission or Admission(settings, RejectionLog(timings))
        self._replay_buffer = ReplayBuffer(timings.replay, settings.max_waiting_bytes)
        self.counters = MessageCounters(schemas(settings))
        self._ids = itertools.count(1)
        self.loss_log = LogThrottle("redis has lost messages in flight", timings, patience=0.0)
        self._open: dict[int, JobQueue] = {}

    def open(self, channel: str, client: str = "", sender: str = "") -> JobQueue:
        """Open a queue for a connection, or for one message without a connection; `client`, `sender`: see `Job`."""
        number = self.new_id()
        job_queue = self._open[number] = JobQueue(self, channel, number, client, sender)
        return job_queue

    def new_id(self) -> int:
        """A connection id, unique on this front."""
        return next(self._ids)

    def enqueue(
        self, channel: str, lane: Lane, job: Job, preceding: str, *, again: bool
    ) -> "asyncio.Future[EnqueueResult]":
        return self._inbox.enqueue(channel, lane, job, self.positions[channel].required, preceding, again=again)

    def job_status(self, channel: str, lane: Lane, job: Job, entry_id: bytes, cancels: bool) -> Awaitable[JobStatus]:
        position = self.positions[channel]
        cancels_to = position.offset if cancels else None
        return self._inbox.job_status(channel, lane, job, entry_id, position.required, cancels_to)

    async def run(self) -> None:
        """Check jobs in flight whose result is overdue: enqueue them again, or notify their senders."""
        while True:
            await asyncio.sleep(self.timings.overdue / 4)
            now = asyncio.get_running_loop().time()
            for job_queue in list(self._open.values()):
                job_queue.check_overdue(now)

    def is_open(self, number: int) -> bool:
        """Whether this connection is open, or has a job in flight or pending."""
        return number in self._open

    def leave(self, channel: str, number: int) -> None:
        """Enqueue the end of a connection that Redis still has, but this front does not."""
        job_queue = self._open[number] = JobQueue(self, channel, number, "", "", count=REPLAYED_JOB_NUMBERS)
        self.unregister(job_queue)

    def unregister(self, job_queue: JobQueue) -> None:
        """Release the nickname of a connection that is gone, behind its pending messages; then close its queue."""

        def on_done(result: JobResult) -> None:
            if result.is_refusal:
                # Retry until it succeeds or this front is gone: a nickname that is not released would be a ghost.
                asyncio.get_running_loop().call_later(self.timings.retry, self.unregister, job_queue)
            else:
                self.close(job_queue)

        job_queue.submit(Message(LEAVE, "", b"{}"), on_done, bounded=False)

    def close(self, job_queue: JobQueue) -> None:
        """Close a queue; the result of a job in flight is dropped. The job counts until Redis has it, as any other."""
        job_queue.is_closed = True
        self._open.pop(job_queue.id, None)

    def reopen(self, job_queue: JobQueue) -> None:
        """Open a queue again, if it was closed: its sender waits for another result."""
        job_queue.is_closed = False
        self._open[job_queue.id] = job_queue

    def complete(self, publication: Publication) -> None:
        """Complete the job that a publication ends, if it is one of this front's."""
        source = publication.source
        if source is not None and source.front == self.front:
            job_queue = self._open.get(source.connection)
            if job_queue is not None:
                cause = WORKER_REFUSALS.get(publication.type, RefusalReason.UNPROCESSABLE)
                job_queue.complete(source.number, JobResult(publication.outcome, publication.body, cause))

    def resend_in_flight(self, channel: str | None = None) -> None:
        """Enqueue the jobs in flight in a channel (None: in all) again, because they or their results may be lost."""
        for job_queue in list(self._open.values()):
            if channel in (None, job_queue.channel):
                job_queue.resend_in_flight()

    def record(self, job_queue: JobQueue, message: Message) -> None:
        """Record a message whose job has ended, and was not refused, for a replay."""
        self._replay_buffer.record(CompletedJob(asyncio.get_running_loop().time(), job_queue, message))

    def replay(self, channel: str, since: float) -> None:
        """Replay a channel's jobs that have ended since that loop time, in each connection's order, after a loss.

        Redis does not publish again what it still has, and fronts deliver nothing twice.
        """
        recent: dict[JobQueue, list[Message]] = {}
        for job in self._replay_buffer.take(channel, since):
            recent.setdefault(job.queue, []).append(job.message)
        for job_queue in list(self._open.values()):
            if job_queue.channel == channel:
                job_queue.replay(recent.pop(job_queue, ()))
        for job_queue, messages in recent.items():
            self._open[job_queue.id] = job_queue  # until the replay is complete
            job_queue.replay(messages)

    def delete_messages(self, channel: str, ids: Container[str] | None) -> None:
        """Exclude deleted messages from replay (None: all of the channel); `newcomer` and `exiter` stay."""
        self._replay_buffer.delete_messages(channel, ids)

    def reject_pending(self, refusal: Unavailable) -> None:
        """Refuse all pending messages, and notify their senders."""
        for job_queue in list(self._open.values()):
            job_queue.reject_pending(refusal)

    @property
    def are_idle(self) -> bool:
        return all(job_queue.is_idle for job_queue in self._open.values())
