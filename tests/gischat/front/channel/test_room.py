"""Rooms: joining without a hole and without a double, and to whom what is published goes.

Publications come through the real subscriber, as they do in a front; Redis is a fake that answers when the test wants.
Time is virtual: no test waits.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from gischat.broker.entries import LEAVE, STATE_LOST, Outcome, Publication, Source
from gischat.broker.history import Snapshot
from gischat.broker.outbox import Entry
from gischat.broker.resp_errors import ResponseError
from gischat.errors import Unavailable
from gischat.front.channel.recent_messages import ENTRY_BYTES, RecentMessages
from gischat.front.channel.room import Room
from gischat.front.close_status import HISTORY_TIMEOUT
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.state_reports import Incident, Report
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.subscription.subscriber import Subscriber
from gischat.protocol.messages import id_of, new_id
from gischat.timings import Timings
from tests.gischat.front.fakes import (
    CHANNEL,
    FRONT,
    FakeBroker,
    FakeMember,
    FakeOutbox,
    frames_in,
    message,
    publication,
    said,
)
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time

A_WHILE = 1.0  # longer than counts are gathered


class Scene:
    """A front with one room, to be used as a context."""

    def __init__(self) -> None:
        self.broker = cast("Any", FakeBroker())
        self.outbox = cast("Any", FakeOutbox())
        self.dispatcher = Dispatcher(self.broker, settings())
        self.room = Room(CHANNEL, self.broker, self.dispatcher)
        self._subscriber = Subscriber(self.broker, [self.outbox], {CHANNEL: self.room}, self.dispatcher)
        self._published = 0

    async def __aenter__(self) -> "Scene":
        await self._subscriber.seek_to_tail()
        self._reading = asyncio.create_task(self._subscriber.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()

    async def enter(self, number: int = 100, after: str | None = None) -> FakeMember:
        member = FakeMember(number)
        self.room.join(member, after)
        await settle()
        return member

    async def enter_wholly(self, *numbers: int) -> list[FakeMember]:
        """Members that have got an empty history and been counted."""
        members = [FakeMember(number) for number in numbers]
        for member in members:
            self.room.join(member)
        await settle()
        self.answer()
        while self.room.user_count.published_version < self.room.user_count.version:
            await self.publish(self.own_count())
            await pass_time(A_WHILE)
        for member in members:
            member.written.clear()
        return members

    async def come_back(self, last: Publication) -> FakeMember:
        """Somebody whose last message that was."""
        return await self.enter(after=last.id.decode())

    def retain(self, *publications: Publication) -> None:
        """The answer to the last question for what Redis retains."""
        self.broker.retentions[-1].set_result([Entry(b"1-0", one) for one in publications])

    def answer(self, *history: Publication | str, published: int | None = None) -> None:
        """The answer to the last question for a history: of what was published, or was so long before."""
        seen = self._published if published is None else published
        bodies = [one.body if isinstance(one, Publication) else self.said_long_ago(one) for one in history]
        self.broker.snapshots[-1].set_result(Snapshot(seen, bodies))

    def said_long_ago(self, words: str) -> bytes:
        """A message that the front knew of when it began."""
        body = said(words)
        self.room.seed_seen({id_of(body): 0})
        return body

    def next(self, words: str = "", *, type: str = "text", **what: Any) -> Publication:
        """What is published next."""
        self._published += 1
        return publication(self._published, said(words, type=type) if words else b"", type=type, **what)

    def own_count(self, words: str = "own count") -> Publication:
        """The end of the last count that this front told."""
        return self.next(words, type="nb_users", source=self.broker.jobs[-1].source)

    def foreign_count(self, words: str = "count", people: int = 0) -> Publication:
        """What another front told meanwhile."""
        count = self.next(words, type="nb_users", source=Source("front-2", 1, 1))
        return replace(count, body=msgspec.json.encode({**msgspec.json.decode(count.body), "nb_users": people}))

    async def publish(self, *publications: Publication) -> None:
        """Publishes so that they are read together, and delivered."""
        self.outbox.publish(*publications)
        await settle()

    async def catch_up(self) -> None:
        """Hears something, for which it may have asked long ago, and something that it has asked for since."""
        for _ in range(2):
            await self.publish(self.next("heard"))

    def begin_anew(self) -> None:
        """Redis has lost all it knew: what is published next is the first."""
        self._published = 0


# Joining, in every order in which things can happen


class Order(NamedTuple):
    """One way in which joining and publishing can interleave."""

    batches: tuple[int, ...]  # how many publications are read together
    answered_before: int  # the batch before which the history comes
    seen: int  # how many of the publications the history knows of
    pause: float  # between all of that


EARLIER = 2  # texts, published before the client came
LATER = 3  # publications, while it joins


def orders() -> Iterator[Order]:
    for batches in [(3,), (1, 2), (2, 1), (1, 1, 1)]:
        for answered_before, seen, pause in product(range(len(batches) + 1), range(LATER + 1), (0, 0.3)):
            yield Order(batches, answered_before, seen, pause)


OTHERS = list(product(("text", "foreign"), repeat=LATER - 1))
KINDS = sorted({(*kinds[:place], "own", *kinds[place:]) for kinds in OTHERS for place in range(LATER)})


class Joined(NamedTuple):
    """What came of joining in one of these orders."""

    order: Order
    texts: list[str]  # all that were published, in order
    newest_count: str
    member: FakeMember  # who was there before
    joiner: FakeMember

    def __str__(self) -> str:
        return f"{self.order}: {self.joiner.received()}"


async def joined(scene: Scene, kinds: tuple[str, ...], order: Order) -> Joined:
    # Given a member, and texts that were published before
    (member,) = await scene.enter_wholly(1)
    earlier = [scene.next(f"earlier {number}") for number in range(EARLIER)]
    await scene.publish(*earlier)
    # When a client joins while others talk and come and go
    joiner = await scene.enter(2)
    later = list(published_while_joining(scene, kinds))
    texts = [one for one in (*earlier, *later) if one.type == "text"]
    seen = earlier[-1].offset + order.seen
    history = [one for one in texts if one.offset <= seen]
    unread = list(later)
    for batch, size in enumerate((*order.batches, 0)):
        if batch == order.answered_before:
            scene.answer(*history, published=seen)
        await pass_time(order.pause)
        await scene.publish(*unread[:size])
        del unread[:size]
    await pass_time(A_WHILE)
    counts = [words_of(one) for one in later if one.type == "nb_users"]
    return Joined(order, [words_of(one) for one in texts], counts[-1], member, joiner)


def published_while_joining(scene: Scene, kinds: tuple[str, ...]) -> Iterator[Publication]:
    """The count that tells of the joiner, among texts and the counts that other fronts told before and after."""
    is_counted = False
    for number, kind in enumerate(kinds):
        if kind == "text":
            yield scene.next(f"later {number}")
        elif kind == "own":
            is_counted = True
            yield scene.own_count("count with the joiner")
        else:
            yield scene.foreign_count(f"count {'with' if is_counted else 'without'} the joiner, {number}")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@virtual_time
async def test_joining_leaves_no_hole_and_tells_nothing_twice_nor_what_is_out_of_date(kinds: tuple[str, ...]) -> None:
    for order in orders():
        async with Scene() as scene:
            result = await joined(scene, kinds, order)
        # Then the joiner has every text once, in order, as if it had always been there
        assert texts_of(result.joiner) == result.texts, str(result)
        assert texts_of(result.member) == result.texts, str(result)
        # And it gets no count that does not know of it, and at last the newest
        counts = counts_of(result.joiner)
        assert not any("without" in count for count in counts), str(result)
        assert counts[-1:] == counts_of(result.member)[-1:] == [result.newest_count], str(result)


def words_of(publication: Publication) -> str:
    words: str = msgspec.json.decode(publication.body)["said"]
    return words


def texts_of(member: FakeMember) -> list[str]:
    return [words for words in member.received() if "count" not in words]


def counts_of(member: FakeMember) -> list[str]:
    return [words for words in member.received() if "count" in words]


@virtual_time
async def test_many_who_come_together_share_one_reading_of_the_history() -> None:
    async with Scene() as scene:
        members = [FakeMember(number) for number in range(100)]
        for member in members:
            scene.room.join(member)
        await settle()
        assert len(scene.broker.snapshots) == 1
        scene.answer("history")
        await settle()
        assert all(member.received() == ["history"] for member in members)
        # Who comes later gets a history of its own
        await scene.enter()
        assert len(scene.broker.snapshots) == 2


@virtual_time
async def test_a_history_that_redis_could_not_give_is_asked_for_again() -> None:
    async with Scene() as scene:
        joiner = await scene.enter()
        await scene.publish(scene.next("meanwhile"))
        for _ in range(3):
            scene.broker.snapshots[-1].set_exception(Unavailable("Redis is away"))
            await settle()
        scene.answer("history", published=0)
        await settle()
        assert texts_of(joiner) == ["history", "meanwhile"]


@virtual_time
async def test_a_client_whose_history_cannot_be_read_is_not_left_deaf() -> None:
    """A Redis beyond its memory, say, answers every script with an error."""
    async with Scene() as scene:
        joiner = await scene.enter()
        scene.broker.snapshots[-1].set_exception(ResponseError("OOM command not allowed"))
        await pass_time(10)
        # When it is asked for again, maybe, and something is published
        for asked in scene.broker.snapshots[1:]:
            asked.set_result(Snapshot(0, []))
        await scene.publish(scene.own_count(), scene.next("hello"))
        await pass_time(10)
        # Then the client gets it, or knows at least that it has to come again
        assert texts_of(joiner) == ["hello"] or joiner.closed_with


@virtual_time
async def test_a_joiner_hears_what_no_history_holds_though_its_own_comes_late() -> None:
    """A nickname's `newcomer`, a cheat code: broadcast and never stored. Its echo is how a client knows."""
    async with Scene() as scene:
        # Given a client that registers and talks at once, while its history is slow to come
        joiner = await scene.enter()
        newcomer, hello, wizz = scene.next("newcomer", type="newcomer"), scene.next("hello"), scene.next("wizz")
        await scene.publish(newcomer, hello, wizz)
        # When the history comes, read after all of that
        scene.answer("of long ago", hello)
        await pass_time(A_WHILE)
        # Then it is told of everything once, in its order
        assert joiner.received() == ["of long ago", "newcomer", "hello", "wizz"]


