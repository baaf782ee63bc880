"""All that a worker asks of Redis."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

from gischat.broker.client import Redis
from gischat.broker.entries import Job, Outcome
from gischat.broker.keys import GROUP, ChannelKeys
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.resp_errors import RedisError, ResponseError
from gischat.broker.scripts import PRESENCE, Scripts
from gischat.broker.transport import Argument
from gischat.errors import Unavailable
from gischat.observability import metrics
from gischat.protocol.messages import Lane, author_of, content_digest, folded, new_id, server_message, uncompliant
from gischat.settings import Settings
from gischat.timings import Timings
from worker.effects import (
    Acknowledge,
    BodyMissing,
    Count,
    DeadLetter,
    Effect,
    Exit,
    FailureReason,
    Leave,
    Like,
    Publish,
    Refuse,
    Register,
    Restore,
)

NOT_YOURS = "This nickname is registered by somebody else."
REGISTRATION_LOST = "The server was cut off for a moment, and your nickname is not registered. Please try again."
ID_USED = "This id was used before, for another message: send it with a new id. It was not sent."
REGISTERED_BEFORE = "This id was used before, for a nickname that was given up since: send newcomer with a new id."


class Delivery(NamedTuple):
    """A job that this worker holds: delivered to it and not acknowledged yet."""

    channel: str
    lane: Lane
    entry: bytes
    deliveries: int
    job: Job


class ClaimFailure(IntEnum):
    """Why a job cannot be claimed."""

    CLAIMED = 0  # another worker has it
    ENDED = 1  # or Redis has lost it


class Gateway:
    """A worker's way to Redis: `redis` for what is answered at once, `reader` for the reads that wait."""

    def __init__(
        self,
        settings: Settings,
        lane: Lane,
        channels: Sequence[str],
        name: str,
        *,
        redis: Redis,
        reader: Redis,
        timings: Timings = Timings(),
    ) -> None:
        self.lane = lane
        self.channels = channels  # those that are not damaged
        self._all_channels = channels
        self._damage = LogThrottle("channels whose keys in redis are damaged are left alone", timings, patience=0.0)
        self._name = name
        self._redis = redis
        self._reader = reader
        self._scripts = Scripts(settings, timings)
        self._requires_registration = settings.require_registration
        self._keys = {channel: ChannelKeys(settings.instance_id, channel) for channel in channels}
        self._dead_letter_counters = {cause: metrics.JOBS_DEAD_LETTERED.labels(cause).inc for cause in FailureReason}
        self._inboxes = {keys.inbox(lane).encode(): channel for channel, keys in self._keys.items()}

    async def create_groups(self) -> None:
        """Makes the consumer groups that are not there: at the first start, and when Redis was flushed or replaced."""
        inboxes = [self._keys[channel].inbox(self.lane) for channel in self.channels]
        founded = [self._redis.call("XGROUP", "CREATE", inbox, GROUP, "0", "MKSTREAM", key=inbox) for inbox in inboxes]
        for answer in await asyncio.gather(*founded, return_exceptions=True):
            if isinstance(answer, ResponseError) and str(answer).startswith("BUSYGROUP"):
                continue
            if isinstance(answer, BaseException):
                raise answer

    async def exclude_damaged(self) -> None:
        """Leaves the channels alone that have a key of a wrong type: nothing is begun there that could not be ended."""
        types = [self._keys[channel].types for channel in self._all_channels]
        asked = [self._redis.run(self._scripts.find_damage, tuple(of), tuple(of.values())) for of in types]
        found = dict(zip(self._all_channels, await asyncio.gather(*asked), strict=True))
        self.channels = [channel for channel, keys in found.items() if not keys]
        damaged = [key.decode() for keys in found.values() for key in keys]
        if damaged:
            self._damage.report(TypeError(", ".join(damaged)))
        else:
            self._damage.resolve()

    async def load_scripts(self) -> None:
        """Makes the scripts known, so that none has to be sent behind a read that waits: see `commit`."""
        outbox = self._keys[self._all_channels[0]].outbox  # where one channel is, all are: they are read by one command
        texts = [script.text for script in self._scripts.all]
        await asyncio.gather(*(self._redis.call("SCRIPT", "LOAD", text, key=outbox) for text in texts))

    async def read(self, channels: Sequence[str], *, count: int, wait: float = 0) -> list[Delivery]:
        """New jobs of these channels, up to `count` of each; waits up to `wait` seconds for the first.

        Asked within the turn of the loop in which it is called, as `begin_read`.

        Raises:
            ConnectionError, Unavailable: jobs may have been delivered without an answer: see `own`.
            ResponseError: NOGROUP: see `create_groups`.
        """
        return await self._fetched(self.deliveries(await self.begin_read(channels, count=count, wait=wait)))

    def begin_read(self, channels: Sequence[str], *, count: int, wait: float = 0) -> "asyncio.Future[Any]":
        """Asks for what `read` returns; `held` makes it of the answer."""
        block: tuple[Argument, ...] = ("BLOCK", int(wait * 1000)) if wait else ()
        streams = [self._keys[channel].inbox(self.lane) for channel in channels]
        newest = [">"] * len(streams)
        return self._reader.call(
            "XREADGROUP",
            "GROUP",
            GROUP,
            self._name,
            "COUNT",
            count,
            *block,
            "STREAMS",
            *streams,
            *newest,
            key=streams[0],
        )

    async def claim(self, channel: str, entry: bytes) -> Delivery | ClaimFailure:
        """Takes a job that no worker holds; why not, if it cannot be had.

        Raises:
            ConnectionError, Unavailable: it may be this worker's without an answer: see `own`.
            ResponseError: NOGROUP: see `create_groups`.
        """
        keys = self._keys[channel].for_script(self.lane)
        found = await self._redis.run(self._scripts.claim, keys, (entry, self._name))
        if isinstance(found, int):
            return ClaimFailure(found)
        (held,) = await self._fetched([Delivery(channel, self.lane, entry, 1, Job.parse(found))])
        return held

    async def release(self, held: Delivery) -> None:
        """Gives a job back that was not begun: whoever claims it next has it."""
        keys = self._keys[held.channel].for_script(held.lane)
        await self._redis.run(self._scripts.release, keys, (held.entry, self._name))

    def deliveries(self, answer: Any) -> list[Delivery]:
        """The jobs in the answer to a read; of the heavy ones, some without their bodies."""
        return [
            Delivery(self._inboxes[stream], self.lane, entry, 1, Job.parse(fields))
            for stream, entries in answer or ()
            for entry, fields in entries
        ]

    async def claim_own(self, channel: str, count: int) -> list[Delivery]:
        """Jobs that were delivered to this worker (or its predecessor of the same name) and not done."""
        return await self._claim(channel, 0, count, "-", "+", count, self._name)

    async def claim_stale(self, channel: str, idle: float, count: int) -> list[Delivery]:
        """Jobs that some worker has held for longer than `idle` seconds; they are this worker's now."""
        milliseconds = int(idle * 1000)
        return await self._claim(channel, milliseconds, count, "IDLE", milliseconds, "-", "+", count)

    async def _claim(self, channel: str, idle: int, count: int, *which: Argument) -> list[Delivery]:
        inbox = self._keys[channel].inbox(self.lane)
        pending = await self._redis.call("XPENDING", inbox, GROUP, *which, key=inbox)
        if not pending:
            return []
        deliveries = {entry: times + 1 for entry, _, _, times in pending}
        claimed = await self._redis.call("XCLAIM", inbox, GROUP, self._name, idle, *deliveries, key=inbox)
        held = [
            Delivery(channel, self.lane, item[0], deliveries[item[0]], Job.parse(item[1]))
            for item in claimed
            if item is not None and item[1] is not None
        ]
        return await self._fetched(held)

    async def _fetched(self, held: Sequence[Delivery]) -> list[Delivery]:
        """The same jobs, with their bodies; one whose body is not there stays without."""
        return [one if one.job.is_complete else await self._fetch(one) for one in held]

    async def _fetch(self, held: Delivery) -> Delivery:
        """Brings the body as its front did, part by part: all others would wait for an answer that held all of it."""
        parts: list[bytes] = []
        for name in self._chunk_keys(held):
            part = await self._redis.call("GET", name, key=name)
            if part is None:
                return held
            parts.append(part)
        return held._replace(job=replace(held.job, body=b"".join(parts)))

    def _chunk_keys(self, held: Delivery) -> tuple[str, ...]:
        return self._keys[held.channel].chunks(str(held.job.source), held.job.chunks)

    async def delete_idle_consumers(self, channel: str, idle: float) -> int:
        """Removes the names of workers that hold no jobs and have not asked for any in so many seconds; how many."""
        keys = self._keys[channel].for_script(self.lane)
        return int(await self._redis.run(self._scripts.delete_idle_consumers, keys, (int(idle * 1000),)))

    async def renew_claim(self, held: Delivery) -> None:
        """Shows that a job is being worked on: its time with this worker counts from now."""
        inbox = self._keys[held.channel].inbox(held.lane)
        await self._redis.call("XCLAIM", inbox, GROUP, self._name, 0, held.entry, "JUSTID", key=inbox)

    async def answers(self) -> bool:
        """Whether Redis answers, over the connection that is not for reading jobs."""
        try:
            return bool(await self._redis.call("PING", key=self._keys[self._all_channels[0]].outbox))
        except (ConnectionError, Unavailable, RedisError):
            return False

    def commit(self, held: Delivery, effect: Effect, *, before_reading: bool = False) -> "asyncio.Future[int]":
        """Ends a job: acknowledges, publishes and stores in one step. 0 when another worker had ended it before.

        Args:
            before_reading: it goes over the connection that reads, together with the next read if that begins in the
                same turn of the loop. Then it is not sent again when that connection is lost: see `own`.
        """
        script, arguments = _COMMITS[type(effect)](held, effect)
        channel_keys = self._keys[held.channel]
        keys = channel_keys.for_presence() if script in PRESENCE else channel_keys.for_script(held.lane)
        if held.job.chunks:
            keys += self._chunk_keys(held)
        first: tuple[Argument, ...] = (held.entry, held.job.size, str(held.job.source))
        if self._requires_registration and isinstance(effect, Publish | Like):
            arguments += (uncompliant(NOT_YOURS), folded(author_of(held.job.body)))
        redis = self._reader if before_reading else self._redis
        ended = redis.run(getattr(self._scripts, script), keys, (*first, *arguments))
        if isinstance(effect, DeadLetter):
            ended.add_done_callback(partial(self._count_dead_letter, effect))
        return ended

    def _count_dead_letter(self, effect: DeadLetter, ended: "asyncio.Future[int]") -> None:
        if not ended.cancelled() and ended.exception() is None and ended.result():
            self._dead_letter_counters[effect.failure]()

    @property
    def connected_seconds(self) -> float:
        """How long this worker has been connected to Redis without a break."""
        return self._redis.connected_seconds

    async def expired_fronts(self, channel: str) -> list[str]:
        """Fronts that have not shown a sign of life for longer than their lease."""
        keys = self._keys[channel].for_script()
        return [front.decode() for front in await self._redis.run(self._scripts.dead_fronts, keys, ())]

    async def repair_nicknames(self, channel: str, lease: float, *, is_thorough: bool) -> bool:
        """Repairs who has which nickname where a key of a channel was lost; whether something was wrong."""
        arguments = (int(lease * 1000), int(is_thorough))
        return bool(
            await self._redis.run(self._scripts.repair_nicknames, self._keys[channel].for_presence(), arguments)
        )

    async def reap(self, channel: str, front: str) -> None:
        """Removes a dead front's connections and tells the channel."""
        await self._redis.run(self._scripts.reap, self._keys[channel].for_presence(), (front, _count_head()))


