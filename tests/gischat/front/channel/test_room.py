"""Rooms: joining without missing or duplicate messages, and the receivers of publications.

Publications come through the real subscriber, as in a front; Redis is a fake that answers when the test decides.
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
from gischat.front.channel.join_buffer import MISSED
from gischat.front.channel.recent_messages import ENTRY_BYTES, RecentMessages
from gischat.front.channel.room import GAP, Room
from gischat.front.close_status import HISTORY_TIMEOUT
from gischat.front.dispatch.dispatcher import Dispatcher
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
    message,
    publication,
    said,
)
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time

A_WHILE = 1.0  # longer than the front delays counts


class Scene:
    """A front with one room, as an asynchronous context manager."""

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
        """Add members that have received an empty history and a count."""
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

    async def reconnect(self, last: Publication) -> FakeMember:
        """A member that reconnects, and whose last message was `last`."""
        return await self.enter(after=last.id.decode())

    async def received_after(self, last: Publication) -> list[str]:
        """What a client receives that reconnects with that last message; Redis retains nothing but a history."""
        joiner = await self.reconnect(last)
        if self.broker.retentions and not self.broker.retentions[-1].done():
            self.retain()
            await settle()
        self.answer("history")
        await settle()
        return joiner.received()

    def retain(self, *publications: Publication) -> None:
        """Answer the last request for the retained publications."""
        self.broker.retentions[-1].set_result([Entry(b"1-0", one) for one in publications])

    def answer(self, *history: Publication | str, published: int | None = None) -> None:
        """Answer the last request for a history, with publications or older texts."""
        seen = self._published if published is None else published
        bodies = [one.body if isinstance(one, Publication) else self.older_text(one) for one in history]
        self.broker.snapshots[-1].set_result(Snapshot(seen, bodies))

    def older_text(self, words: str) -> bytes:
        """A message that was published before the front started."""
        body = said(words)
        self.room.seed_seen({id_of(body): 0})
        return body

    def next(self, words: str = "", *, type: str = "text", **what: Any) -> Publication:
        """The next publication."""
        self._published += 1
        return publication(self._published, said(words, type=type) if words else b"", type=type, **what)

    def own_count(self, words: str = "own count") -> Publication:
        """The publication of this front's last count."""
        return self.next(words, type="nb_users", source=self.broker.jobs[-1].source)

    def foreign_count(self, words: str = "count", people: int = 0) -> Publication:
        """The publication of another front's count."""
        count = self.next(words, type="nb_users", source=Source("front-2", 1, 1))
        return replace(count, body=msgspec.json.encode({**msgspec.json.decode(count.body), "nb_users": people}))

    def state_lost(self) -> Publication:
        return self.next(type=STATE_LOST, outcome=Outcome.CONTROL)

    def granted(self, to: str) -> Publication:
        """The publication that a connection gets a nickname for which it has waited."""
        return replace(self.next("jane", type="newcomer", outcome=Outcome.GRANTED), to=to, id=new_id().encode())

    def presence(self, type: str, outcome: Outcome = Outcome.PUBLISHED) -> Publication:
        """The publication that jane has joined or left."""
        one = self.next(type, type=type, outcome=outcome)
        return replace(one, body=msgspec.json.encode({**msgspec.json.decode(one.body), type: "jane"}))

    async def publish(self, *publications: Publication) -> None:
        """Publish so that the front reads all of them at once and delivers them."""
        self.outbox.publish(*publications)
        await settle()

    async def catch_up(self) -> None:
        """Let the front finish its current read, which may be old, and a newer one."""
        for _ in range(2):
            await self.publish(self.next("received"))

    def lose_everything(self) -> None:
        """Simulate a Redis that has lost everything: the next publication is its first."""
        self._published = 0


# Joining, in every order of events


EARLIER = 2  # texts, published before the client joins
LATER = 3  # publications, while it joins: its front's count once, among texts and other fronts' counts
OTHERS = list(product(("text", "foreign"), repeat=LATER - 1))
KINDS = sorted({(*kinds[:place], "own", *kinds[place:]) for kinds in OTHERS for place in range(LATER)})


class Order(NamedTuple):
    """One way in which joining and publishing can interleave."""

    batches: tuple[int, ...]  # numbers of publications read at once
    answered_before: int  # the batch before which the history arrives
    seen: int  # the number of publications that the history covers
    pause: float  # between batches


