"""All that a front asks of Redis."""

import asyncio
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec

from gischat.broker.access_keys import AccessKey
from gischat.broker.client import TOO_BUSY, ConnectionLost, InDoubt, Redis
from gischat.broker.entries import Job, Publication
from gischat.broker.keys import ChannelKeys
from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import CHUNK_BYTES, Script, Scripts
from gischat.broker.transport import Argument
from gischat.errors import Unavailable
from gischat.front.auth.bans import Ban, Freeze, ModerationState
from gischat.front.dispatch.upload_queue import UploadQueue
from gischat.front.transport.frames import text_frame
from gischat.identity import identity, is_gone
from gischat.protocol.messages import Lane, folded, id_of
from gischat.settings import Settings
from gischat.timings import Timings

# What comes of putting a job into its inbox.
TAKEN = 1  # or the place of its entry, in bytes
FULL = 0
FORGOTTEN = -1  # Redis has lost what this front has said or heard before: that has to be said again first
FROZEN = -2  # the channel is
INCOMPLETE = -3  # its body is kept apart, and not all of it is there: nobody outside of this module is told so
CROWDED = -4  # too much of its address waits in the heavy lane
DAMAGED = -5  # a key of the channel is: see `Gateway.damage`


class JobState(IntEnum):
    """What has become of a job that is in flight."""

    MISSING = 0  # nothing: it is lost
    PENDING = 1  # it is in the inbox, whether a worker has it or not
    PUBLISHED = 2
    CANCELLED = 3  # it is not published, and will not be
    STATE_LOST = -1  # as above


class JobStatus(NamedTuple):
    """What Redis knows of a job, and the number of the newest publication that can be heard: its end comes no later."""

    state: JobState
    offset: int


UPLOAD_ATTEMPTS = 3  # to bring a body, if it expires before its job is taken

# A page of what is retained: some entries, then so many as will have about so many bytes.
FIRST_PAGE, PAGE_ENTRIES, PAGE_BYTES = 20, 200, 2**18

READ_ENTRIES = 256  # of one channel, at the most, in one read


@dataclass(frozen=True)
class Snapshot:
    """What a joiner is told first, as it was when the channel had seen `published` publications."""

    offset: int
    history: Sequence[bytes]

    @cached_property
    def ids(self) -> Sequence[bytes]:
        """Of the messages: looked at for each who joins."""
        return [id_of(body) for body in self.history]

    @cached_property
    def frames(self) -> bytes:
        """All messages, as they go over the wire: made once for all who join together."""
        return b"".join(map(text_frame, self.history))


class Renewal(NamedTuple):
    """What Redis says to a front that shows that it is alive."""

    was_known: bool  # if not, it has lost what the front had told it
    offset: int  # how many publications the channel has seen
    had_expired: bool = False  # its lease had run out: meanwhile it did not count
    connections: int = 0  # that the front has, as Redis knows
    nicknames: int = 0  # so


class Backlog(NamedTuple):
    """What waits for the workers of a lane, in one channel; and what they could not do."""

    channel: str
    lane: Lane
    jobs: int
    size: int  # bytes
    age: float  # seconds since the oldest came; 0 when nothing waits
    dead_letters: int  # of the channel, whatever their lane
    idle: float  # seconds since a worker took one of them or showed that it works on one; infinite if none ever did


class Entry(NamedTuple):
    """A publication and its place in the outbox, which is made of its time."""

    id: bytes
    publication: Publication
    age: float = 0.0  # seconds, where it was asked for


class Tail(NamedTuple):
    """Where a front begins that has heard nothing yet."""

    newest: Entry | None
    ids: dict[bytes, float]  # of the messages published lately, oldest first, each with its age in seconds
    intact: float  # seconds for which Redis is not known to have lost anything


def _age(place: bytes, now: int) -> float:
    return max(now - int(place.partition(b"-")[0]), 0) / 1000


def _entry_and_place(held: bytes) -> tuple[tuple[int, ...], bytes]:
    """The place of a message's entry in the outbox, by which messages are in order, and its place on the map."""
    entry, _, place = held.partition(b" ")
    return tuple(map(int, entry.split(b"-"))), place


