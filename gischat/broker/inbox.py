"""A channel's inboxes, one for each lane: participants enqueue jobs, and ask what has become of them.

Workers read them: see `gischat.broker.inbox_consumer`.
"""

import asyncio
import itertools
import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple, Self

from gischat.broker.client import InDoubt, Redis
from gischat.broker.entries import Job
from gischat.broker.keys import ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import CHUNK_BYTES, Scripts
from gischat.broker.upload_queue import UploadQueue
from gischat.protocol.messages import Lane

UPLOAD_ATTEMPTS = 3  # to bring a body, if it expires before its job is enqueued


class EnqueueStatus(StrEnum):
    """What comes of putting a job into its inbox."""

    ENQUEUED = "enqueued"  # now, or before
    FULL = "full"
    STATE_LOST = "state_lost"  # Redis has lost what this front has said or heard: that has to be said again first
    FROZEN = "frozen"  # the channel is
    BODY_INCOMPLETE = "body_incomplete"  # chunks of its body are missing: nobody outside of this module is told so
    ADDRESS_QUEUE_FULL = "address_queue_full"  # too much of its client's address waits in the heavy lane
    DAMAGED = "damaged"  # a key of the channel is: see `find_damage`


class EnqueueResult(NamedTuple):
    """… and the id of the job's entry in the inbox, empty where that is not known."""

    status: EnqueueStatus
    entry_id: bytes = b""

    @property
    def is_enqueued(self) -> bool:
        return self.status is EnqueueStatus.ENQUEUED

    @classmethod
    def decode(cls, answer: bytes) -> Self:
        if answer[:1].isdigit():
            return cls(EnqueueStatus.ENQUEUED, answer)
        return cls(EnqueueStatus(answer.decode()))


class JobState(StrEnum):
    """What has become of a job that is in flight."""

    MISSING = "missing"  # nothing: it is lost
    PENDING = "pending"  # it is in the inbox, whether a worker has it or not
    PUBLISHED = "published"
    CANCELLED = "cancelled"  # it is not published, and will not be
    STATE_LOST = "state_lost"  # as above


class JobStatus(NamedTuple):
    """What Redis knows of a job, and the offset of the newest publication that can be heard: its end comes no later."""

    state: JobState
    offset: int


class Backlog(NamedTuple):
    """What waits for the workers of a lane, in one channel; and what they could not do."""

    channel: str
    lane: Lane
    jobs: int
    size: int  # bytes
    age: float  # seconds since the oldest came; 0 when nothing waits
    dead_letters: int  # of the channel, whatever their lane
    idle: float  # seconds since a worker took one of them or showed that it works on one; infinite if none ever did


