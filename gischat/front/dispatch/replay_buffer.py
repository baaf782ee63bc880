"""The replay buffer: a front's recently published messages, replayed if Redis loses some of them. Pure."""

from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, NamedTuple

from gischat.broker.entries import COUNT, HEARTBEAT, PRESENCE, RESTORE
from gischat.protocol.messages import Message

if TYPE_CHECKING:
    from gischat.front.dispatch.job_queue import JobQueue

NOT_REPLAYED = frozenset({COUNT, HEARTBEAT, RESTORE})  # the recovery sends the current state instead


class CompletedJob(NamedTuple):
    """A message whose job has ended recently; `at` is the loop time of its end."""

    at: float
    queue: "JobQueue"
    message: Message


class ReplayBuffer:
    """Completed jobs, bounded in age and bytes."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._jobs: deque[CompletedJob] = deque()
        self._bytes = 0

    def record(self, job: CompletedJob) -> None:
        """Record a completed job, because Redis may lose it before every front has received it."""
        if job.message.type not in NOT_REPLAYED:
            self._jobs.append(job)
            self._bytes += len(job.message.body)
        while self._jobs and (self._jobs[0].at < job.at - self._seconds or self._bytes > self._max_bytes):
            self._bytes -= len(self._jobs.popleft().message.body)

    def take(self, channel: str, since: float) -> list[CompletedJob]:
        """Remove and return a channel's jobs completed since that time; after the replay they are recorded again."""
        replayed = [job for job in self._jobs if job.queue.channel == channel and job.at >= since]
        self._keep(lambda job: job.queue.channel != channel)
        return replayed

    def delete_messages(self, channel: str, ids: Container[str] | None) -> None:
        """Remove deleted messages (None: all of the channel), except for presence."""
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
