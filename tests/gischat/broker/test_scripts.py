"""What runs inside Redis, against a real Valkey: each script all or nothing, and once.

The scripts are called as fronts and workers call them, through their gateways. Each test has an instance of its own.
"""

import itertools
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, get_args

import msgspec
import pytest
from tornado.ioloop import IOLoop

from gischat.broker import scripts
from gischat.broker.client import Redis
from gischat.broker.discovery import connect
from gischat.broker.entries import STATE_LOST, Job, Outcome, Publication, Source
from gischat.broker.keys import GROUP, ChannelKeys
from gischat.front.dispatch import gateway
from gischat.front.dispatch.gateway import FORGOTTEN, TAKEN, Renewal
from gischat.front.dispatch.gateway import Gateway as FrontGateway
from gischat.protocol.messages import Lane, new_id
from gischat.protocol.parsing import MessageParser
from gischat.timings import Timings
from tests.support.contract import BROADCAST, check, sample
from tests.support.processes import Valkey
from tests.support.settings import settings
from worker.effects import (
    Acknowledge,
    BodyMissing,
    Count,
    DeadLetter,
    Effect,
    Exit,
    Leave,
    Like,
    Publish,
    Refuse,
    Register,
    Restore,
)
from worker.gateway import NOT_YOURS, Delivery
from worker.gateway import Gateway as WorkerGateway

FORGETFUL = Timings(ids=0, settling=0)  # of ids
CHANNEL = "Été à la mer: {nord}"
AGE = 60.0  # seconds; so old is nothing that a test has just published
ALIVE = 60.0  # seconds of a lease that does not run out
DEAD = -1.0  # … and of one that has

pytestmark = pytest.mark.usefixtures("io_loop")


def took(answer: int | bytes) -> int:
    """What Redis says to an enqueue, wherever in the inbox the job stands now."""
    return TAKEN if isinstance(answer, bytes) else answer


class Wire:
    """One channel of an instance of its own, with the fronts' and the workers' ways to it."""

    def __init__(self, redis: Redis, timings: Timings = Timings(), **limits: Any) -> None:
        self._timings = timings
        self.settings = settings(instance_id=f"test-{uuid.uuid4()}", channels=(CHANNEL,), **limits)
        self.keys = ChannelKeys(self.settings.instance_id, CHANNEL)
        self.redis = redis
        self.worker = self.new_worker("worker-1")
        self.front = self.new_front("front-1")
        self._carrier = self.new_front("carrier")
        self._numbers = itertools.count(1)
        self._read = 0

    def new_worker(self, name: str, lane: Lane = Lane.LIGHT) -> WorkerGateway:
        return WorkerGateway(
            self.settings, lane, [CHANNEL], name, redis=self.redis, reader=self.redis, timings=self._timings
        )

    def new_front(self, name: str) -> FrontGateway:
        return FrontGateway(self.settings, name, self.redis, self.redis, self.redis, self._timings)

    def job(
        self, body: bytes = b"{}", *, type: str = "text", id: str = "", front: str = "front-1", connection: int = 1
    ) -> Job:
        return Job(Source(front, connection, next(self._numbers)), type, id, body)

    async def enqueue(self, job: Job, lane: Lane = Lane.LIGHT) -> bool:
        """Has a front that is alive enqueue the job, wherever it comes from; whether it was taken."""
        await self._carrier.renew_lease(CHANNEL, ALIVE)
        return took(await self._carrier.enqueue(CHANNEL, lane, job, 0)) == TAKEN

    async def hold(self, job: Job) -> Delivery:
        """Has the job enqueued, and delivered to the worker, who has not ended it yet."""
        await self.worker.create_groups()
        assert await self.enqueue(job)
        (held,) = await self.worker.read([CHANNEL], count=10)
        assert held.job == job
        return held

    async def end(self, effect: Effect, body: bytes = b"{}", **job: Any) -> Job:
        """Has a job enqueued, delivered and ended."""
        held = await self.hold(self.job(body, **job))
        assert await self.worker.commit(held, effect)
        return held.job

    async def register(self, nickname: str, *, id: str = "", front: str = "front-1", connection: int = 1) -> Job:
        id = id or new_id()
        body = encoded("newcomer", id=id, newcomer=nickname)
        return await self.end(Register(nickname), body, type="newcomer", id=id, front=front, connection=connection)

    async def outbox(self) -> list[Publication]:
        """All publications that are retained."""
        entries = await self.redis.call("XRANGE", self.keys.outbox, "-", "+", key=self.keys.outbox)
        return [Publication.parse(fields) for _, fields in entries]

    async def news(self) -> list[Publication]:
        """What was published since this was asked before."""
        found = [one for one in await self.outbox() if one.offset > self._read]
        self._read = found[-1].offset if found else self._read
        return found

    async def history(self) -> list[bytes]:
        return (await self.front.snapshot(CHANNEL)).history

    async def nicknames(self) -> list[str]:
        return sorted(await self.front.nicknames(CHANNEL))

    def key(self, name: str) -> str:
        """One of the scripts' keys, by the name that it ends with."""
        return next(key for key in self.keys.for_script() if key.endswith("}:" + name))

    async def size(self, name: str) -> int:
        """How many entries a stream has."""
        return int(await self.redis.call("XLEN", self.key(name), key=self.key(name)))

    async def hash(self, name: str) -> dict[str, str]:
        found = [value.decode() for value in await self.redis.call("HGETALL", self.key(name), key=self.key(name))]
        return dict(zip(found[::2], found[1::2], strict=True))

    async def meter(self, name: str) -> int:
        return int((await self.hash("counters")).get(name, 0))

    async def inbox_bytes(self, lane: Lane = Lane.LIGHT) -> int:
        key = self.keys.inbox(lane) + ":bytes"
        return int(await self.redis.call("GET", key, key=key) or 0)

    async def time(self) -> int:
        """Redis' own clock, in milliseconds."""
        seconds, microseconds = await self.redis.call("TIME", key=self.keys.outbox)
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def let_a_moment_pass(self) -> None:
        """Waits until Redis' clock has moved on."""
        before = await self.time()
        while await self.time() == before:
            pass