# Effect -> script, and its arguments behind entry, size and source

Commit = tuple[str, tuple[Argument, ...]]


def _message_of(held: Delivery) -> tuple[Argument, ...]:
    """Whose message it is, and what: by that a script sees whether it was published before."""
    return held.job.id, held.job.sender, content_digest(held.job.body)


def _publish(held: Delivery, effect: Publish) -> Commit:
    published = (Outcome.PUBLISHED, held.job.type, effect.body, int(effect.stored), effect.place)
    return "commit", (*_message_of(held), *published, uncompliant(ID_USED))


def _refuse(held: Delivery, effect: Refuse) -> Commit:
    return "commit", ("", "", "", Outcome.REFUSED, "uncompliant", uncompliant(effect.reason), 0, b"", b"")


def _body_missing(held: Delivery, effect: BodyMissing) -> Commit:
    return "body_missing", (held.job.id, held.job.sender, held.job.type, uncompliant(effect.user_message))


def _acknowledge(held: Delivery, effect: Acknowledge) -> Commit:
    return "commit", ("", "", "", Outcome.DONE, held.job.type, b"", 0, b"", b"")


def _register(held: Delivery, effect: Register) -> Commit:
    return "register", (
        *_message_of(held),
        held.job.source.front,
        held.job.client,
        folded(effect.nickname),
        effect.nickname,
        held.job.body,
        _taken(held, effect.nickname),
        uncompliant(REGISTERED_BEFORE),
        uncompliant(REGISTRATION_LOST),
    )