@virtual_time
async def test_a_history_shorter_than_what_was_published_meanwhile_leaves_no_hole() -> None:
    async with Scene() as scene:
        joiner = await scene.enter()
        texts = [scene.next(str(number)) for number in range(10)]
        await scene.publish(*texts)
        scene.answer(*texts[-2:])
        await pass_time(A_WHILE)
        assert joiner.received() == [str(number) for number in range(10)]


@virtual_time
async def test_what_waits_for_a_history_that_does_not_come_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gischat.front.channel.join_buffer.MAX_BUFFERED_BYTES", 1500)
    async with Scene() as scene:
        joiner = await scene.enter()
        await scene.publish(scene.next("x" * 900))
        assert joiner.closed_with == []
        await scene.publish(scene.next("x" * 900))
        assert [code for code, _ in joiner.closed_with] == [1013]
        # And what comes while it is being closed is not kept for it any more
        await scene.publish(scene.next("too late"))
        assert len(joiner.closed_with) == 1
        assert joiner.told == [HISTORY_TIMEOUT.user_message]
        scene.answer()
        await pass_time(A_WHILE)
        assert "too late" not in joiner.received()


# Coming back


@virtual_time
async def test_who_comes_back_is_told_what_the_front_has_heard_and_redis_is_not_asked() -> None:
    async with Scene() as scene:
        texts = [scene.next(str(number)) for number in range(4)]
        count, like = scene.foreign_count(), scene.next("like", type="like", outcome=Outcome.DONE, to=f"{FRONT}/9")
        texts.append(scene.next("4"))
        await scene.publish(*texts[:4], count, like, texts[4])
        for last, missed in ((texts[1], ["2", "3", "4"]), (texts[4], []), (count, ["4"]), (like, ["4"])):
            member = await scene.come_back(last)
            assert texts_of(member) == missed
        # And then what follows, once
        await scene.publish(scene.own_count(), scene.next("new"))
        await pass_time(A_WHILE)
        assert texts_of(member) == ["4", "new"]
        assert scene.broker.retentions == scene.broker.snapshots == []