ORDERS = [
    Order(batches, answered_before, seen, pause)
    for batches in ((1, 2), (1, 1, 1))
    for answered_before, seen, pause in product(range(len(batches) + 1), range(LATER + 1), (0, 0.3))
]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@virtual_time
async def test_a_joiner_receives_each_text_once_and_no_outdated_count(kinds: tuple[str, ...]) -> None:
    for order in ORDERS:
        async with Scene() as scene:
            # Given a member, and published texts
            (member,) = await scene.enter_wholly(1)
            published = [scene.next(f"earlier {number}") for number in range(EARLIER)]
            await scene.publish(*published)
            # When a client joins while others write, join and leave
            joiner = await scene.enter(2)
            unread = list(published_while_joining(scene, kinds))
            published += unread
            for batch, size in enumerate((*order.batches, 0)):
                if batch == order.answered_before:
                    seen = [one for one in published[: EARLIER + order.seen] if one.type == "text"]
                    scene.answer(*seen, published=published[EARLIER + order.seen - 1].offset)
                await pass_time(order.pause)
                await scene.publish(*unread[:size])
                del unread[:size]
            await pass_time(A_WHILE)
        # Then the joiner has every text once, in order, like the member
        what = f"{order}: {joiner.received()}"
        texts = [text_of(one) for one in published if one.type == "text"]
        assert texts_of(joiner) == texts_of(member) == texts, what
        # And it gets no count that does not include it, and finally the newest
        newest = [text_of(one) for one in published if one.type == "nb_users"][-1]
        assert not any("without" in count for count in counts_of(joiner)), what
        assert counts_of(joiner)[-1:] == counts_of(member)[-1:] == [newest], what


def published_while_joining(scene: Scene, kinds: tuple[str, ...]) -> Iterator[Publication]:
    """The count that includes the joiner, among texts and other fronts' counts before and after it."""
    for number, kind in enumerate(kinds):
        if kind == "text":
            yield scene.next(f"later {number}")
        elif kind == "own":
            yield scene.own_count("count with the joiner")
        else:
            is_counted = "own" in kinds[:number]
            yield scene.foreign_count(f"count {'with' if is_counted else 'without'} the joiner, {number}")


def text_of(publication: Publication) -> str:
    words: str = msgspec.json.decode(publication.body)["said"]
    return words


def texts_of(member: FakeMember) -> list[str]:
    return [words for words in member.received() if "count" not in words]


def counts_of(member: FakeMember) -> list[str]:
    return [words for words in member.received() if "count" in words]


@virtual_time
async def test_clients_that_join_together_share_one_read_of_the_history() -> None:
    async with Scene() as scene:
        members = [FakeMember(number) for number in range(100)]
        for member in members:
            scene.room.join(member)
        await settle()
        assert len(scene.broker.snapshots) == 1
        scene.answer("history")
        await settle()
        assert all(member.received() == ["history"] for member in members)
        # For a later client, the history is read again
        await scene.enter()
        assert len(scene.broker.snapshots) == 2


@virtual_time
async def test_a_history_is_read_until_redis_answers_and_without_what_is_no_message() -> None:
    async with Scene() as scene:
        joiner = await scene.enter()
        await scene.publish(scene.next("meanwhile"))
        for fault in (Unavailable("Redis is away"), ResponseError("OOM command not allowed"), Unavailable("away")):
            scene.broker.snapshots[-1].set_exception(fault)
            await pass_time(2 * A_WHILE)
        ours = scene.older_text("history")
        scene.broker.snapshots[-1].set_result(Snapshot(0, [b"junk", b'{"type":"text"}', ours, b""]))
        await settle()
        assert texts_of(joiner) == ["history", "meanwhile"]


@virtual_time
async def test_the_buffer_of_a_client_that_waits_for_its_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gischat.front.channel.join_buffer.MAX_BUFFERED_BYTES", 1500)
    async with Scene() as scene:
        joiner = await scene.enter()
        await scene.publish(scene.next("x" * 900))
        assert joiner.closed_with == []
        await scene.publish(scene.next("x" * 900))
        assert [code for code, _ in joiner.closed_with] == [1013]
        # And while it is being closed, nothing more is buffered for it
        await scene.publish(scene.next("too late"))
        assert len(joiner.closed_with) == 1
        assert joiner.told == [HISTORY_TIMEOUT.user_message]
        scene.answer()
        await pass_time(A_WHILE)
        assert "too late" not in joiner.received()


