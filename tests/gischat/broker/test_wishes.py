"""Wishes for taken nicknames: a nickname that becomes free is granted to the oldest wish at once."""

from typing import Any

import msgspec
import pytest
from tornado.ioloop import IOLoop

from gischat.broker.entries import Outcome
from gischat.protocol.messages import new_id
from tests.gischat.broker.wire import (
    ALIVE,
    CHANNEL,
    DEAD,
    Start,
    Wire,
    assert_presence_is_right,
    encoded,
    shown,
)
from worker.effects import Exit, Leave, Like, Publish, Register, Restore

pytestmark = pytest.mark.usefixtures("io_loop")

TAKEN = ("uncompliant", f"User 'jane' already registered in channel {CHANNEL}")


@pytest.fixture
def taken(io_loop: IOLoop, wire: Wire) -> Wire:
    """The nickname jane belongs to connection 1; connections 2 and 3, of another front, want it, in this order."""

    async def wish() -> None:
        for name in ("front-1", "front-2"):
            await wire.new_front(name).presence.renew_lease(CHANNEL, ALIVE)
        await wire.register("jane", connection=1)
        await wire.register("jane", connection=2)
        await wire.register("jane", connection=3, front="front-2")
        await wire.news()

    io_loop.run_sync(wish)
    return wire


async def grants(wire: Wire) -> list[tuple[str, str]]:
    """The grants since the last call: connection and nickname."""
    found = [one for one in await wire.news() if one.outcome is Outcome.GRANTED]
    assert all(one.is_broadcast and one.source is None for one in found)
    return [(one.to, shown([one])[0][1]) for one in found]


async def end_connection(wire: Wire) -> None:
    await wire.end(Leave(), connection=1)


async def say_exiter(wire: Wire) -> None:
    id = new_id()
    await wire.end(Exit("jane"), encoded("exiter", id=id, exiter="jane"), type="exiter", id=id, connection=1)


async def take_another(wire: Wire) -> None:
    await wire.register("joan", connection=1)


@pytest.mark.parametrize("freed", [end_connection, say_exiter, take_another])
async def test_a_free_nickname_goes_to_the_oldest_wish(taken: Wire, freed: Any) -> None:
    await freed(taken)
    news = await taken.news()
    told = [(*shown([one])[0], one.to) for one in news if one.body]
    assert told[-2:] == [("exiter", "jane", ""), ("newcomer", "jane", "front-1/2")] or told == [
        ("exiter", "jane", ""),
        ("newcomer", "joan", ""),
        ("newcomer", "jane", "front-1/2"),
    ]
    # When that connection leaves, it goes to the next
    await taken.end(Leave(), connection=2)
    assert await grants(taken) == [("front-2/3", "jane")]
    await taken.end(Leave(), connection=3, front="front-2")
    assert await grants(taken) == []


async def test_a_repeated_wish_keeps_its_position(taken: Wire) -> None:
    await taken.register("jane", connection=2)
    await taken.end(Leave(), connection=1)
    assert await grants(taken) == [("front-1/2", "jane")]


async def test_a_granted_newcomer_keeps_the_id_set_by_its_sender(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=1)
    await wire.register("jane", connection=2, id=(id := new_id()))
    await wire.end(Leave(), connection=1)
    granted = (await wire.outbox())[-1]
    assert (granted.id.decode(), msgspec.json.decode(granted.body)["id"]) == (id, id)


async def wish_otherwise(wire: Wire) -> None:
    await wire.register("joan", connection=2)


async def wish_for_what_is_taken(wire: Wire) -> None:
    await wire.register("john", connection=4)
    await wire.register("john", connection=2)


async def say_exiter_of_a_wish(wire: Wire) -> None:
    id = new_id()
    await wire.end(Exit("jane"), encoded("exiter", id=id, exiter="jane"), type="exiter", id=id, connection=2)


async def leave(wire: Wire) -> None:
    await wire.end(Leave(), connection=2)


@pytest.mark.parametrize("ended", [wish_otherwise, wish_for_what_is_taken, say_exiter_of_a_wish, leave])
async def test_a_wish_ends(taken: Wire, ended: Any) -> None:
    await ended(taken)
    await taken.end(Leave(), connection=1)
    assert ("front-2/3", "jane") in await grants(taken)
    assert (await taken.hash("users"))["jane"] == "front-2/3"