class Inbox:
    """The inboxes of an instance, for the participant `front`, which enqueues."""

    def __init__(self, namespace: Namespace, front: str, redis: Redis, heavy: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._chunk_milliseconds = int(namespace.timings.body_chunk * 1000)
        self._front = front
        self._redis = redis
        self._lanes = {lane: heavy if lane.is_sandboxed else redis for lane in Lane}
        self.uploads = UploadQueue()

    def enqueue(
        self, channel: str, lane: Lane, job: Job, last_offset: int, preceding: str = "", *, again: bool = False
    ) -> "asyncio.Future[EnqueueResult]":
        """Puts a job into its inbox.

        The future fails with `Unavailable` when Redis is out of reach, with `RedisError` when it answers that, with
        `ConnectionLost` when the job may have been enqueued: to be asked for `again`, until it is known.

        Args:
            last_offset: the offset of the last publication in the channel that this front has heard.
            preceding: the id of what the same connection said before, if it was published lately. A Redis that has lost
                it may have counted past `last_offset` since.
            again: it was enqueued before, and is once more, for it may have been lost: a freeze comes too late.
        """
        if not lane.is_sandboxed:
            return self._enqueue(channel, lane, job, job.body, last_offset, preceding, again)
        upload = partial(self._enqueue_in_chunks, channel, lane, job, last_offset, preceding, again)
        if job.size > CHUNK_BYTES:
            return self.uploads.submit(job.client, job.size, upload)
        return self.uploads.submit_small(upload)

    def _enqueue(
        self,
        channel: str,
        lane: Lane,
        job: Job,
        body: bytes,
        last_offset: int,
        preceding: str,
        again: bool,
        chunk_keys: Sequence[str] = (),
    ) -> "asyncio.Future[EnqueueResult]":
        keys = self._keys[channel].for_script(lane)
        arguments = (
            self._front,
            last_offset,
            preceding,
            int(again),
            str(job.source),
            job.type,
            job.id,
            body,
            job.size,
            job.client,
            job.sender,
        )
        # Asked again by itself, a second answer (full, frozen, an error) would not tell what became of the first.
        return self._lanes[lane].run(
            self._scripts.enqueue, (*keys, *chunk_keys), arguments, resends=False, decode=EnqueueResult.decode
        )

    async def _enqueue_in_chunks(
        self, channel: str, lane: Lane, job: Job, last_offset: int, preceding: str, again: bool
    ) -> EnqueueResult:
        """Brings the body chunk by chunk: neither this process nor Redis has all of it in hand at once."""
        starts = range(0, job.size, CHUNK_BYTES)
        chunk_keys = self._keys[channel].chunks(str(job.source), len(starts))
        for attempt in range(UPLOAD_ATTEMPTS):
            if attempt or not again:
                for key, start in zip(chunk_keys, starts, strict=True):
                    await self._upload(lane, key, job.body[start : start + CHUNK_BYTES])
            result = await self._enqueue(channel, lane, job, b"", last_offset, preceding, again, chunk_keys)
            if result.status is not EnqueueStatus.BODY_INCOMPLETE:
                return result
        return EnqueueResult(EnqueueStatus.FULL)

    async def _upload(self, lane: Lane, key: str, chunk: bytes) -> None:
        # What is there is the same; if its job has been enqueued, it must not expire.
        try:
            await self._lanes[lane].call("SET", key, chunk, "NX", "PX", self._chunk_milliseconds, key=key)
        except InDoubt as error:
            raise ResponseError(str(error)) from None  # whatever is there: the job was not enqueued

    async def job_status(
        self, channel: str, lane: Lane, job: Job, entry_id: bytes, last_offset: int, cancels_to: int | None = None
    ) -> JobStatus:
        """What has become of a job that was enqueued; `entry_id` is empty where it is not known.

        Args:
            last_offset: see `enqueue`.
            cancels_to: where nothing has become of it, nothing shall any more, if that is the newest publication.
        """
        keys = self._keys[channel].for_script(lane)
        if lane.is_sandboxed:
            keys += self._keys[channel].chunks(str(job.source), -(-job.size // CHUNK_BYTES))
        arguments = (
            self._front,
            last_offset,
            -1 if cancels_to is None else cancels_to,
            entry_id,
            str(job.source),
            job.id,
            job.sender,
            job.size,
        )
        state, offset = await self._lanes[lane].run(self._scripts.job_status, keys, arguments)
        return JobStatus(JobState(state.decode()), offset)

    async def backlogs(self, lanes: Iterable[Lane] = Lane) -> list[Backlog]:
        """What waits, in every channel of the instance and each of these lanes."""
        asked = {
            (channel, lane): self._redis.run(self._scripts.backlog, keys.for_script(lane), ())
            for (channel, keys), lane in itertools.product(self._keys.items(), lanes)
        }
        answers = await asyncio.gather(*asked.values())
        return [
            Backlog(channel, lane, jobs, size, age / 1000, dead_letters, math.inf if idle is None else idle / 1000)
            for (channel, lane), (jobs, size, age, dead_letters, idle) in zip(asked, answers, strict=True)
        ]

    async def find_damage(self, channel: str) -> list[str]:
        """The channel's keys that hold something of a wrong type: nothing can be done in it until an operator acts."""
        return await find_damage(self._redis, self._scripts, self._keys[channel])


async def find_damage(redis: Redis, scripts: Scripts, keys: ChannelKeys) -> list[str]:
    """A channel's keys that hold something of a wrong type."""
    found = await redis.run(scripts.find_damage, tuple(keys.types), tuple(keys.types.values()))
    return [key.decode() for key in found]