class OutboxReader:
    """Reads the outboxes of some channels over a connection of its own, for a read waits."""

    def __init__(self, settings: Settings, channels: Sequence[str], redis: Redis, timings: Timings = Timings()) -> None:
        self.channels = channels
        self._wait = int(timings.outbox_read * 1000)
        self._redis = redis
        self._keys = {channel: ChannelKeys(settings.instance_id, channel).outbox for channel in channels}
        self._channels = {key.encode(): channel for channel, key in self._keys.items()}

    async def read(self, positions: Mapping[str, bytes]) -> list[tuple[str, list[Entry]]]:
        """What was published after the given places, there; waits for it, empty when nothing came for a while.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read; ask again for the same.
        """
        channels = [channel for channel in self.channels if channel in positions]
        keys = [self._keys[channel] for channel in channels]
        after = [positions[channel] for channel in channels]
        answer = await self._redis.call(
            "XREAD", "COUNT", READ_ENTRIES, "BLOCK", self._wait, "STREAMS", *keys, *after, key=keys[0]
        )
        return [
            (self._channels[stream], [Entry(id, Publication.parse(fields)) for id, fields in entries])
            for stream, entries in answer or ()
        ]

    def reconnect(self) -> None:
        """Ends the connection; a new one is made at once."""
        self._redis.disconnect()