# Reconnecting


@virtual_time
async def test_a_client_that_reconnects_receives_missed_messages_from_the_fronts_memory() -> None:
    async with Scene() as scene:
        texts = [scene.next(str(number)) for number in range(4)]
        count, like = scene.foreign_count(), scene.next("like", type="like", outcome=Outcome.DONE, to=f"{FRONT}/9")
        texts.append(scene.next("4"))
        await scene.publish(*texts[:4], count, like, texts[4])
        for last, missed in ((texts[1], ["2", "3", "4"]), (texts[4], []), (count, ["4"]), (like, ["4"])):
            member = await scene.reconnect(last)
            assert texts_of(member) == missed
        # And then later messages, once
        await scene.publish(scene.own_count(), scene.next("new"))
        await pass_time(A_WHILE)
        assert texts_of(member) == ["4", "new"]
        assert scene.broker.retentions == scene.broker.snapshots == []


@virtual_time
async def test_clients_that_reconnect_to_a_new_front_share_one_read_of_the_outbox() -> None:
    async with Scene() as scene:
        before = [scene.next(str(number)) for number in range(3)]
        scene.room.start_at(3, {})
        members = [await scene.reconnect(before[0]) for _ in range(50)]
        # When something is published meanwhile
        await scene.publish(scene.next("3"))
        scene.retain(*before)
        await settle()
        assert all(member.received() == ["1", "2", "3"] for member in members)
        # Then no other read is needed, not even for an unknown message
        assert texts_of(await scene.reconnect(before[1])) == ["2", "3"]
        await scene.reconnect(scene.next("unknown"))
        assert len(scene.broker.retentions) == 1


@virtual_time
async def test_a_front_that_missed_publications_does_not_omit_them_for_a_client_that_reconnects() -> None:
    async with Scene() as scene:
        before, missed, after = (scene.next(words) for words in ("before", "missed", "after"))
        await scene.publish(before, after)
        joiner = await scene.reconnect(before)
        scene.retain()
        await settle()
        while not scene.broker.snapshots[-1].done():
            scene.answer(missed, after)
            await pass_time(2 * A_WHILE)
        assert joiner.received()[1:] == ["missed", "after"]
        assert texts_of(await scene.reconnect(after)) == []


@pytest.mark.parametrize("is_other_front", [False, True])
@virtual_time
async def test_after_a_loss_the_former_order_of_messages_does_not_count(is_other_front: bool) -> None:
    """The fronts replay messages in another order."""
    async with Scene() as scene:
        first = scene.next("first")
        await scene.publish(first, scene.next("lost"))
        if is_other_front:
            await scene.publish(scene.state_lost())
        else:
            scene.lose_everything()
        await scene.publish(second := scene.next("second"))
        for last in (first, second):
            assert await scene.received_after(last) == [MISSED, "history"]
        # Nor does the order count that a front receives late because it was frozen
        await pass_time(Timings().settling)
        await scene.publish(third := scene.next("third"))
        assert await scene.received_after(third) == [MISSED, "history"]
        # When everything has been replayed and received, reconnecting works again
        await scene.catch_up()
        fourth = scene.next("fourth")
        await scene.publish(fourth, scene.next("fifth"))
        assert texts_of(await scene.reconnect(fourth)) == ["fifth"]
        assert scene.broker.retentions == []


@virtual_time
async def test_a_front_started_during_a_replay_does_not_rely_on_its_order_either() -> None:
    async with Scene() as scene:
        scene.room.start_at(0, {}, intact=1.0)
        # Given two messages that other fronts replay in reverse order
        first, second = scene.next("first"), scene.next("second")
        await scene.publish(replace(second, offset=1), replace(first, offset=2))
        # When a client reconnects that has only the first, then it is not told that it missed nothing
        assert await scene.received_after(first) == [MISSED, "history"]
        # When everything has been replayed, reconnecting works again
        await pass_time(Timings().settling - 1)
        await scene.catch_up()
        third = scene.next("third")
        await scene.publish(third, scene.next("fourth"))
        assert texts_of(await scene.reconnect(third)) == ["fourth"]


@virtual_time
async def test_a_client_whose_last_message_was_published_twice_may_have_received_the_first() -> None:
    async with Scene() as scene:
        come = scene.presence("newcomer")
        await scene.publish(come, scene.presence("exiter"), replace(come, offset=scene.next().offset))
        await scene.publish(scene.next("new"))
        assert (await scene.received_after(come))[0] == MISSED