@pytest.fixture
def start(io_loop: IOLoop, valkey: Valkey) -> Iterator[Callable[..., Wire]]:
    """Makes wires over one connection, with the limits that a test asks for: `start(max_stored_messages=2)`."""
    redis = connect(valkey.url, name="test-scripts")
    io_loop.run_sync(redis.__aenter__)
    yield lambda **limits: Wire(redis, **limits)
    io_loop.run_sync(redis.__aexit__)


@pytest.fixture
def wire(start: Callable[..., Wire]) -> Wire:
    return start()


Start = Callable[..., Wire]


def encoded(type_: str, **changes: Any) -> bytes:
    """A message that keeps the contract, as JSON."""
    return msgspec.json.encode(sample(type_, **({"id": new_id(), "timestamp": 1_700_000_000} | changes)))


def decoded(publications: list[Publication]) -> list[dict[str, Any]]:
    """The messages in publications, each of which keeps the contract."""
    found = [msgspec.json.decode(one.body) for one in publications if one.body]
    for message in found:
        check({"avatar": None, **message} if message["type"] == "text" else message)
    return found


def shown(publications: list[Publication]) -> list[tuple[str, Any]]:
    """Type and what it is about, of each message in publications."""
    keys = {"newcomer": "newcomer", "exiter": "exiter", "nb_users": "nb_users", "uncompliant": "reason", "text": "text"}
    return [(message["type"], message[keys[message["type"]]]) for message in decoded(publications)]


# Jobs into the inbox


@pytest.mark.parametrize(
    "fields", [{}, {b"source": b"nonsense"}, {b"source": b"a/1/1", b"type": b"text", b"id": b"\xff", b"body": b"{}"}]
)
def test_an_entry_that_no_front_has_written_is_a_job_that_nobody_can_do(fields: dict[bytes, bytes]) -> None:
    job = Job.parse([part for pair in fields.items() for part in pair])
    assert (job.source, job.type) == (Source("", 0, 0), "")


def test_an_entry_of_an_earlier_version_is_read() -> None:
    said = {
        b"source": b"a/1/2",
        b"type": b"image",
        b"id": b"x",
        b"body": b"",
        b"chunks": b"3",
        b"chunked_size": b"700000",
    }
    job = Job.parse([part for pair in said.items() for part in pair])
    assert (job.client, job.sender, job.chunks, job.size) == ("", "", 3, 700_000)


async def test_a_job_comes_out_of_the_inbox_as_it_went_in(wire: Wire) -> None:
    job = wire.job('{"text": "Été \\u0000 🗺"}'.encode(), type="text", id=new_id(), connection=7)
    held = await wire.hold(job)
    assert (held.job, held.channel, held.lane, held.deliveries) == (job, CHANNEL, Lane.LIGHT, 1)


async def test_the_lanes_have_inboxes_of_their_own(wire: Wire) -> None:
    heavy = wire.new_worker("heavy-1", Lane.HEAVY)
    for worker in (wire.worker, heavy):
        await worker.create_groups()
    quick, slow = wire.job(), wire.job(type="image")
    assert await wire.enqueue(quick, Lane.LIGHT)
    assert await wire.enqueue(slow, Lane.HEAVY)
    for worker, job in ((wire.worker, quick), (heavy, slow)):
        (held,) = await worker.read([CHANNEL], count=10)
        assert (held.job.source, held.job.body) == (job.source, job.body)
        assert await worker.commit(held, Acknowledge())
    assert [await wire.inbox_bytes(lane) for lane in Lane] == [0, 0]


async def test_an_inbox_is_full_when_it_holds_as_many_jobs_as_it_may(start: Start) -> None:
    wire = start(max_inbox_messages=2)
    held = await wire.hold(wire.job())  # delivered, and still in the inbox
    assert await wire.enqueue(wire.job())
    assert not await wire.enqueue(wire.job())
    assert await wire.size("inbox:light") == 2
    # The other lane is another matter, and there is room again as soon as a job has ended
    assert await wire.enqueue(wire.job(), Lane.HEAVY)
    await wire.worker.commit(held, Acknowledge())
    assert await wire.enqueue(wire.job())


async def test_an_inbox_is_full_when_it_holds_as_many_bytes_as_it_may(start: Start) -> None:
    wire = start(max_inbox_bytes=1000)
    held = await wire.hold(wire.job(b"x" * 600))
    assert await wire.enqueue(wire.job(b"x" * 400))
    assert not await wire.enqueue(wire.job(b"x"))
    assert await wire.inbox_bytes() == 1000
    await wire.worker.commit(held, Acknowledge())
    assert await wire.enqueue(wire.job(b"x" * 600))


async def test_an_empty_inbox_takes_a_job_of_any_size(start: Start) -> None:
    wire = start(max_inbox_bytes=1000)
    assert await wire.enqueue(wire.job(b"x" * 5000))
    assert not await wire.enqueue(wire.job(b"x"))


async def test_a_front_that_redis_has_lost_is_told_so_before_anything_is_taken(wire: Wire) -> None:
    assert await wire.front.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0) == FORGOTTEN
    assert await wire.size("inbox:light") == 0
    await wire.front.renew_lease(CHANNEL, ALIVE)
    assert took(await wire.front.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0)) == TAKEN


async def test_a_front_that_has_heard_more_than_redis_knows_is_told_so(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.end(Publish(b"{}"))
    assert await wire.front.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 2) == FORGOTTEN
    assert await wire.size("inbox:light") == 0
    for heard in (1, 0):
        assert took(await wire.front.enqueue(CHANNEL, Lane.LIGHT, wire.job(), heard)) == TAKEN