@virtual_time
async def test_many_who_come_back_to_a_young_front_share_one_reading_of_what_redis_retains() -> None:
    async with Scene() as scene:
        before = [scene.next(str(number)) for number in range(3)]
        scene.room.start_at(3, {})
        members = [await scene.come_back(before[0]) for _ in range(50)]
        # When something is published and withdrawn meanwhile
        await scene.publish(scene.next("3"))
        scene.retain(*before)
        await settle()
        assert all(member.received() == ["1", "2", "3"] for member in members)
        # Then nobody needs to ask again, not even about a message that nobody knows
        assert texts_of(await scene.come_back(before[1])) == ["2", "3"]
        await scene.come_back(scene.next("unknown"))
        assert len(scene.broker.retentions) == 1


@virtual_time
async def test_who_missed_more_than_is_kept_is_told_so_before_the_history() -> None:
    async with Scene() as scene:
        joiner = await scene.enter(after=new_id())
        scene.retain()
        await settle()
        scene.answer("history")
        await settle()
        refusal, history = joiner.received()
        assert "may be missing" in refusal
        assert history == "history"


@virtual_time
async def test_who_has_heard_more_than_this_front_gets_what_it_missed_when_that_has_caught_up() -> None:
    async with Scene() as scene:
        texts = [scene.next(str(number)) for number in range(4)]
        await scene.publish(texts[0])
        joiner = await scene.come_back(texts[2])
        scene.retain()
        await settle()
        scene.answer(*texts)
        await scene.publish(texts[1])
        assert joiner.received() == []
        await scene.publish(*texts[2:], scene.own_count())
        await pass_time(A_WHILE)
        assert joiner.received() == ["3", "own count"]