@virtual_time
async def test_a_message_deleted_during_a_read_of_the_outbox_is_not_delivered() -> None:
    async with Scene() as scene:
        texts = [scene.next(str(number)) for number in range(3)]
        scene.room.start_at(3, {})
        joiner = await scene.reconnect(texts[0])
        scene.room.recent.delete_messages({texts[1].id})
        scene.retain(*texts)
        await settle()
        scene.retain(texts[0], replace(texts[1], body=b""), texts[2])
        await settle()
        assert joiner.received() == ["2"]


@virtual_time
async def test_the_recent_messages_are_bounded_and_counted() -> None:
    memory = MemoryBudget(10**9, RejectionLog())
    recent = RecentMessages(max_bytes=10 * (100 + ENTRY_BYTES), max_entries=12, memory=memory)
    # Beyond the limits of bytes, number or age, the oldest are dropped, and no client gets an incomplete answer
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
@pytest.mark.parametrize(("here", "everywhere", "seconds"), [(50, 0, 0.25), (51, 0, 1), (1, 301, 3)])
async def test_counts_are_rarer_in_larger_rooms(here: int, everywhere: int, seconds: float) -> None:
    """At each count, every QGIS requests the list of users."""
    async with Scene() as scene:
        (member, *_) = await scene.enter_wholly(*range(1, here + 1))
        await pass_time(7)
        member.written.clear()
        # When the count changes again and again
        for number in range(100):
            await scene.publish(scene.foreign_count(f"count {number}", people=everywhere))
            await pass_time(0.1)
        # Then the first is sent at once, and the newest last
        told = counts_of(member)
        assert told[0] == "count 0"
        assert len(told) in (int(10 / seconds), int(10 / seconds) + 1)
        await pass_time(seconds)
        assert counts_of(member)[-1] == "count 99"


@virtual_time
async def test_a_client_that_joins_a_full_room_gets_its_history_and_count_at_once() -> None:
    async with Scene() as scene:
        (member, *_) = await scene.enter_wholly(*range(1, 302))
        # Given a count that has just been sent to all
        await pass_time(7)
        member.written.clear()
        await scene.publish(scene.foreign_count("count before"))
        # When a client joins
        joiner = await scene.enter(999)
        scene.answer("history")
        await pass_time(0.3)
        await scene.publish(scene.own_count("count with the joiner"))
        # Then it receives the history and the count
        assert joiner.received() == ["history", "count with the joiner"]
        await scene.publish(scene.next("hello"))
        assert texts_of(joiner) == ["history", "hello"]
        # And the others get the count later
        assert counts_of(member) == ["count before"]
        await pass_time(3)
        assert counts_of(member) == ["count before", "count with the joiner"]


# Receivers


@virtual_time
async def test_publications_read_together_are_sent_in_one_write() -> None:
    async with Scene() as scene:
        members = await scene.enter_wholly(0, 1, 2)
        await scene.publish(scene.next("a"), scene.next("b"), scene.next("c"))
        for member in members:
            assert len(member.written) == 1
            assert member.received() == ["a", "b", "c"]


@virtual_time
@pytest.mark.parametrize("to", ["front-2/1", f"{FRONT}0/1", f"{FRONT}/999"])
async def test_a_like_for_another_front_is_not_sent(to: str) -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await scene.publish(scene.next("like", type="like", outcome=Outcome.DONE, to=to))
        assert member.received() == []


@virtual_time
async def test_a_nickname_granted_to_a_closed_connection_is_released() -> None:
    async with Scene() as scene:
        await scene.enter_wholly(1)
        await scene.publish(scene.granted(f"{FRONT}/7"), scene.granted("front-2/7"))
        left = [job for job in scene.broker.jobs if job.type == LEAVE]
        assert [job.source.connection_id for job in left] == [f"{FRONT}/7"]


@virtual_time
async def test_a_restored_nickname_is_announced_only_after_an_exiter() -> None:
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await scene.publish(scene.presence("newcomer", outcome=Outcome.RESTORED))
        assert member.received() == []
        await scene.publish(scene.presence("exiter"), scene.presence("newcomer", outcome=Outcome.RESTORED))
        assert member.received() == ["exiter", "newcomer"]