async def test_a_connection_whose_last_message_redis_has_lost_is_told_so_however_far_it_counts(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    said = (await wire.end(Publish(b"{}"), id=new_id())).id
    for preceding, answer in ((new_id(), FORGOTTEN), (said, TAKEN), ("", TAKEN)):
        assert took(await wire.front.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0, preceding)) == answer
    # One of the two keys that know of it is enough, for an operator may have removed the other
    for name, answer in (("ids", TAKEN), ("senders", FORGOTTEN)):
        assert await wire.redis.call("DEL", wire.key(name), key=wire.key(name))
        assert took(await wire.front.enqueue(CHANNEL, Lane.LIGHT, wire.job(), 0, said)) == answer


# A job ends once


async def test_a_job_that_ends_is_published_stored_and_gone_from_the_inbox(wire: Wire) -> None:
    id, body = new_id(), encoded("text")
    job = await wire.end(Publish(body), id=id)
    assert await wire.outbox() == [Publication(1, job.source, Outcome.PUBLISHED, "", "text", id.encode(), body)]
    assert await wire.history() == [body]
    assert await wire.size("inbox:light") == await wire.inbox_bytes() == 0


EFFECTS: dict[str, Effect] = {
    "publish": Publish(encoded("text")),
    "refuse": Refuse("No."),
    "acknowledge": Acknowledge(),
    "register": Register("john"),
    "restore": Restore("john"),
    "exit": Exit("jane"),
    "leave": Leave(),
    "like": Like("jane"),
    "count": Count(5),
    "missing": BodyMissing("It is not there."),
    "bury": DeadLetter("It cannot be done."),
}


def test_every_effect_is_tried() -> None:
    assert {type(effect) for effect in EFFECTS.values()} == set(get_args(Effect))


@pytest.mark.parametrize("name", EFFECTS)
async def test_a_job_that_ends_twice_changes_nothing_the_second_time(wire: Wire, name: str) -> None:
    # Given a channel with someone in it, and a job of hers that two workers believe to be theirs
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    held = await wire.hold(wire.job(encoded("exiter", exiter="jane")))
    # When both end it
    assert await wire.worker.commit(held, EFFECTS[name])
    before = await everything(wire)
    assert not await wire.worker.commit(held, EFFECTS[name])
    # Then the second changes nothing at all
    assert await everything(wire) == before


async def everything(wire: Wire) -> list[bytes | None]:
    """All that is stored of the channel, as Redis writes it down."""
    return [await wire.redis.call("DUMP", key, key=key) for key in wire.keys.for_script()]


async def test_a_worker_that_was_thought_dead_publishes_nothing_when_it_comes_back(wire: Wire) -> None:
    # Given a job of a worker that hangs, taken over by another
    held = await wire.hold(wire.job())
    other = wire.new_worker("worker-2")
    (taken_over,) = await other.claim_stale(CHANNEL, 0, 10)
    assert (taken_over.job, taken_over.deliveries) == (held.job, 2)
    # When both end it
    assert await other.commit(taken_over, Publish(b'"by the second"'))
    assert not await wire.worker.commit(held, Publish(b'"by the first"'))
    # Then it was published once
    assert [one.body for one in await wire.outbox()] == [b'"by the second"']


async def test_the_names_of_workers_that_are_gone_are_forgotten_but_not_what_they_hold(wire: Wire) -> None:
    # Given a worker that holds a job, one that does not, and one who looks
    gone, looks = wire.new_worker("gone"), wire.new_worker("looks")
    held = await wire.hold(wire.job())
    await gone.read([CHANNEL], count=1)
    # When they have not been gone for long, or there is nothing of theirs
    assert await looks.delete_idle_consumers(CHANNEL, 3600) == 0
    assert await wire.new_worker("heavy", Lane.HEAVY).delete_idle_consumers(CHANNEL, 0) == 0
    # And when they have
    assert await looks.delete_idle_consumers(CHANNEL, 0) == 1
    # Then only the one that holds nothing is gone
    about = await wire.redis.call("XINFO", "CONSUMERS", wire.keys.inbox(Lane.LIGHT), GROUP, key=wire.keys.outbox)
    assert [consumer[1] for consumer in about] == [b"worker-1"]
    assert await wire.worker.commit(held, Publish(b'"hello"'))


async def test_a_job_that_was_never_delivered_cannot_be_ended(wire: Wire) -> None:
    held = await wire.hold(wire.job())
    await wire.worker.commit(held, Acknowledge())
    await wire.enqueue(wire.job())
    (entry,) = await wire.redis.call("XRANGE", wire.key("inbox:light"), "-", "+", key=wire.key("inbox:light"))
    assert not await wire.worker.commit(held._replace(entry=entry[0]), Publish(b"{}"))
    assert await wire.size("inbox:light") == 1


async def test_a_worker_that_starts_again_takes_up_what_it_held(wire: Wire) -> None:
    held = await wire.hold(wire.job())
    successor = wire.new_worker("worker-1")
    (again,) = await successor.claim_own(CHANNEL, 10)
    assert (again.job, again.deliveries) == (held.job, 2)
    assert await successor.commit(again, Acknowledge())
    assert await successor.claim_own(CHANNEL, 10) == []


# A message is published once


async def test_an_id_is_published_once_and_its_sender_told_so(wire: Wire) -> None:
    id = new_id()
    await wire.end(Publish(b'"first"'), id=id)
    again = await wire.end(Publish(b'"scaled otherwise"'), id=id, connection=2)
    first, second = await wire.outbox()
    assert first.body == b'"first"'
    assert (second.outcome, second.source, second.body) == (Outcome.DUPLICATE, again.source, b'"first"')
    assert not second.is_broadcast
    assert await wire.history() == [b'"first"']


async def test_jobs_without_an_id_are_no_repetitions(wire: Wire) -> None:
    for _ in range(3):
        await wire.end(Publish(b"{}"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED] * 3


async def test_what_was_refused_may_be_sent_again_under_its_id(wire: Wire) -> None:
    id = new_id()
    for effect in (Refuse("No."), DeadLetter("It crashed."), Publish(b"{}")):
        await wire.end(effect, id=id)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.REFUSED, Outcome.DEAD_LETTERED, Outcome.PUBLISHED]