@virtual_time
async def test_a_front_that_was_deaf_for_a_moment_does_not_leave_out_what_it_did_not_hear() -> None:
    async with Scene() as scene:
        before, missed, after = (scene.next(words) for words in ("before", "missed", "after"))
        await scene.publish(before, after)
        joiner = await scene.come_back(before)
        scene.retain()
        await settle()
        while not scene.broker.snapshots[-1].done():
            scene.answer(missed, after)
            await pass_time(2 * A_WHILE)
        assert joiner.received()[1:] == ["missed", "after"]
        assert texts_of(await scene.come_back(after)) == []


@virtual_time
async def test_a_front_that_began_while_lost_messages_were_said_again_does_not_take_them_for_new() -> None:
    """Somebody who has heard them elsewhere is not told that nothing else came after his last message."""
    async with Scene() as scene:
        scene.room.start_at(0, {}, 1.0)  # a second after Redis had lost something
        new = scene.next("new")
        await scene.publish(new)
        await scene.come_back(new)
        assert scene.broker.retentions
        scene.retain()
        await pass_time(Timings().settling)
        await scene.catch_up()
        later = scene.next("later")
        await scene.publish(later, scene.next("after"))
        assert texts_of(await scene.come_back(later)) == ["after"]


@pytest.mark.parametrize("is_other_front", [False, True])
@virtual_time
async def test_what_stood_behind_a_message_when_redis_lost_something_does_not_count(is_other_front: bool) -> None:
    """It is said again in another order."""
    async with Scene() as scene:
        first = scene.next("first")
        await scene.publish(first, scene.next("lost"))
        if is_other_front:
            await scene.publish(scene.next(type=STATE_LOST, outcome=Outcome.CONTROL))
        else:
            scene.begin_anew()
        second = scene.next("second")
        await scene.publish(second)
        for last in (first, second):
            joiner = await scene.come_back(last)
            scene.answer("history")
            await settle()
            assert "may be missing" in joiner.received()[0]
        # Nor does what this front hears of it late, for it was frozen
        await pass_time(Timings().settling)
        third = scene.next("third")
        await scene.publish(third)
        joiner = await scene.come_back(third)
        scene.answer("history")
        await settle()
        assert "may be missing" in joiner.received()[0]
        # When all has been said again, and heard, all is as before
        await scene.catch_up()
        fourth = scene.next("fourth")
        await scene.publish(fourth, scene.next("fifth"))
        assert texts_of(await scene.come_back(fourth)) == ["fifth"]
        assert scene.broker.retentions == []


@virtual_time
async def test_a_front_that_begins_while_what_redis_lost_is_said_again_does_not_count_that_either() -> None:
    async with Scene() as scene:
        scene.room.start_at(0, {}, intact=1.0)
        # Given that another front says again what stood behind a message before that is said again itself
        first, second = scene.next("first"), scene.next("second")
        await scene.publish(replace(second, offset=1), replace(first, offset=2))
        # When somebody comes back who has the first alone, then it is not told that it missed nothing
        joiner = await scene.come_back(first)
        scene.retain()
        await settle()
        scene.answer("second")
        await settle()
        assert "may be missing" in joiner.received()[0]
        assert joiner.received()[1:] == ["second"]
        # When all has been said again, all is as it should be
        await pass_time(Timings().settling - 1)
        await scene.catch_up()
        third = scene.next("third")
        await scene.publish(third, scene.next("fourth"))
        assert texts_of(await scene.come_back(third)) == ["fourth"]


