"""A lane's inboxes, read by one consumer of the workers' consumer group: read, claim and release jobs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from gischat.broker.client import Redis
from gischat.broker.damage import DamageWatch, find_damage
from gischat.broker.entries import Job
from gischat.broker.keys import GROUP, ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import RedisError, ResponseError
from gischat.broker.transport import Argument
from gischat.errors import Unavailable
from gischat.protocol.messages import Lane

WRONG = (1,) * 5  # in a channel where no sweep succeeds: all has to be looked at


class Delivery(NamedTuple):
    """A job delivered to this worker and not acknowledged yet."""

    channel: str
    lane: Lane
    entry: bytes
    deliveries: int
    job: Job


class Work(NamedTuple):
    """What a worker has to do in a channel besides new jobs."""

    is_stale: bool  # a worker has held a job for too long
    has_expired: bool  # a front's lease
    has_people: bool  # connections or nicknames
    differs: bool  # the keys of nicknames, in size
    is_broken: bool  # a key seems to be damaged


class ClaimFailure(StrEnum):
    """Why a job could not be claimed."""

    CLAIMED = "claimed"  # another worker holds it
    ENDED = "ended"  # it has ended, or Redis has lost it


class InboxConsumer:
    """A lane's inboxes, for one worker; blocking reads use the connection `reader`, all else `redis`."""

    def __init__(
        self, namespace: Namespace, lane: Lane, channels: Sequence[str], name: str, *, redis: Redis, reader: Redis
    ) -> None:
        self.lane = lane
        self._namespace = namespace
        self._all_channels = channels
        self.damage = DamageWatch(
            partial(find_damage, redis, namespace),
            channels,
            "channels whose keys in redis are damaged are left alone",
            namespace.timings,
        )
        self._name = name
        self._redis = redis
        self._reader = reader
        self._scripts = namespace.scripts
        self._keys: Mapping[str, ChannelKeys] = namespace.keys
        self._inboxes = {self._keys[channel].inbox(lane).encode(): channel for channel in channels}

    async def create_groups(self) -> None:
        """Create missing consumer groups: at the first start, and after Redis was flushed or replaced."""
        inboxes = [self._keys[channel].inbox(self.lane) for channel in self.channels]
        created = [self._redis.call("XGROUP", "CREATE", inbox, GROUP, "0", "MKSTREAM", key=inbox) for inbox in inboxes]
        for answer in await asyncio.gather(*created, return_exceptions=True):
            if isinstance(answer, ResponseError) and str(answer).startswith("BUSYGROUP"):
                continue
            if isinstance(answer, BaseException):
                raise answer

    @property
    def channels(self) -> Sequence[str]:
        """The channels without damaged ones, whose jobs could be started, but not committed."""
        if not self.damage.damaged:
            return self._all_channels
        return [channel for channel in self._all_channels if channel not in self.damage.damaged]

    async def sweep(self, idle: float) -> dict[str, Work]:
        """Look for work in all channels, except damaged ones; a job is stale after `idle` seconds."""
        found = await self._namespace.run_batched(
            self._redis,
            self._scripts.sweep,
            self._all_channels,
            lambda keys: keys.for_presence(self.lane),
            (int(idle * 1000), int(self.lane.is_sandboxed)),
        )
        work = {channel: Work(*map(bool, flags or WRONG)) for channel, flags in found.items()}
        await self.damage.check(channel for channel, one in work.items() if one.is_broken)
        return {channel: work[channel] for channel in self.channels}

    async def load_scripts(self) -> None:
        """Load the scripts into Redis, so that none has to be sent whole while a read blocks the connection."""
        outbox = self._keys[self._all_channels[0]].outbox  # in a cluster a process has one channel, so one node
        texts = [script.text for script in self._scripts.all]
        await asyncio.gather(*(self._redis.call("SCRIPT", "LOAD", text, key=outbox) for text in texts))

    async def read(self, channels: Sequence[str], *, count: int, wait: float = 0) -> list[Delivery]:
        """Read new jobs of these channels, up to `count` of each; wait up to `wait` seconds for the first.

        Raises:
            ConnectionError, Unavailable: jobs may have been delivered without an answer: see `claim_own`.
            ResponseError: NOGROUP: see `create_groups`.
        """
        return await self._with_bodies(self.deliveries(await self.begin_read(channels, count=count, wait=wait)))

    def begin_read(self, channels: Sequence[str], *, count: int, wait: float = 0) -> "asyncio.Future[Any]":
        """Start `read`, within this turn of the loop; `deliveries` decodes the answer."""
        block: tuple[Argument, ...] = ("BLOCK", int(wait * 1000)) if wait else ()
        streams = [self._keys[channel].inbox(self.lane) for channel in channels]
        group = ("GROUP", GROUP, self._name, "COUNT", count)
        newest = [">"] * len(streams)
        return self._reader.call("XREADGROUP", *group, *block, "STREAMS", *streams, *newest, key=streams[0])

    def deliveries(self, answer: Any) -> list[Delivery]:
        """Decode the answer of a read; jobs whose bodies are in chunks come without them."""
        return [
            Delivery(self._inboxes[stream], self.lane, entry, 1, Job.parse(fields))
            for stream, entries in answer or ()
            for entry, fields in entries
        ]

    async def claim(self, channel: str, entry: bytes) -> Delivery | ClaimFailure:
        """Claim a job that no worker holds; returns why not, if that is impossible.

        Raises:
            ConnectionError, Unavailable: the job may have been claimed without an answer: see `claim_own`.
            ResponseError: NOGROUP: see `create_groups`.
        """
        keys = self._keys[channel].for_script(self.lane)
        found = await self._redis.run(self._scripts.claim, keys, (entry, self._name))
        if isinstance(found, bytes):
            return ClaimFailure(found.decode())
        return await self._with_body(Delivery(channel, self.lane, entry, 1, Job.parse(found)))

    async def release(self, delivery: Delivery) -> bool:
        """Release a job that was not started, for another worker to claim; False if this worker did not hold it."""
        keys = self._keys[delivery.channel].for_script(delivery.lane)
        return bool(await self._redis.run(self._scripts.release, keys, (delivery.entry, self._name)))

    async def claim_own(self, channel: str, count: int) -> list[Delivery]:
        """Claim again up to `count` jobs that this worker, or its predecessor of the same name, has not ended."""
        return await self._claim(channel, 0, count, "-", "+", count, self._name)

    async def claim_stale(self, channel: str, idle: float, count: int) -> list[Delivery]:
        """Claim up to `count` jobs that a worker has held for longer than `idle` seconds."""
        milliseconds = int(idle * 1000)
        return await self._claim(channel, milliseconds, count, "IDLE", milliseconds, "-", "+", count)

    async def _claim(self, channel: str, idle: int, count: int, *which: Argument) -> list[Delivery]:
        inbox = self._keys[channel].inbox(self.lane)
        pending = await self._redis.call("XPENDING", inbox, GROUP, *which, key=inbox)
        if not pending:
            return []
        deliveries = {entry: times + 1 for entry, _, _, times in pending}
        claimed = await self._redis.call("XCLAIM", inbox, GROUP, self._name, idle, *deliveries, key=inbox)
        return await self._with_bodies(
            [
                Delivery(channel, self.lane, item[0], deliveries[item[0]], Job.parse(item[1]))
                for item in claimed
                if item is not None and item[1] is not None
            ]
        )

    async def _with_bodies(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Fetch the jobs' bodies; a missing one stays empty."""
        return [await self._with_body(one) for one in deliveries]

    async def _with_body(self, delivery: Delivery) -> Delivery:
        """Fetch the body chunk by chunk: other commands would wait for an answer that contained all of it."""
        if delivery.job.is_complete:
            return delivery
        chunks: list[bytes] = []
        for key in self._keys[delivery.channel].chunks(str(delivery.job.source), delivery.job.chunks):
            chunk = await self._redis.call("GET", key, key=key)
            if chunk is None:
                return delivery
            chunks.append(chunk)
        return delivery._replace(job=replace(delivery.job, body=b"".join(chunks)))

    async def renew_claim(self, delivery: Delivery) -> None:
        """Show that a job is being processed: reset its idle time."""
        inbox = self._keys[delivery.channel].inbox(delivery.lane)
        await self._redis.call("XCLAIM", inbox, GROUP, self._name, 0, delivery.entry, "JUSTID", key=inbox)

    async def delete_idle_consumers(self, channel: str, idle: float) -> int:
        """Delete consumers without jobs that have read nothing for `idle` seconds; returns their number."""
        keys = self._keys[channel].for_script(self.lane)
        return int(await self._redis.run(self._scripts.delete_idle_consumers, keys, (int(idle * 1000),)))

    async def answers(self) -> bool:
        """Whether Redis answers, on the connection that is not for blocking reads."""
        try:
            return bool(await self._redis.call("PING", key=self._keys[self._all_channels[0]].outbox))
        except (ConnectionError, Unavailable, RedisError):
            return False

    @property
    def connected_seconds(self) -> float:
        """Seconds since this worker connected to Redis; 0 while disconnected."""
        return self._redis.connected_seconds