async def test_the_wishes_of_a_dead_front_end_with_it(taken: Wire) -> None:
    await taken.end(Leave(), connection=2)
    await taken.new_front("front-2").presence.renew_lease(CHANNEL, DEAD)
    await taken.worker.presence.reap(CHANNEL, "front-2")
    await taken.end(Leave(), connection=1)
    assert await grants(taken) == []
    for name in ("wishes", "wishers", "users", "nicknames"):
        key = next(key for key in taken.keys.for_presence() if key.endswith("}:" + name))
        assert await taken.redis.call("EXISTS", key, key=key) == 0


async def test_a_nickname_of_a_dead_front_goes_to_the_oldest_wish(taken: Wire) -> None:
    await taken.end(Leave(), connection=2)
    await taken.new_front("front-1").presence.renew_lease(CHANNEL, DEAD)
    await taken.worker.presence.reap(CHANNEL, "front-1")
    assert await grants(taken) == [("front-2/3", "jane")]


async def test_a_granted_nickname_frees_the_former_one_for_the_next_wish(wire: Wire) -> None:
    # Given three connections with nicknames, each of which wants that of the one before
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    for connection, nickname in enumerate(("jane", "joan", "john"), 1):
        await wire.register(nickname, connection=connection)
    await wire.register("jane", connection=2)
    await wire.register("joan", connection=3)
    await wire.news()
    # When the first leaves
    await wire.end(Leave(), connection=1)
    # Then each gets the nickname that it wants, and none has two
    told = shown([one for one in await wire.news() if one.body])
    assert told == [
        ("exiter", "jane"),
        ("exiter", "joan"),
        ("newcomer", "jane"),
        ("exiter", "john"),
        ("newcomer", "joan"),
    ]
    await assert_presence_is_right(wire, {"jane": "front-1/2", "joan": "front-1/3"})