@virtual_time
async def test_who_has_heard_last_what_came_twice_may_have_heard_it_the_first_time() -> None:
    async with Scene() as scene:
        come = presence(scene, "newcomer")
        await scene.publish(come, presence(scene, "exiter"), replace(come, offset=scene.next().offset))
        await scene.publish(scene.next("new"))
        joiner = await scene.come_back(come)
        scene.retain()
        await settle()
        scene.answer("history")
        await settle()
        assert joiner.received()[0].startswith("What you missed is no longer kept")


@pytest.mark.parametrize("is_all", [False, True])
@virtual_time
async def test_what_was_withdrawn_is_not_told_who_comes_back(is_all: bool) -> None:
    async with Scene() as scene:
        texts = [scene.next(str(number)) for number in range(3)]
        await scene.publish(*texts)
        scene.room.recent.delete_messages(None if is_all else {texts[1].id})
        await scene.publish(scene.next("3"))
        assert texts_of(await scene.come_back(texts[0])) == (["3"] if is_all else ["2", "3"])


@virtual_time
async def test_a_message_that_is_withdrawn_while_what_is_retained_is_read_does_not_come_back() -> None:
    async with Scene() as scene:
        texts = [scene.next(str(number)) for number in range(3)]
        scene.room.start_at(3, {})
        joiner = await scene.come_back(texts[0])
        scene.room.recent.delete_messages({texts[1].id})
        scene.retain(*texts)
        await settle()
        scene.retain(texts[0], replace(texts[1], body=b""), texts[2])
        await settle()
        assert joiner.received() == ["2"]


@virtual_time
async def test_what_is_kept_for_those_who_come_back_is_bounded_and_counted() -> None:
    memory = MemoryBudget(10**9, RejectionLog())
    recent = RecentMessages(max_bytes=10 * (100 + ENTRY_BYTES), max_entries=12, memory=memory)
    # Beyond a bound in bytes, in number or in time the oldest go, and nobody is told less than all
    for number in range(100):
        recent.record(b"large %d" % number, b"x" * 100)
    assert (recent.size_since(b"large 90"), recent.since(b"large 89")) == (900, None)
    for number in range(100):
        recent.record(b"small %d" % number, b"x")
    assert (recent.since(b"small 88"), recent.since(b"small 87")) == ([b"x" * 11], None)
    assert memory.used == 12 + 12 * ENTRY_BYTES
    await pass_time(Timings().ids + 1)
    assert recent.since(b"small 99") is None
    assert memory.used == 0


# Counts


@virtual_time
async def test_counts_are_gathered_the_first_at_once_and_then_the_newest() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        for number in range(20):
            await scene.publish(scene.foreign_count(f"count {number}"))
        assert member.received() == ["count 0"]
        await pass_time(A_WHILE)
        assert member.received() == ["count 0", "count 19"]
        await pass_time(A_WHILE)
        assert len(member.received()) == 2


@virtual_time
async def test_a_thousand_who_come_cost_each_a_few_counts() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        for number in range(2, 1002):
            scene.room.join(FakeMember(number))
            if not scene.broker.snapshots[-1].done():
                scene.answer()
            await pass_time(0.001)
            if scene.broker.jobs[-1].source.number > scene.room.user_count.published_version:
                await scene.publish(scene.own_count())
        await pass_time(A_WHILE)
        assert 2 <= len(counts_of(member)) <= 12


@virtual_time
@pytest.mark.parametrize(
    ("here", "everywhere", "seconds"), [(50, 0, 0.25), (51, 0, 1), (301, 0, 3), (1, 51, 1), (1, 301, 3)]
)
async def test_the_more_there_are_the_rarer_are_counts(here: int, everywhere: int, seconds: float) -> None:
    """At each of them every QGIS asks for the list of users."""
    async with Scene() as scene:
        (member, *_) = await scene.enter_wholly(*range(1, here + 1))
        await pass_time(7)
        member.written.clear()
        # When the count changes again and again
        for number in range(100):
            await scene.publish(scene.foreign_count(f"count {number}", people=everywhere))
            await pass_time(0.1)
        # Then the first is told at once, and the last of all
        told = counts_of(member)
        assert told[0] == "count 0"
        assert len(told) in (int(10 / seconds), int(10 / seconds) + 1)
        await pass_time(seconds)
        assert counts_of(member)[-1] == "count 99"


