"""The job queues of a front: to Redis for each, and back to each the ends of its jobs."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Container, Sequence

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
from gischat.protocol.messages import Lane, Message
from gischat.protocol.schemas import schemas
from gischat.settings import Settings
from gischat.timings import Timings

REPLAYED_JOB_NUMBERS = (
    1_000_000_000  # no connection has sent so many messages: these jobs are told apart from all others
)
WORKER_REFUSALS = {
    str(cause): cause for cause in (RefusalReason.DUPLICATE_ID, RefusalReason.NOT_REGISTERED)
}  # by publications' types


class Dispatcher:
    """All job queues of a front, found again by the number that a publication names.

    `positions` says, by channel, where this front is in what is published; `reports` takes what is noticed of losses.
    """

    def __init__(self, broker: Broker, settings: Settings, timings: Timings = Timings()) -> None:
        self.timings = timings
        self.front = broker.front
        self.positions: defaultdict[str, StreamPosition] = defaultdict(StreamPosition)
        self.reports = StateReports()
        self._inbox = broker.inbox
        self.max_messages = settings.max_waiting_messages
        self.max_bytes = settings.max_waiting_bytes
        self._replay_buffer = ReplayBuffer(timings.replay, self.max_bytes)
        self.counters = MessageCounters(schemas(settings))
        self.pending_bytes = 0  # of all queues
        self._max_pending_bytes = settings.max_front_bytes
        self._ids = itertools.count(1)
        self.loss_log = LogThrottle("redis has lost messages in flight", timings, patience=0.0)
        self._open: dict[int, JobQueue] = {}

    def open(self, channel: str, client: str = "", sender: str = "") -> JobQueue:
        """A queue for one connection, or for one message from elsewhere; `client` and `sender`: see `Job`."""
        number = self.new_id()
        job_queue = self._open[number] = JobQueue(self, channel, number, client, sender)
        return job_queue

    def new_id(self) -> int:
        """The number of a connection, which no other of this front has."""
        return next(self._ids)

    def fits(self, size: int) -> bool:
        """Whether so many bytes more may wait, over all connections."""
        return self.pending_bytes + size <= self._max_pending_bytes

    def enqueue(
        self, channel: str, lane: Lane, job: Job, preceding: str, *, again: bool
    ) -> "asyncio.Future[EnqueueResult]":
        return self._inbox.enqueue(channel, lane, job, self.positions[channel].required, preceding, again=again)

    def job_status(self, channel: str, lane: Lane, job: Job, place: bytes, cancels: bool) -> Awaitable[JobStatus]:
        position = self.positions[channel]
        cancels_to = position.offset if cancels else None
        return self._inbox.job_status(channel, lane, job, place, position.required, cancels_to)

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
        """Unregister a connection that is gone, and that Redis believes to be here."""
        job_queue = self._open[number] = JobQueue(self, channel, number, "", "", count=REPLAYED_JOB_NUMBERS)
        self.unregister(job_queue)

    def unregister(self, job_queue: JobQueue) -> None:
        """Release the nickname of a connection that is gone, behind its pending messages; then close its queue."""

        def ended(ending: JobResult) -> None:
            if ending.is_refusal:
                # Retry until it succeeds or this front is gone: a nickname that is not released would be a ghost.
                asyncio.get_running_loop().call_later(self.timings.retry, self.unregister, job_queue)
            else:
                self.close(job_queue)

        job_queue.submit(Message(LEAVE, "", b"{}"), ended, bounded=False)

    def close(self, job_queue: JobQueue) -> None:
        """Forgets a queue; of a job that is still on its way nobody is told."""
        self._open.pop(job_queue.id, None)

    def reopen(self, job_queue: JobQueue) -> None:
        """Knows a queue again, if it was closed: somebody still speaks through it, and waits to be told the end."""
        self._open[job_queue.id] = job_queue

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
        """A job has ended, and not by a refusal."""
        self._replay_buffer.record(CompletedJob(asyncio.get_running_loop().time(), job_queue, message))

    def replay(self, channel: str, since: float) -> None:
        """Says once more what has ended in a channel since then, each connection's in order: Redis has lost some of it.

        What it has not lost it does not publish again, and what a front has heard it does not deliver again.
        """
        lately: dict[JobQueue, list[Message]] = {}
        for said in self._replay_buffer.take(channel, since):
            lately.setdefault(said.queue, []).append(said.message)
        for job_queue in list(self._open.values()):
            if job_queue.channel == channel:
                job_queue.replay(lately.pop(job_queue, ()))
        for job_queue, messages in lately.items():
            self._replay_closed(job_queue, messages)

    def delete_messages(self, channel: str, ids: Container[str] | None) -> None:
        """What was withdrawn (None: all that was said in the channel) is not said again; who came and went is."""
        self._replay_buffer.delete_messages(channel, ids)

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