@virtual_time
async def test_results_and_grants_come_before_messages_in_the_order_of_publication() -> None:
    """The sender's next message is then enqueued before the sender receives the echo."""
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        order: list[str] = []
        member.grant_nickname = lambda newcomer: order.append("granted")  # type: ignore[method-assign]
        job_queue = scene.dispatcher.open(CHANNEL)
        job_queue.submit(message(), lambda ending: order.extend(("own end", *member.received())))
        end = scene.next("bye", source=scene.broker.jobs[-1].source)
        grant = replace(scene.granted(f"{FRONT}/1"), offset=end.offset)
        await scene.publish(grant, replace(end, offset=end.offset + 1))
        assert order == ["granted", "own end"]
        assert member.received()[-1] == "bye"


@virtual_time
async def test_leaving_twice_changes_nothing_and_nothing_is_written_to_who_has_left() -> None:
    async with Scene() as scene:
        member, leaver = await scene.enter_wholly(1, 2)
        joiner = await scene.enter(3)
        for _ in range(2):
            for one in (leaver, joiner, FakeMember(999)):
                scene.room.leave(one)
        scene.answer("history")
        await scene.publish(scene.next("hello"))
        assert leaver.written == joiner.written == []
        assert scene.room.user_count.connections == 1
        assert list(scene.room.connections.values()) == [member]


# When Redis loses data


@virtual_time
@pytest.mark.parametrize("is_missed", [True, False])
async def test_what_its_sender_alone_received_is_not_delivered_to_it_again(is_missed: bool) -> None:
    # Its publication was missed, or is read with the answer to the sender that repeated it.
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        first = scene.next("hello")
        queue = scene.dispatcher.open(CHANNEL)
        queue.submit(message(), lambda result: scene.room.record_echo(result.body))
        source = scene.broker.jobs[-1].source
        echo = replace(scene.next(), source=source, outcome=Outcome.DUPLICATE, body=first.body)
        await scene.publish(*([echo] if is_missed else [first, echo]))
        # When Redis loses its id, and it is replayed
        await scene.publish(replace(scene.next(), body=first.body, id=first.id), scene.next("next"))
        assert member.received() == ([GAP] if is_missed else ["hello"]) + ["next"]


@virtual_time
async def test_a_history_that_redis_has_lost_is_read_again_and_delivered_once() -> None:
    """The front lags: other fronts replay what it had not received before the loss, with other offsets."""
    async with Scene() as scene:
        await scene.publish(*[scene.next(str(number)) for number in range(5)])
        # Given a joiner with a history that is newer than the front's position
        joiner = await scene.enter()
        lost = [scene.next("lost"), scene.next("lost, too")]
        scene.answer(*lost)
        # When Redis loses everything, and its offsets grow again
        scene.lose_everything()
        await scene.publish(*[scene.next(str(number)) for number in range(5, 12)])
        assert texts_of(joiner) == []
        again = [publication(scene.next().offset, one.body) for one in lost]
        await pass_time(A_WHILE)
        scene.answer(*lost)
        # And the lost messages are replayed
        await scene.publish(*again, scene.own_count())
        await pass_time(A_WHILE)
        assert texts_of(joiner) == [str(number) for number in range(5, 12)] + ["lost", "lost, too"]


@virtual_time
async def test_a_client_that_joined_between_a_loss_and_its_announcement_is_told_of_a_gap() -> None:
    """No history has the lost messages then, and replayed ones are sent only to members that lack them."""
    async with Scene() as scene:
        (member,) = await scene.enter_wholly(1)
        await pass_time(10)
        await scene.publish(scene.next("lost"))
        await scene.publish(scene.next("received"))
        member.written.clear()
        joiner = await scene.enter(2)
        scene.answer()
        waiting = await scene.enter(3)
        await scene.publish(scene.own_count(), scene.state_lost())
        assert texts_of(member) == []
        assert texts_of(joiner) == [GAP]
        # And a history that was requested before the announcement is read again
        scene.answer("read too early")
        await settle()
        scene.answer("lost, and said again")
        await settle()
        assert texts_of(waiting) == ["lost, and said again"]


@virtual_time
async def test_messages_that_are_read_together_are_sent_in_their_order() -> None:
    async with Scene() as scene:
        one, other = await scene.enter_wholly(1, 2)
        text, like = scene.next("text"), scene.next("like", type="like", outcome=Outcome.DONE, to=f"{FRONT}/1")
        await scene.publish(text, like, scene.next("later"))
        assert (one.received(), other.received()) == (["text", "like", "later"], ["text", "later"])