@virtual_time
async def test_who_joins_a_full_room_is_let_in_and_told_its_count_at_once() -> None:
    async with Scene() as scene:
        (member, *_) = await scene.enter_wholly(*range(1, 302))
        # Given a count that has just been told to all
        await pass_time(7)
        member.written.clear()
        await scene.publish(scene.foreign_count("count before"))
        # When somebody joins
        joiner = await scene.enter(999)
        scene.answer("history")
        await pass_time(0.3)
        await scene.publish(scene.own_count("count with the joiner"))
        # Then it is there, and was told so
        assert joiner.received() == ["history", "count with the joiner"]
        await scene.publish(scene.next("hello"))
        assert texts_of(joiner) == ["history", "hello"]
        # And the others are told later
        assert counts_of(member) == ["count before"]
        await pass_time(3)
        assert counts_of(member) == ["count before", "count with the joiner"]


@virtual_time
async def test_who_joins_is_sent_its_count_even_if_nobody_else_comes_or_goes() -> None:
    async with Scene() as scene:
        await scene.enter_wholly(1)
        joiner = await scene.enter(2)
        scene.answer()
        await scene.publish(scene.own_count("count 2"))
        await pass_time(A_WHILE)
        assert joiner.received() == ["count 2"]


# To whom


@virtual_time
async def test_what_is_due_together_goes_to_each_in_one_write() -> None:
    async with Scene() as scene:
        members = await scene.enter_wholly(0, 1, 2)
        await scene.publish(scene.next("a"), scene.next("b"), scene.next("c"))
        for member in members:
            assert len(member.written) == 1
            assert member.received() == ["a", "b", "c"]


@virtual_time
async def test_a_like_goes_to_one_connection_alone() -> None:
    async with Scene() as scene:
        members = await scene.enter_wholly(1, 2, 11)
        joiner = await scene.enter(12)
        await scene.publish(scene.next("like", type="like", outcome=Outcome.DONE, to=f"{FRONT}/1"))
        await scene.publish(scene.next("like too", type="like", outcome=Outcome.DONE, to=f"{FRONT}/12"))
        assert [member.received() for member in members] == [["like"], [], []]
        assert joiner.received() == ["like too"]


@virtual_time
@pytest.mark.parametrize("to", ["front-2/1", f"{FRONT}0/1", f"{FRONT}/999"])
async def test_a_like_for_nobody_here_goes_to_nobody(to: str) -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await scene.publish(scene.next("like", type="like", outcome=Outcome.DONE, to=to))
        assert member.received() == []


@virtual_time
@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.DEAD_LETTERED])
async def test_a_refusal_is_not_told_to_the_room(outcome: Outcome) -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        refused = scene.next("no", type="uncompliant", outcome=outcome, source=Source(FRONT, 1, 1))
        await scene.publish(refused, scene.next("hello"))
        assert member.received() == ["hello"]


@virtual_time
async def test_an_end_with_nothing_to_show_shows_nothing() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        for outcome in (Outcome.DONE, Outcome.DUPLICATE):
            await scene.publish(scene.next(outcome=outcome, source=Source(FRONT, 1, 1)))
        assert member.written == []


@virtual_time
async def test_a_job_has_ended_before_the_room_hears_of_it() -> None:
    """So that a client's next message is on its way as soon as it can know of the one before."""
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        heard: list[int] = []
        job_queue = scene.dispatcher.open(CHANNEL)
        job_queue.submit(message(), lambda ending: heard.append(len(member.received())))
        await scene.publish(scene.next("hello", source=scene.broker.jobs[-1].source))
        assert heard == [0]
        assert member.received() == ["hello"]


# Going


@virtual_time
async def test_who_has_left_hears_nothing_any_more() -> None:
    async with Scene() as scene:
        member, leaver = await scene.enter_wholly(1, 2)
        scene.room.leave(leaver)
        hello, like = scene.next("hello"), scene.next("like", type="like", outcome=Outcome.DONE, to=f"{FRONT}/2")
        await scene.publish(hello, like, scene.foreign_count())
        await pass_time(A_WHILE)
        assert leaver.written == []
        assert texts_of(member) == ["hello"]


@virtual_time
async def test_who_leaves_before_its_history_comes_is_sent_none() -> None:
    async with Scene() as scene:
        leaver = await scene.enter()
        scene.room.leave(leaver)
        await scene.publish(scene.next("hello"))
        scene.answer("history")
        await pass_time(A_WHILE)
        assert leaver.written == []


@virtual_time
async def test_leaving_again_changes_nothing() -> None:
    async with Scene() as scene:
        member, leaver = await scene.enter_wholly(1, 2)
        for _ in range(3):
            scene.room.leave(leaver)
        scene.room.leave(FakeMember(999))
        assert scene.room.user_count.connections == 1
        assert list(scene.room.connections.values()) == [member]