async def test_a_newcomer_with_a_used_id_registers_nothing_unseen(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    await wire.register("jane", id=id)
    await wire.end(Leave(), connection=1)
    await wire.news()
    body = encoded("newcomer", id=id, newcomer="jane", timestamp=1)
    await wire.end(Register("jane"), body, type="newcomer", id=id, connection=1)
    (told,) = await wire.news()
    assert told.outcome is Outcome.REFUSED
    await assert_presence_is_right(wire, {})


async def test_a_newcomer_with_an_id_of_another_sender_registers(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    await wire.register("jane", id=id)
    await wire.news()
    await wire.register("joan", id=id, connection=2)
    (told,) = await wire.news()
    assert (told.outcome, shown([told]), told.id.decode() != id) == (Outcome.PUBLISHED, [("newcomer", "joan")], True)


async def test_nicknames_of_a_front_without_a_process_are_free_at_once(wire: Wire) -> None:
    # Given a front whose process is known to have exited, and that has not been swept
    for name in ("front-1", "front-2"):
        await wire.new_front(name).presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await wire.redis.call("ZADD", wire.keys.fronts, "XX", 0, "front-1", key=wire.keys.fronts)
    await wire.news()
    # When a connection wants one of its nicknames
    await wire.register("jane", connection=9, front="front-2")
    # Then the nickname is free
    told = [one for one in await wire.news() if one.body]
    assert shown(told) == [("exiter", "jane"), ("newcomer", "jane")]
    assert (await wire.hash("users")) == {"jane": "front-2/9"}


async def test_a_newcomer_does_not_overtake_a_wish_for_a_dead_fronts_nickname(taken: Wire) -> None:
    await taken.redis.call("ZADD", taken.keys.fronts, "XX", 0, "front-1", key=taken.keys.fronts)
    await taken.register("jane", connection=9, front="front-2")
    assert await grants(taken) == [("front-2/3", "jane")]
    await taken.end(Leave(), connection=3, front="front-2")
    assert await grants(taken) == [("front-2/9", "jane")]


async def test_the_id_of_a_grant_is_unpredictable(wire: Wire) -> None:
    """A message with a published id is not delivered: someone who could predict a grant's id could hide it."""
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    ids = set()
    for _ in range(3):
        await wire.register("jane", connection=1)
        used = new_id()
        await wire.end(Publish(encoded("text", id=used)), encoded("text", id=used), type="text", id=used, connection=2)
        await wire.register("jane", connection=2, id=used)
        await wire.end(Leave(), connection=1)
        ids.add((await wire.outbox())[-1].id)
        await wire.end(Leave(), connection=2)
        assert used.encode() not in ids
    assert len(ids) == 3


async def test_the_former_holder_gets_a_lost_nickname_back_when_it_is_free(wire: Wire) -> None:
    # Given a connection that takes a nickname before its former holder's front can restore it
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=2)
    await wire.end(Restore("jane"), type="restore", id=new_id(), connection=1)
    assert shown((await wire.outbox())[-1:]) == [TAKEN]
    # When that connection leaves
    await wire.news()
    await wire.end(Leave(), connection=2)
    # Then the former holder has it again
    assert await grants(wire) == [("front-1/1", "jane")]


# Names that differ only in case are the same


async def test_a_nickname_in_another_case_is_taken_and_granted_in_the_new_holders_case(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    await wire.register("JANE", connection=2)
    refused = (await wire.outbox())[-2:]
    assert [(one.outcome, one.type) for one in refused] == [
        (Outcome.CONTROL, "challenge"),
        (Outcome.REFUSED, "uncompliant"),
    ]
    assert await wire.front.presence.nicknames(CHANNEL) == ["Jane"]
    # When its holder leaves
    await wire.news()
    await wire.end(Leave(), connection=1)
    # Then the list and the messages contain it in its holder's case
    assert shown([one for one in await wire.news() if one.body]) == [("exiter", "Jane"), ("newcomer", "JANE")]
    assert await wire.front.presence.nicknames(CHANNEL) == ["JANE"]
    await assert_presence_is_right(wire, {"jane": "front-1/2"})


async def test_ones_own_nickname_in_another_case_is_accepted_and_not_changed(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    await wire.register("jane", connection=1)
    assert [one.outcome for one in await wire.outbox()] == [Outcome.PUBLISHED, Outcome.DONE]
    assert await wire.front.presence.nicknames(CHANNEL) == ["Jane"]
    # When it is released in a third case, the `exiter` has it in the registered case
    id = new_id()
    await wire.end(Exit("JANE"), encoded("exiter", id=id, exiter="JANE"), type="exiter", id=id, connection=1)
    assert shown((await wire.outbox())[-1:]) == [("exiter", "Jane")]
    await assert_presence_is_right(wire, {})


async def test_a_nickname_lost_to_another_case_of_it_is_wanted_back(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=2)
    await wire.end(Restore("Jane"), type="restore", id=new_id(), connection=1)
    await wire.end(Leave(), connection=2)
    assert await wire.front.presence.nicknames(CHANNEL) == ["Jane"]


async def test_a_nickname_is_found_in_any_case(start: Start) -> None:
    wire = start(require_registration=True)
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("Jane", connection=1)
    # By a like, …
    like = encoded("like", liker_author="john", liked_author="jane")
    await wire.end(Like("jane"), like, type="like", id=new_id(), connection=2)
    assert (await wire.outbox())[-1].to == "front-1/1"
    # … by a moderator, …
    assert await wire.front.moderation.disconnect(CHANNEL, "JANE", b"{}")
    # … and by the check of authors
    for connection, outcome in ((2, Outcome.REFUSED), (1, Outcome.PUBLISHED)):
        body = encoded("text", author="jANE", id=(id := new_id()))
        await wire.end(Publish(body), body, type="text", id=id, connection=connection)
        assert (await wire.outbox())[-1].outcome is outcome


async def test_an_id_belongs_to_its_sender_in_any_case_of_the_nickname(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    id = new_id()
    for connection, nickname in ((1, "Jane"), (2, "jane")):
        await wire.register(nickname, connection=connection)
        body = encoded("text", id=id, text=nickname)
        await wire.end(Publish(body), body, type="text", id=id, connection=connection)
        await wire.end(Leave(), connection=connection)
    used = [one for one in await wire.outbox() if one.type == "duplicate_id"]
    assert [one.outcome for one in used] == [Outcome.REFUSED]
