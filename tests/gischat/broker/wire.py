"""One channel of a separate instance in a real Valkey, for tests of the broker's scripts.

The scripts are called as fronts and workers call them, through the broker's classes.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from tornado.ioloop import IOLoop

from gischat.broker.broker import Broker
from gischat.broker.client import Redis
from gischat.broker.discovery import connect
from gischat.broker.entries import LEAVE, Job, Outcome, Publication, Source
from gischat.broker.inbox import EnqueueResult
from gischat.broker.inbox_consumer import Delivery, InboxConsumer
from gischat.broker.keys import ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.broker.presence import Presence, Renewal
from gischat.protocol.messages import Lane, new_id
from gischat.timings import Timings
from tests.support.contract import check, sample
from tests.support.processes import Valkey
from tests.support.settings import settings
from worker.commit import Committer
from worker.effects import Effect, Leave, Register

FORGETFUL = Timings(ids=0, settling=0)  # of ids
CHANNEL = "Été à la mer: {nord}"
ALIVE = 60.0  # seconds of a lease that does not expire during a test
DEAD = -1.0  # … and of an expired one


class Worker(NamedTuple):
    """A worker's view of the broker, with its committer."""

    inbox: InboxConsumer
    committer: Committer
    presence: Presence


class Wire:
    """One channel of a separate instance, as fronts and workers access it."""

    def __init__(self, redis: Redis, timings: Timings = Timings(), **limits: Any) -> None:
        self.settings = settings(**{"instance_id": f"test-{uuid.uuid4()}", "channels": (CHANNEL,)} | limits)
        self.keys = ChannelKeys(self.settings.instance_id, CHANNEL)
        self.namespace = Namespace(self.settings, timings)
        self.redis = redis
        self.worker = self.new_worker("worker-1")
        self.front = self.new_front("front-1")
        self._carrier = self.new_front("carrier")
        self._numbers = itertools.count(1)
        self._read = 0

    def new_worker(self, name: str, lane: Lane = Lane.LIGHT) -> Worker:
        return Worker(
            InboxConsumer(self.namespace, lane, [CHANNEL], name, redis=self.redis, reader=self.redis),
            Committer(self.namespace, redis=self.redis, reader=self.redis),
            Presence(self.namespace, name, self.redis),
        )

    async def heavy(self, name: str = "heavy-1") -> Worker:
        """A worker of the heavy lane, which has its consumer group."""
        worker = self.new_worker(name, Lane.HEAVY)
        await worker.inbox.create_groups()
        return worker

    def new_front(self, name: str) -> Broker:
        return Broker.of(self.namespace, name, self.redis)

    async def renew(self, front: str = "front-1", seconds: float = ALIVE) -> Renewal:
        """Renew a front's lease."""
        return await self.new_front(front).presence.renew_lease(CHANNEL, seconds)

    def job(
        self, body: bytes = b"{}", *, type: str = "text", id: str = "", front: str = "front-1", connection: int = 1
    ) -> Job:
        return Job(Source(front, connection, next(self._numbers)), type, id, body)

    async def offer(
        self, job: Job, lane: Lane = Lane.LIGHT, last_offset: int = 0, preceding: str = "", *, again: bool = False
    ) -> EnqueueResult:
        """Let front-1 enqueue a job."""
        return await self.front.inbox.enqueue(CHANNEL, lane, job, last_offset, preceding, again=again)

    async def enqueue(self, job: Job, lane: Lane = Lane.LIGHT) -> bool:
        """Let a live front enqueue a job, whatever its source; returns whether it was accepted."""
        await self._carrier.presence.renew_lease(CHANNEL, ALIVE)
        return (await self._carrier.inbox.enqueue(CHANNEL, lane, job, 0)).is_enqueued

    async def hold(self, job: Job, lane: Lane = Lane.LIGHT) -> Delivery:
        """Enqueue a job and deliver it to a worker, which does not commit it."""
        inbox = (self.worker if lane is Lane.LIGHT else self.new_worker("heavy-1", lane)).inbox
        await inbox.create_groups()
        assert await self.enqueue(job, lane)
        (held,) = await inbox.read([CHANNEL], count=10)
        assert held.job.source == job.source
        return held

    async def end(self, effect: Effect, body: bytes = b"{}", **job: Any) -> Job:
        """Enqueue, deliver and commit a job."""
        held = await self.hold(self.job(body, **job))
        assert await self.worker.committer.commit(held, effect)
        return held.job

    async def register(self, nickname: str, *, id: str = "", front: str = "front-1", connection: int = 1) -> Job:
        id = id or new_id()
        body = encoded("newcomer", id=id, newcomer=nickname)
        return await self.end(Register(nickname), body, type="newcomer", id=id, front=front, connection=connection)

    async def leave(self, connection: int = 1, front: str = "front-1") -> Job:
        """End a connection."""
        return await self.end(Leave(), type=LEAVE, connection=connection, front=front)

    async def outbox(self) -> list[Publication]:
        """All retained publications."""
        entries = await self.redis.call("XRANGE", self.keys.outbox, "-", "+", key=self.keys.outbox)
        return [Publication.parse(fields) for _, fields in entries]

    async def last(self) -> Publication:
        return (await self.outbox())[-1]

    async def news(self) -> list[Publication]:
        """The publications since the last call."""
        found = [one for one in await self.outbox() if one.offset > self._read]
        self._read = found[-1].offset if found else self._read
        return found

    async def outcomes(self) -> list[Outcome]:
        """What came of the jobs since the last call."""
        return [one.outcome for one in await self.news()]

    async def history(self) -> list[bytes]:
        return (await self.front.history.snapshot(CHANNEL)).history

    def key(self, name: str) -> str:
        """One of the channel's keys, by its last part."""
        return next(key for key in self.keys.types if key.endswith("}:" + name))

    async def delete(self, *keys: str) -> None:
        await self.redis.call("DEL", *keys, key=keys[0])

    async def size(self, name: str) -> int:
        """The number of entries of a stream."""
        return int(await self.redis.call("XLEN", self.key(name), key=self.key(name)))

    async def hash(self, name: str) -> dict[str, str]:
        found = [value.decode() for value in await self.redis.call("HGETALL", self.key(name), key=self.key(name))]
        return dict(zip(found[::2], found[1::2], strict=True))

    async def meter(self, name: str) -> int:
        return int((await self.hash("counters")).get(name, 0))

    async def inbox_bytes(self, lane: Lane = Lane.LIGHT) -> int:
        key = self.keys.inbox(lane) + ":bytes"
        return int(await self.redis.call("GET", key, key=key) or 0)

    async def keys_with(self, part: str) -> dict[bytes, int]:
        """This instance's keys whose names contain this, with the milliseconds until they expire; -1: never."""
        found = await self.redis.call("KEYS", f"*{self.settings.instance_id}*{part}*", key="")
        return {key: int(await self.redis.call("PTTL", key, key="")) for key in found}

    async def time(self) -> int:
        """Redis's clock, in milliseconds."""
        seconds, microseconds = await self.redis.call("TIME", key=self.keys.outbox)
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def let_a_moment_pass(self) -> None:
        """Wait until Redis's clock has advanced by a millisecond."""
        before = await self.time()
        while await self.time() == before:
            pass