@virtual_time
async def test_coming_and_going_is_counted() -> None:
    async with Scene() as scene:
        members = await scene.enter_wholly(0, 1, 2)
        assert scene.room.user_count.connections == 3
        for member in members:
            scene.room.leave(member)
        assert scene.room.user_count.connections == 0
        assert scene.room.connections == {}


# When Redis forgets


@virtual_time
async def test_a_message_that_is_published_a_second_time_is_heard_once() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        hello = scene.next("hello")
        await scene.publish(hello)
        again = publication(scene.next().offset, hello.body)
        await scene.publish(again, scene.next("more"))
        assert member.received() == ["hello", "more"]


@virtual_time
async def test_publications_that_were_missed_are_told_of_and_reported() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        scene.next()  # published, and trimmed before this front could read it
        await scene.publish(scene.next("hello"))
        gap, hello = member.received()
        assert "may be missing" in gap
        assert hello == "hello"
        assert await scene.dispatcher.reports.next() == Report(Incident.GAP, CHANNEL)


@virtual_time
async def test_a_history_of_what_redis_has_lost_is_read_again_and_nothing_of_it_comes_twice() -> None:
    """The front lags: what it had not heard when Redis lost it is said again by others, under other numbers."""
    async with Scene() as scene:
        await scene.publish(*[scene.next(str(number)) for number in range(5)])
        # Given a joiner with a history of more than the front has heard
        joiner = await scene.enter()
        lost = [scene.next("lost"), scene.next("lost, too")]
        scene.answer(*lost)
        # When Redis loses that, and all else, and counts on
        scene.begin_anew()
        await scene.publish(*[scene.next(str(number)) for number in range(5, 12)])
        assert texts_of(joiner) == []
        again = [publication(scene.next().offset, one.body) for one in lost]
        await pass_time(A_WHILE)
        scene.answer(*lost)
        # And it is said again
        await scene.publish(*again, scene.own_count())
        await pass_time(A_WHILE)
        assert texts_of(joiner) == [str(number) for number in range(5, 12)] + ["lost", "lost, too"]


@virtual_time
async def test_a_history_that_is_never_heard_is_not_waited_for_without_end() -> None:
    """It was trimmed before this front could hear it."""
    async with Scene() as scene:
        joiner = await scene.enter()
        trimmed = scene.next("trimmed")
        await scene.publish(scene.next("new"))
        while not scene.broker.snapshots[-1].done():
            scene.answer(trimmed)
            await pass_time(2 * A_WHILE)
        assert texts_of(joiner)[-2:] == ["trimmed", "new"]


@virtual_time
@pytest.mark.parametrize("is_told_by", ["numbers", "order"])
async def test_who_is_on_a_front_that_was_frozen_while_redis_lost_something_is_told_of_a_gap(is_told_by: str) -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await scene.publish(scene.next("heard"))
        member.written.clear()
        # When nothing is heard for long, and then of a Redis that has lost something
        await pass_time(10)
        if is_told_by == "numbers":
            scene.begin_anew()
            await scene.publish(scene.next("after"))
        else:  # another front has noticed; what came before was lost, and was not heard here
            await scene.publish(scene.next("after"), scene.next(type=STATE_LOST, outcome=Outcome.CONTROL))
        told = member.received()
        assert [words for words in told if "may be missing" not in words] == ["after"]
        assert len(told) == 2
        # Then once
        await scene.publish(scene.next(type=STATE_LOST, outcome=Outcome.CONTROL))
        assert len(member.received()) == 2


@virtual_time
async def test_nothing_newer_is_enqueued_before_what_redis_has_lost_is_said_again() -> None:
    """Redis refuses what comes from a front that has heard more than it knows of."""
    async with Scene() as scene:
        await scene.publish(*(scene.next(str(number)) for number in range(10)))
        # When others speak already in a channel that begins anew
        scene.begin_anew()
        await scene.publish(scene.next("hello"), scene.next("again"))
        # Then this front still says what it had heard, until it begins anew itself
        assert scene.dispatcher.positions[CHANNEL].required == 10
        scene.room.reset()
        await scene.publish(scene.next("and again"))
        assert scene.dispatcher.positions[CHANNEL].required == 3