class Gateway:
    """A front's way to Redis, for all that is answered at once."""

    def __init__(
        self,
        settings: Settings,
        front: str,
        redis: Redis,
        heavy: Redis,
        histories: Redis,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            redis: the connection for messages and signs of life.
            heavy: one for pictures and layers, so that no text waits behind their megabytes.
            histories: one for what may be large, so that no message waits behind it.
        """
        self.front = front
        self._redis = redis
        self._lanes = {Lane.LIGHT: redis, Lane.HEAVY: heavy}
        self._histories = histories
        self.uploads = UploadQueue(settings.max_front_bytes)
        self._scripts = Scripts(settings, timings)
        self._timings = timings
        self._process = identity()
        self._keys = {channel: ChannelKeys(settings.instance_id, channel) for channel in settings.channels}

    def enqueue(
        self, channel: str, lane: Lane, job: Job, last_offset: int, preceding: str = "", *, again: bool = False
    ) -> "asyncio.Future[int | bytes]":
        """Puts a job into its inbox; the future has one of the answers above.

        It fails with `Unavailable` when Redis is out of reach, with `RedisError` when it answers that, with
        `ConnectionLost` when the
        job may have been taken: to be asked for `again`, until it is known.

        Args:
            heard: the number of the last publication in the channel that this front has heard.
            preceding: the id of what the same connection said before, if it was published lately. A Redis that has lost
                it may have counted past `last_offset` since.
            again: it was taken before, and is put there once more, for it may have been lost: a freeze comes too late.
        """
        if lane is Lane.HEAVY:
            bring = partial(self._enqueue_in_chunks, channel, job, last_offset, preceding, again)
            return (
                self.uploads.submit(job.client, job.size, bring)
                if job.size > CHUNK_BYTES
                else self.uploads.submit_small(bring)
            )
        keys = self._keys[channel].for_script(lane)
        return self._run_enqueue(lane, keys, job, job.body, last_offset, preceding, again)

    def _run_enqueue(
        self, lane: Lane, keys: Sequence[str], job: Job, body: bytes, last_offset: int, preceding: str, again: bool
    ) -> "asyncio.Future[int | bytes]":
        arguments = (
            self.front,
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
        return self._lanes[lane].run(self._scripts.enqueue, keys, arguments, resends=False)

    async def _enqueue_in_chunks(
        self, channel: str, job: Job, last_offset: int, preceding: str, again: bool
    ) -> int | bytes:
        """Brings the body part by part: neither this process nor Redis has all of it in hand at once."""
        keys, redis = self._keys[channel], self._lanes[Lane.HEAVY]
        places = range(0, job.size, CHUNK_BYTES)
        parts = keys.chunks(str(job.source), len(places))
        for attempt in range(UPLOAD_ATTEMPTS):
            if attempt or not again:
                for part, place in zip(parts, places, strict=True):
                    # What is there is the same; if its job has been taken, it must not expire.
                    chunk = job.body[place : place + CHUNK_BYTES]
                    try:
                        await redis.call("SET", part, chunk, "NX", "PX", int(self._timings.body_chunk * 1000), key=part)
                    except InDoubt as error:
                        raise ResponseError(str(error)) from None  # whatever is there: the job was not taken
            for_script = (*keys.for_script(Lane.HEAVY), *parts)
            answer = await self._run_enqueue(Lane.HEAVY, for_script, job, b"", last_offset, preceding, again)
            if answer != INCOMPLETE:
                return answer
        return FULL

    async def job_status(
        self, channel: str, lane: Lane, job: Job, place: bytes, heard: int, cancels_to: int | None = None
    ) -> JobStatus:
        """What has become of a job that was taken; `place` is empty where it is not known.

        Args:
            heard: see `enqueue`.
            cancels_to: where nothing has become of it, nothing shall any more, if that is the newest publication.
        """
        keys = self._keys[channel]
        names = keys.for_script(lane)
        if lane is Lane.HEAVY:
            names += keys.chunks(str(job.source), -(-job.size // CHUNK_BYTES))
        what = (place, str(job.source), job.id, job.sender, job.size)
        arguments = (self.front, heard, -1 if cancels_to is None else cancels_to, *what)
        state, published = await self._lanes[lane].run(self._scripts.job_status, names, arguments)
        return JobStatus(JobState(state), published)

    async def find_damage(self, channel: str) -> list[str]:
        """The channel's keys that hold something of a wrong type: nothing can be done in it until an operator acts."""
        types = self._keys[channel].types
        found = await self._redis.run(self._scripts.find_damage, tuple(types), tuple(types.values()))
        return [key.decode() for key in found]

    async def snapshot(self, channel: str) -> Snapshot:
        """The stored messages."""
        published, history = await self._read(self._scripts.snapshot, channel)
        return Snapshot(published, history)

    async def message(self, channel: str, id: str) -> bytes | None:
        """A stored message; None where it is not stored (any more)."""
        keys = self._keys[channel].for_script()
        found: bytes | None = await self._answered(self._histories.run(self._scripts.message, keys, (id,)))
        return found

    async def places(self, channel: str) -> list[bytes]:
        """Where the stored messages are, oldest first, as `gischat.protocol.places` encodes it."""
        key = self._keys[channel].places
        held = await self._answered(self._histories.call("HGETALL", key, key=key))
        return [place for _, place in sorted(map(_entry_and_place, held[1::2]))]

    async def place(self, channel: str, id: str) -> bytes | None:
        """Where a stored message is; None where it has no place, or is not stored (any more)."""
        key = self._keys[channel].places
        held = await self._answered(self._histories.call("HGET", key, id, key=key))
        return None if held is None else _entry_and_place(held)[1]

    async def retained(self, channel: str, up_to: int, max_bytes: int) -> list[Entry]:
        """The publications that Redis retains up to that number, oldest first: what can be told those that come back.

        Those that were withdrawn have no body. Read from the newest on, in pages, until there are so many bytes; who
        asks Redis for something else meanwhile waits for one page at the most.
        """
        now, oldest, withdrawn_to, withdrawn = await self._read(self._scripts.retained, channel)
        outbox, gone = self._keys[channel].outbox, frozenset(withdrawn)
        found: list[Entry] = []
        newest, count, size = b"+", FIRST_PAGE, 0
        while size <= max_bytes:
            page = await self._answered(
                self._histories.call("XREVRANGE", outbox, newest, oldest, "COUNT", count, key=outbox)
            )
            entries = [Entry(id, Publication.parse(fields), _age(id, now)) for id, fields in page]
            for entry in entries:
                publication = entry.publication
                if publication.offset <= withdrawn_to or publication.id in gone:
                    entry = entry._replace(publication=replace(publication, body=b""))
                if publication.offset <= up_to:
                    found.append(entry)
                    size += len(entry.publication.body)
            if len(page) < count:
                break
            newest = b"(" + page[-1][0]
            mean = sum(len(entry.publication.body) for entry in entries) / count
            count = min(max(int(PAGE_BYTES / (mean + 1)), 1), PAGE_ENTRIES)
        return found[::-1]

    async def _read(self, script: Script, channel: str) -> Any:
        return await self._answered(self._histories.run(script, self._keys[channel].for_moderation(), ()))

    async def _answered(self, answer: "asyncio.Future[Any]") -> Any:
        try:
            return await answer
        except ConnectionLost:
            # Not asked again by itself: nobody may be waiting for it any more.
            raise Unavailable(TOO_BUSY) from None

    async def last_entry(self, channel: str) -> Entry | None:
        """The newest publication; what is published later comes after it."""
        outbox = self._keys[channel].outbox
        newest = await self._redis.call("XREVRANGE", outbox, "+", "-", "COUNT", 1, key=outbox)
        return Entry(newest[0][0], Publication.parse(newest[0][1])) if newest else None

    async def newest_entry_ids(self, channel: str, number: int) -> list[bytes]:
        """The places of the newest publications in the outbox, so many at the most, newest first."""
        outbox = self._keys[channel].outbox
        newest = await self._histories.call("XREVRANGE", outbox, "+", "-", "COUNT", number, key=outbox)
        return [id for id, _ in newest]

    async def tail(self, channel: str, number: int) -> Tail:
        """The newest publication, and the ids of the messages published lately, so many at the most, oldest first, each
        with its age in seconds (infinite for what is only stored), and for how many seconds Redis has not been known to
        lose anything; all at the same moment."""
        keys = self._keys[channel].for_script()
        newest, scored, now, stored, lost_at = await self._redis.run(self._scripts.tail, keys, (number,))
        ages = {id: max(now - float(at), 0) / 1000 for id, at in zip(scored[::2], scored[1::2], strict=True)}
        ages |= dict.fromkeys((id for id in map(id_of, stored) if id not in ages), math.inf)
        entry = Entry(newest[0], Publication.parse(newest[1])) if newest else None
        return Tail(entry, ages, (now - int(lost_at)) / 1000)

    async def renew_lease(self, channel: str, lease: float, *, is_forgotten: bool = False) -> Renewal:
        """Shows that this front is alive, for `lease` seconds.

        Args:
            is_forgotten: Redis has lost what this front has said or heard; it says it again now.
        """
        arguments = (self.front, int(lease * 1000), int(is_forgotten), self._process)
        answer = await self._redis.run(self._scripts.renew_lease, self._keys[channel].for_presence(), arguments)
        known, published, had_lapsed, connections, nicknames = answer
        return Renewal(bool(known), published, bool(had_lapsed), connections, nicknames)

    async def release_lease(self, channel: str) -> None:
        """Ends this front's lease: it has told that all of its connections are gone."""
        await self._redis.run(self._scripts.release_lease, self._keys[channel].for_presence(), (self.front,))

    async def release_leases_of_dead_fronts(self, channel: str) -> int:
        """Ends the leases of fronts that ran on this machine and run no more; returns how many there were.

        Their nicknames are free from then on, and a worker removes the rest of them soon.
        """
        keys = self._keys[channel]
        known = await self._redis.call("HGETALL", keys.processes, key=keys.processes)
        gone = [front for front, process in zip(known[::2], known[1::2], strict=True) if is_gone(process.decode())]
        for front in gone:
            await self._redis.call("ZADD", keys.fronts, "XX", 0, front, key=keys.fronts)
        return len(gone)

    async def user_counts(self, channels: Sequence[str]) -> list[int]:
        """Connections in each channel, over all living fronts."""
        asked = [self._redis.run(self._scripts.user_count, self._keys[name].for_script(), ()) for name in channels]
        return list(await asyncio.gather(*asked))

    async def backlogs(self, lanes: Iterable[Lane] = Lane) -> list[Backlog]:
        """What waits, in every channel of the instance and each of these lanes."""
        asked = {
            (channel, lane): self._redis.run(self._scripts.backlog, keys.for_script(lane), ())
            for (channel, keys), lane in itertools.product(self._keys.items(), lanes)
        }
        answers = await asyncio.gather(*asked.values())
        return [
            Backlog(channel, lane, jobs, size, age / 1000, dead_letters, math.inf if idle < 0 else idle / 1000)
            for (channel, lane), (jobs, size, age, dead_letters, idle) in zip(asked, answers, strict=True)
        ]

    async def nicknames(self, channel: str) -> list[str]:
        """The registered nicknames as their holders write them, in no order."""
        addresses = self._keys[channel].nicknames_by_connection
        held = await self._redis.call("HGETALL", addresses, key=addresses)
        return [nickname.decode().rpartition(" ")[2] for nickname in held[1::2]]

    # Moderation

    async def moderation_state(self, channel: str) -> ModerationState:
        """The channel's bans, its freeze and its keys."""
        version, freeze, bans, keys = await self._moderate(self._scripts.moderation_state, channel)
        return ModerationState(
            version,
            msgspec.json.decode(freeze, type=Freeze) if freeze else None,
            tuple(msgspec.json.decode(ban, type=Ban) for ban in bans),
            tuple(msgspec.json.decode(key, type=AccessKey) for key in keys),
        )

    async def restore_moderation(self, channel: str, known: ModerationState) -> bool:
        """Sets what restricts a channel as this front knows it, if Redis has lost some of it."""
        bans, keys = _arguments(known.bans), _arguments(known.keys)
        freeze = msgspec.json.encode(known.freeze) if known.freeze else b""
        arguments = (known.version, freeze, len(bans), *bans, *keys)
        return bool(await self._moderate(self._scripts.restore_moderation, channel, *arguments))

    async def ban(self, channel: str, known: int, ban: Ban) -> int:
        """Bans, or bans otherwise. 1; 0: there are too many; `FORGOTTEN`: see `restore_moderation`.

        Args:
            known: the version of the restrictions that this front knows; so in the two that follow.
        """
        return int(await self._moderate(self._scripts.ban, channel, known, *_arguments([ban])))

    async def unban(self, channel: str, known: int, id: str) -> int:
        """Lifts a ban. 1; 0: there is none; `FORGOTTEN`."""
        return int(await self._moderate(self._scripts.unban, channel, known, id))

    async def grant_key(self, channel: str, known: int, key: AccessKey) -> int:
        """Lets a key open the channel. 1; 0: there are too many; `FORGOTTEN`."""
        return int(await self._moderate(self._scripts.grant_key, channel, known, *_arguments([key])))

    async def revoke_key(self, channel: str, known: int, id: str) -> int:
        """Ends a key. 1; 0: there is none; `FORGOTTEN`."""
        return int(await self._moderate(self._scripts.revoke_key, channel, known, id))

    async def freeze(self, channel: str, known: int, freeze: Freeze | None) -> int:
        """Freezes a channel or, with None, thaws it. 1; 0: it was so before; `FORGOTTEN`."""
        encoded = msgspec.json.encode(freeze) if freeze else b""
        return int(await self._moderate(self._scripts.freeze, channel, known, encoded))

    async def delete_messages(self, channel: str, ids: Sequence[str], *, again: bool = False) -> int:
        """Takes messages back, all of the channel when no ids are given; returns how many there were.

        Args:
            again: this front has heard that they were withdrawn, and Redis may have lost it.
        """
        return int(await self._moderate(self._scripts.delete_messages, channel, int(again), *ids))

    async def disconnect(self, channel: str, nickname: str, closing: bytes) -> bool:
        """Has whoever is registered under a nickname disconnected; False when nobody is."""
        return bool(await self._moderate(self._scripts.disconnect, channel, folded(nickname), closing))

    async def start_survey(self, channel: str, question: bytes) -> list[str]:
        """Asks every front for its connections; returns the fronts that should answer."""
        return [front.decode() for front in await self._moderate(self._scripts.start_survey, channel, question)]

    async def answer_survey(self, channel: str, call: str, answer: bytes) -> None:
        """This front's answer to a survey."""
        key = self._keys[channel].survey(call, self.front)
        await self._histories.call("SET", key, answer, "PX", int(self._timings.survey_answer * 1000), key=key)

    async def survey_answers(self, channel: str, call: str, fronts: Sequence[str]) -> list[bytes | None]:
        """What these fronts have answered; None for those that have not yet."""
        keys = [self._keys[channel].survey(call, front) for front in fronts]
        return list(await self._histories.call("MGET", *keys, key=keys[0])) if keys else []

    async def _moderate(self, script: Script, channel: str, *arguments: Argument) -> Any:
        return await self._redis.run(script, self._keys[channel].for_moderation(), arguments)


def _arguments(entries: Iterable[Ban | AccessKey]) -> list[Argument]:
    """Of each its id, its end in milliseconds, and itself."""
    return [argument for one in entries for argument in (one.id, one.until * 1000, msgspec.json.encode(one))]
