"""A channel's inboxes, one per lane: participants enqueue jobs and query their status.

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
from gischat.broker.damage import find_damage, find_damaged_extras
from gischat.broker.entries import Job
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import CHUNK_BYTES
from gischat.broker.upload_queue import UploadQueue
from gischat.protocol.messages import Lane

UPLOAD_ATTEMPTS = 3  # of a body, if its chunks expire before its job is enqueued


class EnqueueStatus(StrEnum):
    """The result of enqueueing a job."""

    ENQUEUED = "enqueued"  # now or earlier
    FULL = "full"
    STATE_LOST = "state_lost"  # Redis lost what this front had sent or received: recovery must come first
    FROZEN = "frozen"  # the channel is frozen
    BODY_INCOMPLETE = "body_incomplete"  # chunks of its body are missing; internal, `enqueue` never returns it
    ADDRESS_QUEUE_FULL = "address_queue_full"  # the client's address has too many bytes in the heavy lane
    DAMAGED = "damaged"  # a key of the channel is damaged: see `find_damage`


class EnqueueResult(NamedTuple):
    """The result of enqueueing, and the job's entry id in the inbox (empty if unknown)."""

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
    """The state of a job in flight."""

    MISSING = "missing"  # Redis lost it
    PENDING = "pending"  # in the inbox, held by a worker or not
    PUBLISHED = "published"
    CANCELLED = "cancelled"  # not published, and never will be
    STATE_LOST = "state_lost"  # see `EnqueueStatus`


class JobStatus(NamedTuple):
    """A job's state, and the offset of the newest readable publication: the job's result does not come after it."""

    state: JobState
    offset: int


class Backlog(NamedTuple):
    """The jobs that wait in one channel and lane, and the channel's dead letters."""

    channel: str
    lane: Lane
    jobs: int
    size: int  # bytes
    age: float  # seconds since the oldest was enqueued; 0 if there is none
    dead_letters: int  # of the channel, over all lanes
    idle: float  # seconds since any worker took a job or renewed a claim; infinite if none ever did


class Inbox:
    """The inboxes of an instance, for one participant that enqueues jobs; `front` is its id."""

    def __init__(self, namespace: Namespace, front: str, redis: Redis, heavy: Redis) -> None:
        self._namespace = namespace
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
        """Put a job into its inbox.

        The returned future fails with `Unavailable` if Redis is out of reach, with `RedisError` if Redis answers with
        an error, and with `ConnectionLost` if the job may have been enqueued: the caller then repeats the call with
        `again`.

        Args:
            last_offset: the offset of the channel's last publication that this front has received.
            preceding: the id of the connection's previous message, if it was published recently; empty otherwise. It
                reveals a loss in Redis also if the publications since then have exceeded `last_offset` again.
            again: the job was enqueued before and may have been lost; a freeze does not apply to it.
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
        # Not resent: the second answer (full, frozen, an error) would not tell what happened to the first attempt.
        return self._lanes[lane].run(
            self._scripts.enqueue, (*keys, *chunk_keys), arguments, resends=False, decode=EnqueueResult.decode
        )

    async def _enqueue_in_chunks(
        self, channel: str, lane: Lane, job: Job, last_offset: int, preceding: str, again: bool
    ) -> EnqueueResult:
        """Upload the body in chunks, then enqueue: neither this process nor Redis handles the whole body at once."""
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
        # NX: an existing chunk has the same content, and must not expire if its job has been enqueued.
        try:
            await self._lanes[lane].call("SET", key, chunk, "NX", "PX", self._chunk_milliseconds, key=key)
        except InDoubt as error:
            raise ResponseError(str(error)) from None  # in doubt is the chunk alone: the job was not enqueued

    async def job_status(
        self, channel: str, lane: Lane, job: Job, entry_id: bytes, last_offset: int, cancels_to: int | None = None
    ) -> JobStatus:
        """Query the state of a job that was enqueued.

        Args:
            entry_id: of the job in the inbox; empty if unknown.
            last_offset: see `enqueue`.
            cancels_to: cancel a missing job, if this is still the offset of the newest publication; None: never cancel.
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
        """The backlogs of all channels of the instance in these lanes."""
        pending = {
            (channel, lane): self._redis.run(self._scripts.backlog, keys.for_script(lane), ())
            for (channel, keys), lane in itertools.product(self._keys.items(), lanes)
        }
        answers = await asyncio.gather(*pending.values())
        return [
            Backlog(channel, lane, jobs, size, age / 1000, dead_letters, math.inf if idle is None else idle / 1000)
            for (channel, lane), (jobs, size, age, dead_letters, idle) in zip(pending, answers, strict=True)
        ]

    async def find_damage(self, channels: Iterable[str]) -> dict[str, list[str]]:
        """See `gischat.broker.damage.find_damage`."""
        return await find_damage(self._redis, self._namespace, channels)

    async def find_damaged_extras(self) -> list[str]:
        """See `gischat.broker.damage.find_damaged_extras`."""
        return await find_damaged_extras(self._redis, self._namespace)