@virtual_time
async def test_who_is_there_hears_a_redis_that_begins_anew() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        joiner = await scene.enter(2)
        await scene.publish(*(scene.next(str(number)) for number in range(10)))
        scene.answer(published=10)
        await settle()
        member.written.clear()
        joiner.written.clear()
        scene.begin_anew()
        await scene.publish(scene.own_count(), scene.next("hello"), scene.next("again"))
        for one in (member, joiner):
            assert [words for words in texts_of(one) if "may be missing" not in words] == ["hello", "again"]


@virtual_time
async def test_who_came_between_a_loss_and_the_news_of_it_is_told_of_a_gap() -> None:
    """What was lost is in no history then, and what is said again is heard by those alone who have not heard it."""
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await pass_time(10)
        await scene.publish(scene.next("lost"))
        await scene.publish(scene.next("heard"))
        member.written.clear()
        joiner = await scene.enter(2)
        scene.answer()
        waiting = await scene.enter(3)
        await scene.publish(scene.own_count(), scene.next(type=STATE_LOST, outcome=Outcome.CONTROL))
        assert texts_of(member) == []
        assert texts_of(joiner) == ["The server was cut off for a moment: some messages may be missing."]
        # And a history that was read before, and has not come yet, is read again
        scene.answer("read too early")
        await settle()
        scene.answer("lost, and said again")
        await settle()
        assert texts_of(waiting) == ["lost, and said again"]


# Nicknames


def granted(scene: Scene, to: str, nickname: str = "jane") -> Publication:
    return replace(scene.next(nickname, type="newcomer", outcome=Outcome.GRANTED), to=to, id=new_id().encode())


@virtual_time
async def test_a_granted_nickname_is_its_connections_and_told_to_all() -> None:
    async with Scene() as scene:
        first, second = await scene.enter_wholly(1, 2)
        await scene.publish(granted(scene, f"{FRONT}/1"))
        assert (len(first.granted), len(second.granted)) == (1, 0)
        assert first.received() == second.received() == ["jane"]


@virtual_time
async def test_a_nickname_that_somebody_gets_who_has_gone_is_given_up() -> None:
    async with Scene() as scene:
        await scene.enter_wholly(1)
        await scene.publish(granted(scene, f"{FRONT}/7"), granted(scene, "front-2/7"))
        left = [job for job in scene.broker.jobs if job.type == LEAVE]
        assert [job.source.connection_id for job in left] == [f"{FRONT}/7"]


@virtual_time
async def test_nicknames_are_known_in_the_order_in_which_they_were_published() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        order: list[str] = []
        member.grant_nickname = lambda newcomer: order.append("granted")  # type: ignore[method-assign]
        job_queue = scene.dispatcher.open(CHANNEL)
        job_queue.submit(message(), lambda ending: order.append("own end"))
        await settle()
        end = scene.next("bye", source=scene.broker.jobs[-1].source)
        scene._published -= 1
        await scene.publish(granted(scene, f"{FRONT}/1"), replace(end, offset=end.offset + 1))
        assert order == ["granted", "own end"]


def presence(scene: Scene, type: str, *, id: str = "", outcome: Outcome = Outcome.PUBLISHED) -> Publication:
    """That jane has come or gone, as workers publish it."""
    body = msgspec.json.encode({"type": type, "id": id or new_id(), "timestamp": 1_700_000_000, type: "jane"})
    return replace(scene.next(type=type, outcome=outcome), body=body, id=id_of(body))


def types_of(member: FakeMember) -> list[str]:
    return [msgspec.json.decode(frame.data)["type"] for frame in frames_in(b"".join(member.written))]


@virtual_time
async def test_who_was_said_to_be_gone_after_it_had_come_is_said_to_be_there() -> None:
    """Redis has lost a coming and a going; each front says its own again, and the going comes last."""
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        come = presence(scene, "newcomer")
        await scene.publish(come, presence(scene, "exiter", id=new_id()))
        # What was heard is not told again, unless the room was told the contrary since
        await scene.publish(again := replace(come, offset=scene.next().offset), replace(again, offset=again.offset + 1))
        assert types_of(member) == ["newcomer", "exiter", "newcomer"]


@virtual_time
async def test_a_restored_nickname_is_told_to_those_who_believe_that_it_is_gone() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await scene.publish(presence(scene, "newcomer", outcome=Outcome.RESTORED))
        assert types_of(member) == []
        await scene.publish(presence(scene, "exiter"), presence(scene, "newcomer", outcome=Outcome.RESTORED))
        assert types_of(member) == ["exiter", "newcomer"]