def _restore(held: Delivery, effect: Restore) -> Commit:
    taken = _taken(held, effect.nickname)
    return "restore", (held.job.id, held.job.source.front, folded(effect.nickname), effect.nickname, new_id(), taken)


def _exit(held: Delivery, effect: Exit) -> Commit:
    not_yours = uncompliant(f"You are not registered as '{effect.nickname}'.")
    return "exit", (*_message_of(held), folded(effect.nickname), held.job.body, not_yours, uncompliant(ID_USED))


def _leave(held: Delivery, effect: Leave) -> Commit:
    return "unregister", ()


def _like(held: Delivery, effect: Like) -> Commit:
    return "like", (*_message_of(held), folded(effect.nickname), held.job.body, uncompliant(ID_USED))


def _count(held: Delivery, effect: Count) -> Commit:
    return "set_user_count", (held.job.id, held.job.source.front, effect.connections, _count_head())


def _dead_letter(held: Delivery, effect: DeadLetter) -> Commit:
    return "dead_letter", (held.job.type, held.job.id, held.job.body, effect.reason, uncompliant(effect.user_message))


_COMMITS: dict[type[Effect], Callable[[Delivery, Any], Commit]] = {
    Publish: _publish,
    Refuse: _refuse,
    BodyMissing: _body_missing,
    Acknowledge: _acknowledge,
    Register: _register,
    Restore: _restore,
    Exit: _exit,
    Leave: _leave,
    Like: _like,
    Count: _count,
    DeadLetter: _dead_letter,
}


def _taken(held: Delivery, nickname: str) -> bytes:
    return uncompliant(f"User '{nickname}' already registered in channel {held.channel}")


def _count_head() -> bytes:
    """An `nb_users` up to its number, which only the script knows."""
    return server_message("nb_users", nb_users=0).removesuffix(b"0}")
