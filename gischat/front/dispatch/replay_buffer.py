"""The messages of a front that were published lately: replayed when Redis has lost some of them. Pure."""

from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, NamedTuple

from gischat.broker.entries import COUNT, HEARTBEAT, PRESENCE, RESTORE
from gischat.protocol.messages import Message

if TYPE_CHECKING:
    from gischat.front.dispatch.job_queue import JobQueue

NOT_REPLAYED = frozenset({COUNT, HEARTBEAT, RESTORE})  # anew, as it is then; not as it was


class CompletedJob(NamedTuple):
    """A message that has ended, lately."""

    at: float
    queue: "JobQueue"
    message: Message


class ReplayBuffer:
    """Bounded in age and bytes."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._jobs: deque[CompletedJob] = deque()
        self._bytes = 0

    def record(self, job: CompletedJob) -> None:
        """Remembers for a moment what has ended, for Redis may lose it before every front has heard it."""
        if job.message.type not in NOT_REPLAYED:
            self._jobs.append(job)
            self._bytes += len(job.message.body)
        while self._jobs and (self._jobs[0].at < job.at - self._seconds or self._bytes > self._max_bytes):
            self._bytes -= len(self._jobs.popleft().message.body)

    def take(self, channel: str, since: float) -> list[CompletedJob]:
        """Takes out what has ended in a channel since then: it will end, and be recorded, once more."""
        again = [job for job in self._jobs if job.queue.channel == channel and job.at >= since]
        self._keep(lambda job: job.queue.channel != channel)
        return again

    def delete_messages(self, channel: str, ids: Container[str] | None) -> None:
        """What was withdrawn (None: all that was said in the channel) is not said again; who came and went is."""
        self._keep(
            lambda job: (
                job.queue.channel != channel
                or job.message.type in PRESENCE
                or not (ids is None or job.message.id in ids)
            )
        )

    def _keep(self, is_kept: Callable[[CompletedJob], bool]) -> None:
        self._jobs = deque(filter(is_kept, self._jobs))
        self._bytes = sum(len(job.message.body) for job in self._jobs)