async def test_only_the_last_ids_are_remembered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_NUMBER", 2)
    monkeypatch.setattr(scripts, "IDS_STEP", 1)
    wire = start()
    ids = [new_id() for _ in range(3)]
    for id in ids:
        await wire.end(Publish(b"{}"), id=id)
        await wire.let_a_moment_pass()  # for ids of the same millisecond are in no order
    for id in (ids[2], ids[1], ids[0]):
        await wire.end(Publish(b"{}"), id=id)
    outcomes = [one.outcome for one in await wire.outbox()]
    assert outcomes[3:] == [Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.PUBLISHED]


async def test_ids_are_remembered_for_a_time(start: Start) -> None:
    wire = start(timings=FORGETFUL)
    old = new_id()
    await wire.end(Publish(b"{}"), id=old)
    await wire.let_a_moment_pass()
    await wire.end(Publish(b"{}"), id=new_id())
    await wire.end(Publish(b"{}"), id=old)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED] * 3


async def test_old_ids_are_removed_by_and_by(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_STEP", 5)
    wire = start(timings=FORGETFUL)
    kept = []
    for _ in range(10):
        await wire.end(Publish(b"{}"), id=new_id())
        await wire.let_a_moment_pass()  # so that it is old
        kept.append(int(await wire.redis.call("ZCARD", wire.keys.ids, key=wire.keys.ids)))
    # What has just been published is not older than no time at all
    assert kept == [1, 2, 3, 4, 1, 2, 3, 4, 5, 1]


# The history


async def test_without_a_history_nothing_is_stored_or_shown(start: Start) -> None:
    wire = start(max_stored_messages=0)
    await wire.end(Publish(b"1"))
    assert await wire.history() == []
    assert await wire.redis.call("EXISTS", wire.key("history"), key=wire.key("history")) == 0
    assert (await wire.front.snapshot(CHANNEL)).offset == 1


@pytest.mark.parametrize("length", [0, 1, 2])
async def test_a_history_that_shall_be_shorter_is_shorter_at_once(start: Start, length: int) -> None:
    # Given a channel with a long history
    wire = start(max_stored_messages=5)
    for number in range(5):
        await wire.end(Publish(b"%d" % number))
    # When its instance is started again with a lower limit
    wire.settings = settings(instance_id=wire.settings.instance_id, channels=(CHANNEL,), max_stored_messages=length)
    assert (await wire.new_front("front-2").snapshot(CHANNEL)).history == [b"3", b"4"][2 - length :]


# The outbox and its bounds


async def test_publications_are_numbered_without_gaps(wire: Wire) -> None:
    for effect in (Publish(b"{}"), Refuse("No."), Acknowledge(), DeadLetter("It crashed."), Leave(), Count(1)):
        await wire.end(effect)
    assert [one.offset for one in await wire.outbox()] == [1, 2, 3, 4, 5, 6]


async def test_the_outbox_is_bounded_in_number(start: Start) -> None:
    wire = start(max_outbox_messages=3)
    for number in range(10):
        await wire.end(Publish(b"%d" % number))
    assert [one.body for one in await wire.outbox()] == [b"7", b"8", b"9"]
    await assert_meters_are_right(wire)


async def test_the_outbox_is_bounded_in_bytes_and_the_newest_always_stays(start: Start) -> None:
    wire = start(max_outbox_bytes=1000)
    for size in (400, 400, 200, 300, 5000, 10, 900):
        await wire.end(Publish(b"x" * size))
        await assert_meters_are_right(wire)
        sizes = [len(one.body) for one in await wire.outbox()]
        assert sizes[-1] == size
        assert sum(sizes) <= 1000 or len(sizes) == 1
    assert sizes == [10, 900]


async def test_the_outbox_is_bounded_in_age_and_the_newest_always_stays(start: Start) -> None:
    wire = start(max_outbox_age=0)
    for number in range(3):
        await wire.end(Publish(b"%d" % number))
        await wire.let_a_moment_pass()
    assert [one.body for one in await wire.outbox()] == [b"2"]
    await assert_meters_are_right(wire)


async def test_what_is_young_enough_is_retained(start: Start) -> None:
    wire = start(max_outbox_age=60)
    for number in range(3):
        await wire.end(Publish(b"%d" % number))
        await wire.let_a_moment_pass()
    assert len(await wire.outbox()) == 3


# What came after a message


async def retained(wire: Wire, *, up_to: int = 10**9, max_bytes: int = 2**20) -> list[bytes]:
    """The bodies that could be told who comes back."""
    found = await wire.front.retained(CHANNEL, up_to, max_bytes)
    assert all(entry.age < AGE for entry in found)
    return [entry.publication.body for entry in found if entry.publication.is_broadcast]


async def test_what_everyone_got_is_retained_in_its_order(wire: Wire) -> None:
    await wire.end(Publish(b'"text"'))
    for effect in (Refuse("No."), Acknowledge(), DeadLetter("It crashed."), Count(3)):
        await wire.end(effect)
    await wire.end(Publish(b'"cheat code"', stored=False))
    assert [body for body in await retained(wire) if b"nb_users" not in body] == [b'"text"', b'"cheat code"']
    assert await retained(wire, up_to=1) == [b'"text"']


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_what_is_retained_is_read_page_by_page(wire: Wire, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    for name in ("FIRST_PAGE", "PAGE_ENTRIES"):
        monkeypatch.setattr(gateway, name, page)
    for number in range(20):
        await wire.end(Publish(b"%02d" % number))
    assert await retained(wire) == [b"%02d" % number for number in range(20)]
    # No more is read than is kept, and that is whole
    newest = await retained(wire, max_bytes=10)
    assert newest == [b"%02d" % number for number in range(20)][-len(newest) :]
    assert len(newest) in (6, 7, 20)


async def test_what_stood_behind_a_message_before_redis_lost_something_counts_no_more(wire: Wire) -> None:
    """What it lost is said again by each front for itself: what stands behind a message is not all that came after."""
    await wire.end(Publish(b"0"))
    await wire.front.renew_lease(CHANNEL, ALIVE, is_forgotten=True)
    await wire.end(Publish(b"1"))
    assert await retained(wire) == []
    # Every front hears of that before it
    assert [one.type for one in await wire.outbox()] == ["text", STATE_LOST, "text"]


async def test_what_is_too_old_is_not_retained(start: Start) -> None:
    """Though it is still there: what was withdrawn is not remembered longer than ids count."""
    wire = start(timings=FORGETFUL)
    await wire.end(Publish(b"0"), id=new_id())
    await wire.let_a_moment_pass()
    assert await retained(wire) == []


# Nicknames


async def test_a_nickname_that_is_taken_is_refused_in_the_contracts_words(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    job = await wire.register("jane", connection=2)
    challenge, told = await wire.news()
    assert (told.outcome, told.source, told.to) == (Outcome.REFUSED, job.source, "")
    assert shown([told]) == [("uncompliant", f"User 'jane' already registered in channel {CHANNEL}")]
    assert (challenge.outcome, challenge.type) == (Outcome.CONTROL, "challenge")
    assert msgspec.json.decode(challenge.body) == {"connection": "front-1/1", "client": ""}
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_registration_that_comes_twice_is_told_once(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    job = await wire.register("jane")
    await wire.register("jane", id=job.id)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DUPLICATE]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_front_that_was_swept_gets_no_nickname_and_its_client_is_told(wire: Wire) -> None:
    """What is registered now would be a ghost; and if the front lives, nobody may be left to think that it is not."""
    job = await wire.register("jane")
    (ended,) = await wire.outbox()
    assert (ended.source, ended.outcome, ended.type) == (job.source, Outcome.REFUSED, "uncompliant")
    check(msgspec.json.decode(ended.body))
    await assert_presence_is_right(wire, {})


async def test_what_a_front_says_counts_though_its_lease_has_run_out_until_it_is_swept(wire: Wire) -> None:
    """Redis was away for longer than a lease: what fronts say may be heard before their next sign of life."""
    await wire.front.renew_lease(CHANNEL, DEAD)
    # When it tells a count, a new nickname and one that Redis had lost
    await wire.end(Count(2), type="count")
    await wire.register("jane")
    await wire.end(Restore("joan"), id=new_id(), connection=2)
    # Then all that holds as soon as it shows that it lives
    await wire.front.renew_lease(CHANNEL, ALIVE)
    assert await wire.front.user_counts([CHANNEL]) == [2]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})
    # And is swept if it does not
    await wire.front.renew_lease(CHANNEL, DEAD)
    await wire.worker.reap(CHANNEL, "front-1")
    await assert_presence_is_right(wire, {})


@pytest.mark.parametrize("sender", [1, 2, 3])
async def test_nobody_says_an_exiter_for_somebody_else(wire: Wire, sender: int) -> None:
    # Given jane and joan, and one without a nickname
    await wire.front.renew_lease(CHANNEL, ALIVE)
    for connection, nickname in enumerate(("jane", "joan"), 1):
        await wire.register(nickname, connection=connection)
    await wire.news()
    # When one says that another goes
    other = "jane" if sender != 1 else "joan"
    job = await wire.end(Exit(other), encoded("exiter", exiter=other), connection=sender)
    # Then nobody else hears of it
    (told,) = await wire.news()
    assert (told.outcome, told.source) == (Outcome.REFUSED, job.source)
    assert shown([told]) == [("uncompliant", f"You are not registered as '{other}'.")]
    await assert_presence_is_right(wire, {"jane": "front-1/1", "joan": "front-1/2"})


async def test_who_never_registered_may_say_goodbye_under_a_nickname_that_is_nobodys(wire: Wire) -> None:
    body = encoded("exiter", exiter="jane")
    await wire.end(Exit("jane"), body, id=new_id())
    assert [one.body for one in await wire.outbox()] == [body]


async def test_who_is_registered_cannot_say_goodbye_under_another_nickname(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.end(Exit("john"), encoded("exiter", exiter="john"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.REFUSED]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_an_exiter_that_comes_twice_is_told_once(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    id = new_id()
    for _ in range(2):
        await wire.end(Exit("jane"), encoded("exiter", id=id, exiter="jane"), id=id)
    outcomes = [one.outcome for one in await wire.outbox()]
    assert outcomes == [Outcome.PUBLISHED, Outcome.PUBLISHED, Outcome.DUPLICATE]


async def test_a_connection_without_a_nickname_ends_in_silence(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    job = await wire.end(Leave(), connection=11)  # no other than connection 1, whose number it begins with
    (ended,) = await wire.news()
    assert (ended.source, ended.outcome, ended.body) == (job.source, Outcome.DONE, b"")
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


# Nicknames that Redis has lost


async def test_a_nickname_that_redis_has_lost_is_set_again_in_silence(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    job = await wire.end(Restore("jane"))
    (ended,) = await wire.outbox()
    # For those alone who believe that it is gone
    assert (ended.source, ended.outcome, ended.is_broadcast) == (job.source, Outcome.RESTORED, False)
    assert shown([ended]) == [("newcomer", "jane")]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_nickname_that_is_still_there_is_restored_to_the_same(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.end(Restore("jane"))
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DONE]
    await assert_presence_is_right(wire, {"jane": "front-1/1"})


async def test_a_nickname_that_somebody_else_took_meanwhile_is_theirs(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=2)
    job = await wire.end(Restore("jane"))
    told = (await wire.outbox())[-1]
    assert (told.outcome, told.source) == (Outcome.REFUSED, job.source)
    assert "jane" in shown([told])[0][1]
    await assert_presence_is_right(wire, {"jane": "front-1/2"})


async def test_a_front_that_was_swept_restores_nothing(wire: Wire) -> None:
    await wire.end(Restore("jane"))
    await assert_presence_is_right(wire, {})


async def test_a_restored_nickname_that_comes_twice_is_no_ghost_of_who_has_gone(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    await wire.end(Restore("jane"), id=id)
    await wire.end(Leave())
    await wire.end(Restore("jane"), id=id)
    await assert_presence_is_right(wire, {})


async def test_a_restored_nickname_leaves_no_ghost_of_one_that_was_registered_since(wire: Wire) -> None:
    """A flush while a client takes another nickname: its front tells the old one again, behind the new one."""
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("joan")
    await wire.end(Restore("jane"))
    # Then the connection has one nickname, and when it has gone there is none
    assert len(await wire.nicknames()) == 1
    await wire.end(Leave())
    await assert_presence_is_right(wire, {})


# Likes


async def test_a_like_that_comes_twice_is_told_once(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.news()
    id = new_id()
    like = encoded("like", id=id)
    for _ in range(2):
        await wire.end(Like("jane"), like, id=id)
    first, second = await wire.news()
    assert (first.to, bool(first.body)) == ("front-1/1", True)
    assert (second.outcome, second.to, second.body) == (Outcome.DUPLICATE, "", b"")


# Authors, where people have to be registered


@pytest.mark.parametrize("type_", [*BROADCAST, "like"])
async def test_nothing_is_published_under_a_nickname_that_another_connection_has(start: Start, type_: str) -> None:
    # Given two connections of fronts that live, one of them registered, and a message as a front writes it
    wire = start(require_registration=True)
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=1)
    await wire.news()
    signed = {"liker_author" if type_ == "like" else "author": "jane"}

    async def say(connection: int) -> Publication:
        message = MessageParser(wire.settings).parse(msgspec.json.encode(sample(type_, **signed)))
        effect = Like("jane") if type_ == "like" else Publish(message.body)
        await wire.end(effect, message.body, type=type_, id=message.id, connection=connection)
        (published,) = await wire.news()
        return published

    # When the other sends it
    refused = await say(2)

    # Then it alone is told why not, and nothing is stored
    assert (refused.outcome, refused.is_broadcast) == (Outcome.REFUSED, False)
    assert shown([refused]) == [("uncompliant", NOT_YOURS)]
    assert await wire.history() == []
    # … and who is registered may send it; so may anybody to whom nobody else has it, for Redis may have lost it
    assert (await say(1)).outcome is not Outcome.REFUSED
    await wire.end(Leave(), type="leave", connection=1)
    await wire.news()
    assert (await say(2)).outcome is not Outcome.REFUSED


async def test_where_nobody_has_to_be_registered_an_author_is_but_a_word(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=1)
    await wire.news()
    message = MessageParser(wire.settings).parse(msgspec.json.encode(sample("text", author="jane")))
    await wire.end(Publish(message.body), message.body, id=message.id, connection=2)
    assert [one.outcome for one in await wire.news()] == [Outcome.PUBLISHED]


# Counts and leases


async def test_a_front_whose_connections_have_gone_counts_none(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    for connections in (7, 0):
        await wire.end(Count(connections), type="count")
    assert shown(await wire.outbox()) == [("nb_users", 7), ("nb_users", 0)]
    assert await wire.hash("counts") == {}


async def test_a_front_that_was_swept_does_not_count(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.new_front("front-2").renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(2), front="front-1")
    await wire.end(Count(3), front="front-2")
    await wire.new_front("front-2").renew_lease(CHANNEL, DEAD)
    assert await wire.front.user_counts([CHANNEL]) == [2]
    await wire.worker.reap(CHANNEL, "front-2")
    # What it says too late changes nothing, and is answered all the same
    job = await wire.end(Count(9), front="front-2")
    assert (await wire.outbox())[-1].source == job.source
    assert shown(await wire.outbox())[-1] == ("nb_users", 2)


async def test_a_count_that_comes_twice_is_not_taken_for_a_newer_one(wire: Wire) -> None:
    """Enqueued again, and late: the front has told another count meanwhile."""
    await wire.front.renew_lease(CHANNEL, ALIVE)
    first, second = new_id(), new_id()
    for id, connections in ((first, 5), (second, 6), (first, 5)):
        await wire.end(Count(connections), type="count", id=id)
    assert shown(await wire.outbox()) == [("nb_users", 5), ("nb_users", 6)]
    assert (await wire.outbox())[-1].outcome is Outcome.DUPLICATE
    assert await wire.front.user_counts([CHANNEL]) == [6]


async def test_a_lease_is_new_or_known_and_tells_how_much_was_published(wire: Wire) -> None:
    assert await wire.front.renew_lease(CHANNEL, ALIVE) == Renewal(False, 0)
    await wire.end(Publish(b"{}"))
    assert await wire.front.renew_lease(CHANNEL, DEAD) == Renewal(True, 1)


async def test_a_lease_that_had_run_out_tells_so_when_it_is_renewed(wire: Wire) -> None:
    """Meanwhile counts were told without this front: it has to tell its own again."""
    await wire.front.renew_lease(CHANNEL, DEAD)
    assert await wire.front.renew_lease(CHANNEL, ALIVE) == Renewal(True, 0, had_expired=True)
    assert await wire.front.renew_lease(CHANNEL, ALIVE) == Renewal(True, 0)


async def test_a_front_whose_lease_has_run_out_is_dead_until_it_is_renewed(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.new_front("front-2").renew_lease(CHANNEL, DEAD)
    assert await wire.worker.expired_fronts(CHANNEL) == ["front-2"]
    await wire.new_front("front-2").renew_lease(CHANNEL, ALIVE)
    assert await wire.worker.expired_fronts(CHANNEL) == []


async def test_a_front_that_resigns_is_nobodys_to_look_for(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(2))
    await wire.front.release_lease(CHANNEL)
    assert await wire.worker.expired_fronts(CHANNEL) == []
    assert await wire.front.user_counts([CHANNEL]) == [0]
    assert await wire.front.renew_lease(CHANNEL, ALIVE) == Renewal(False, 1)


async def test_a_front_that_resigns_too_early_leaves_no_nickname_that_nobody_can_ever_take(wire: Wire) -> None:
    # Given a front that goes though one of its connections' ends was not told
    await wire.front.renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(1), type="count")
    await wire.register("jane")
    await wire.front.renew_lease(CHANNEL, DEAD)
    await wire.front.release_lease(CHANNEL)
    # Then a worker finds it when its lease has run out
    assert await wire.worker.expired_fronts(CHANNEL) == ["front-1"]
    await wire.worker.reap(CHANNEL, "front-1")
    # And nothing is left of it
    await assert_presence_is_right(wire, {})


# Sweeping


async def dying_front(wire: Wire, name: str = "front-1", people: int = 3) -> None:
    """A front with registered connections, whose lease then runs out."""
    await wire.new_front(name).renew_lease(CHANNEL, ALIVE)
    await wire.end(Count(people), front=name)
    for number in range(people):
        await wire.register(f"{name}-{number}", front=name, connection=number)
    await wire.new_front(name).renew_lease(CHANNEL, DEAD)
    await wire.news()


async def test_a_dead_front_is_swept_away_with_its_people_and_everyone_told(wire: Wire) -> None:
    # Given a front that died, and two that live, one of them with a name that begins alike
    for living in ("front-2", "front-11"):
        await wire.new_front(living).renew_lease(CHANNEL, ALIVE)
        await wire.end(Count(1), front=living)
        await wire.register(f"guest-of-{living}", front=living)
    await dying_front(wire, "front-1")
    # When it is swept
    await wire.worker.reap(CHANNEL, "front-1")
    # Then each of its people has left, the count is that of the living, and nobody else is touched
    told = await wire.news()
    exits = [("exiter", f"front-1-{number}") for number in range(3)]
    assert sorted(shown(told)[:-1]) == exits
    assert shown(told)[-1] == ("nb_users", 2)
    assert all(one.is_broadcast and one.source is None for one in told)
    await assert_presence_is_right(wire, {"guest-of-front-2": "front-2/1", "guest-of-front-11": "front-11/1"})
    assert await wire.worker.expired_fronts(CHANNEL) == []


async def test_a_front_is_swept_once_however_many_workers_do(wire: Wire) -> None:
    await dying_front(wire)
    for worker in (wire.worker, wire.new_worker("worker-2")):
        await worker.reap(CHANNEL, "front-1")
    assert len(await wire.news()) == 4


async def test_a_front_without_people_is_swept_in_silence(wire: Wire) -> None:
    await wire.front.renew_lease(CHANNEL, DEAD)
    await wire.worker.reap(CHANNEL, "front-1")
    assert await wire.outbox() == []
    assert await wire.worker.expired_fronts(CHANNEL) == []


@pytest.mark.parametrize("lease", [None, ALIVE])
async def test_a_front_that_is_not_dead_is_not_swept(wire: Wire, lease: float | None) -> None:
    await dying_front(wire, people=0 if lease is None else 3)
    if lease is None:
        await wire.front.release_lease(CHANNEL)
    else:
        await wire.front.renew_lease(CHANNEL, lease)  # it was only slow
    before = await everything(wire)
    await wire.worker.reap(CHANNEL, "front-1")
    assert await everything(wire) == before


async def test_people_of_a_front_that_was_swept_and_comes_back_are_announced_again(wire: Wire) -> None:
    # Given a front that was frozen for so long that it was reaped
    await dying_front(wire, people=1)
    await wire.worker.reap(CHANNEL, "front-1")
    await wire.news()
    # When it comes back and tells its nickname again
    assert not (await wire.front.renew_lease(CHANNEL, ALIVE)).was_known
    job = await wire.end(Restore("front-1-0"), connection=0)
    # Then the channel, which was told of an exit, is told that she is there
    (told,) = await wire.news()
    assert (told.source, told.is_broadcast) == (job.source, True)
    assert shown([told]) == [("newcomer", "front-1-0")]
    await assert_presence_is_right(wire, {"front-1-0": "front-1/0"})


# Dead letters


async def letters(wire: Wire) -> list[dict[bytes, bytes]]:
    entries = await wire.redis.call("XRANGE", wire.keys.dead, "-", "+", key=wire.keys.dead)
    return [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]


async def test_a_job_that_cannot_be_done_is_buried_whole_and_its_sender_told(wire: Wire) -> None:
    id, body = new_id(), encoded("image")
    job = await wire.end(DeadLetter("It crashed three times."), body, type="image", id=id)
    assert await letters(wire) == [
        {
            b"source": str(job.source).encode(),
            b"type": b"image",
            b"id": id.encode(),
            b"body": body,
            b"reason": b"It crashed three times.",
        }
    ]
    (told,) = await wire.outbox()
    assert (told.outcome, told.source) == (Outcome.DEAD_LETTERED, job.source)
    assert decoded([told])[0]["type"] == "uncompliant"
    assert "crashed" not in decoded([told])[0]["reason"]
    assert await wire.history() == []


@pytest.mark.parametrize(
    ("name", "bound", "kept"), [("DEAD_LETTERS", 2, [b"3", b"44"]), ("DEAD_BYTES", 4, [b"3", b"44"])]
)
async def test_dead_letters_are_bounded(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, bound: int, kept: list[bytes]
) -> None:
    monkeypatch.setattr(scripts, name, bound)
    wire = start()
    for body in (b"1", b"22", b"3", b"44"):
        await wire.end(DeadLetter("It crashed."), body)
    assert [letter[b"body"] for letter in await letters(wire)] == kept
    await assert_meters_are_right(wire)


async def test_the_newest_dead_letter_stays_whatever_its_size(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "DEAD_BYTES", 10)
    wire = start()
    for body in (b"1", b"x" * 1000):
        await wire.end(DeadLetter("It crashed."), body)
    assert [len(letter[b"body"]) for letter in await letters(wire)] == [1000]


async def test_dead_letters_grow_old(start: Start) -> None:
    wire = start(timings=Timings(dead_letters=0))
    for body in (b"1", b"2"):
        await wire.end(DeadLetter("It crashed."), body)
        await wire.let_a_moment_pass()
    assert [letter[b"body"] for letter in await letters(wire)] == [b"2"]


async def test_a_dead_letter_can_be_given_to_the_workers_again(wire: Wire) -> None:
    job = await wire.end(DeadLetter("It crashed."), b'"again"', id=new_id())
    ((place, _),) = await wire.redis.call("XRANGE", wire.keys.dead, "-", "+", key=wire.keys.dead)
    known = scripts.Scripts(wire.settings)
    assert await wire.redis.run(known.retry, wire.keys.for_script(Lane.LIGHT), (place,)) == 1
    assert await wire.redis.run(known.retry, wire.keys.for_script(Lane.LIGHT), (place,)) == 0
    (held,) = await wire.worker.read([CHANNEL], count=10)
    assert held.job == job
    assert await letters(wire) == []
    await assert_meters_are_right(wire)


async def test_a_dead_letter_is_published_although_its_author_has_come_back_since(start: Start) -> None:
    wire = start(require_registration=True)
    await wire.front.renew_lease(CHANNEL, ALIVE)
    message = MessageParser(wire.settings).parse(msgspec.json.encode(sample("text", author="jane")))
    await wire.end(DeadLetter("It crashed."), message.body, id=message.id, connection=1)
    await wire.register("jane", connection=2)
    await wire.news()
    ((place, _),) = await wire.redis.call("XRANGE", wire.keys.dead, "-", "+", key=wire.keys.dead)
    retry = scripts.Scripts(wire.settings).retry
    await wire.redis.run(retry, wire.keys.for_script(Lane.LIGHT), (place,))
    (held,) = await wire.worker.read([CHANNEL], count=10)
    await wire.worker.commit(held, Publish(message.body))
    assert [one.outcome for one in await wire.news()] == [Outcome.PUBLISHED]


async def test_a_dead_letter_can_be_thrown_away(wire: Wire) -> None:
    for body in (b"1", b"2"):
        await wire.end(DeadLetter("It crashed."), body)
    ((place, _), _) = await wire.redis.call("XRANGE", wire.keys.dead, "-", "+", key=wire.keys.dead)
    known = scripts.Scripts(wire.settings)
    assert await wire.redis.run(known.discard, wire.keys.for_script(), (place,)) == 1
    assert await wire.redis.run(known.discard, wire.keys.for_script(), (place,)) == 0
    assert [letter[b"body"] for letter in await letters(wire)] == [b"2"]
    await assert_meters_are_right(wire)


# All of it together


async def assert_meters_are_right(wire: Wire) -> None:
    """What is counted along is what is there."""
    published = await wire.outbox()
    assert await wire.meter("outbox_bytes") == sum(len(one.body) for one in published)
    sizes = await wire.redis.call("LRANGE", wire.key("outbox:sizes"), 0, -1, key=wire.key("outbox:sizes"))
    assert [int(size.split()[1]) for size in sizes] == [len(one.body) for one in published]
    assert await wire.meter("dead_bytes") == sum(len(letter[b"body"]) for letter in await letters(wire))
    inbox = await wire.redis.call("XRANGE", wire.key("inbox:light"), "-", "+", key=wire.key("inbox:light"))
    assert await wire.inbox_bytes() == sum(Job.parse(fields).size for _, fields in inbox)


async def assert_presence_is_right(wire: Wire, expected: dict[str, str] | None = None) -> None:
    """Each nickname belongs to one connection, and each connection has one nickname at the most."""
    users, addresses = await wire.hash("users"), await wire.hash("nicknames")
    assert {nickname.split()[0]: address for address, nickname in addresses.items()} == users
    if expected is not None:
        assert users == expected


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_what_is_counted_along_is_what_is_there(
    start: Start, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # Given a channel with narrow bounds, where workers come too late and fronts die
    monkeypatch.setattr(scripts, "DEAD_LETTERS", 3)
    wire = start(max_outbox_messages=20, max_outbox_bytes=5000, max_inbox_bytes=5000, max_stored_messages=3)
    await wire.worker.create_groups()
    chance = random.Random(seed)
    ids = [new_id() for _ in range(5)]
    fronts = [wire.new_front(f"front-{number}") for number in (1, 2)]
    held: list[Delivery] = []

    def effect() -> Effect:
        nickname = chance.choice(["jane", "joan", "john"])
        body = b"x" * chance.choice([0, 10, 1000, 6000])
        effects: list[Effect] = [
            Publish(body),
            Refuse("No."),
            Acknowledge(),
            DeadLetter("It crashed."),
            Count(chance.randrange(4)),
        ]
        return chance.choice([*effects, Register(nickname), Exit(nickname), Leave(), Like(nickname)])

    async def enqueue() -> None:
        front, body = chance.choice(fronts).front, b"y" * chance.choice([0, 2, 900])
        await wire.enqueue(wire.job(body, id=chance.choice(["", *ids]), front=front, connection=chance.randrange(3)))
        held.extend(await wire.worker.read([CHANNEL], count=5))

    async def end() -> None:
        if held:
            await wire.worker.commit(chance.choice(held), effect())  # maybe not for the first time

    async def live_or_die() -> None:
        front = chance.choice(fronts)
        await front.renew_lease(CHANNEL, chance.choice([ALIVE, ALIVE, DEAD]))
        for dead in await wire.worker.expired_fronts(CHANNEL):
            await wire.worker.reap(CHANNEL, dead)

    acts: list[Callable[[], Awaitable[None]]] = [enqueue, enqueue, end, end, end, live_or_die]
    # When anything happens in any order
    for step in range(200):
        await chance.choice(acts)()
        if step % 20 == 0:
            await assert_meters_are_right(wire)
            await assert_presence_is_right(wire)
    # And all jobs end
    for one in held:
        await wire.worker.commit(one, Acknowledge())
    # Then nothing is left over
    assert await wire.inbox_bytes() == await wire.size("inbox:light") == 0
    await assert_meters_are_right(wire)
    await assert_presence_is_right(wire)


async def test_who_begins_knows_how_long_ago_redis_has_lost_something(wire: Wire) -> None:
    assert (await wire.front.tail(CHANNEL, 1)).intact > Timings().settling
    await wire.front.renew_lease(CHANNEL, ALIVE, is_forgotten=True)
    assert (await wire.front.tail(CHANNEL, 1)).intact < Timings().settling