Start = Callable[..., Wire]


@pytest.fixture
def start(io_loop: IOLoop, valkey: Valkey) -> Iterator[Start]:
    """Makes wires over one connection, with a test's limits: `start(max_stored_messages=2)`. No front is alive."""
    redis = connect(valkey.url, name="test-scripts")
    io_loop.run_sync(redis.__aenter__)
    yield lambda **limits: Wire(redis, **limits)
    io_loop.run_sync(redis.__aexit__)


@pytest.fixture
def wire(io_loop: IOLoop, start: Start) -> Wire:
    """One whose front-1 is alive."""
    wire = start()
    io_loop.run_sync(wire.renew)
    return wire


def encoded(type_: str, **changes: Any) -> bytes:
    """A valid message, as JSON."""
    return msgspec.json.encode(sample(type_, **({"id": new_id(), "timestamp": 1_700_000_000} | changes)))


def shown(publication: Publication) -> tuple[str, Any]:
    """The type and the main value of a publication's message, which is checked against the contract."""
    keys = {"newcomer": "newcomer", "exiter": "exiter", "nb_users": "nb_users", "uncompliant": "reason", "text": "text"}
    message = msgspec.json.decode(publication.body)
    check({"avatar": None, **message} if message["type"] == "text" else message)
    return message["type"], message[keys[message["type"]]]


async def letters(wire: Wire) -> list[dict[bytes, bytes]]:
    entries = await wire.redis.call("XRANGE", wire.keys.dead, "-", "+", key=wire.keys.dead)
    return [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]


async def assert_meters_are_right(wire: Wire) -> None:
    """Check that the counters match the stored data."""
    published = await wire.outbox()
    assert await wire.meter("outbox_bytes") == sum(len(one.body) for one in published)
    sizes = await wire.redis.call("LRANGE", wire.key("outbox:sizes"), 0, -1, key=wire.key("outbox:sizes"))
    assert [int(size.split()[1]) for size in sizes] == [len(one.body) for one in published]
    assert await wire.meter("dead_bytes") == sum(len(letter[b"body"]) for letter in await letters(wire))
    inbox = await wire.redis.call("XRANGE", wire.key("inbox:light"), "-", "+", key=wire.key("inbox:light"))
    assert await wire.inbox_bytes() == sum(Job.parse(fields).size for _, fields in inbox)


async def assert_presence_is_right(wire: Wire, expected: dict[str, str] | None = None) -> None:
    """Check that each nickname belongs to one connection, and each connection has at most one nickname."""
    users, addresses = await wire.hash("users"), await wire.hash("nicknames")
    assert {nickname.split()[0]: address for address, nickname in addresses.items()} == users
    if expected is not None:
        assert users == expected


async def everything(wire: Wire) -> list[bytes | None]:
    """All stored data of the channel, as serialized by Redis."""
    return [await wire.redis.call("DUMP", key, key=key) for key in wire.keys.for_script()]
