"""Wishes for taken nicknames: a nickname that becomes free is granted to the oldest wish at once."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tornado.ioloop import IOLoop

from gischat.broker.entries import Outcome
from gischat.protocol.messages import new_id
from tests.gischat.broker.wire import CHANNEL, DEAD, Start, Wire, assert_presence_is_right, encoded, shown
from worker.effects import Exit, Like, Publish, Register, Restore

pytestmark = pytest.mark.usefixtures("io_loop")

DONE, PUBLISHED, REFUSED = Outcome.DONE, Outcome.PUBLISHED, Outcome.REFUSED


@pytest.fixture
def taken(io_loop: IOLoop, wire: Wire) -> Wire:
    """The nickname jane belongs to connection 1; connections 2 and 3, of another front, want it, in this order."""

    async def wish() -> None:
        await wire.renew("front-2")
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


async def said(wire: Wire) -> list[tuple[str, str]]:
    """The messages since the last call."""
    return shown([one for one in await wire.news() if one.body])


async def exiter(wire: Wire, nickname: str, connection: int) -> None:
    body = encoded("exiter", id=(id := new_id()), exiter=nickname)
    await wire.end(Exit(nickname), body, type="exiter", id=id, connection=connection)


async def wish_for_what_is_taken(wire: Wire) -> None:
    await wire.register("john", connection=4)
    await wire.register("john", connection=2)


Act = Callable[[Wire], Awaitable[object]]


@pytest.mark.parametrize(
    ("freed", "before"),
    [
        (lambda wire: wire.leave(), []),
        (lambda wire: exiter(wire, "jane", 1), []),
        (lambda wire: wire.register("joan"), [("newcomer", "joan")]),
    ],
)
async def test_a_free_nickname_goes_to_the_oldest_wish(taken: Wire, freed: Act, before: list[tuple[str, str]]) -> None:
    await taken.register("jane", connection=2)  # a repeated wish keeps its position
    await taken.news()
    await freed(taken)
    news = [one for one in await taken.news() if one.body]
    assert shown(news) == [("exiter", "jane"), *before, ("newcomer", "jane")]
    assert (news[-1].to, news[-1].outcome, news[-1].is_broadcast) == ("front-1/2", Outcome.GRANTED, True)
    # When that connection leaves, it goes to the next
    await taken.leave(connection=2)
    assert await grants(taken) == [("front-2/3", "jane")]
    await taken.leave(connection=3, front="front-2")
    assert await grants(taken) == []


@pytest.mark.parametrize(
    "ended",
    [
        lambda wire: wire.register("joan", connection=2),
        wish_for_what_is_taken,
        lambda wire: exiter(wire, "jane", 2),
        lambda wire: wire.leave(connection=2),
    ],
)
async def test_a_wish_ends(taken: Wire, ended: Act) -> None:
    await ended(taken)
    await taken.leave()
    assert ("front-2/3", "jane") in await grants(taken)
    assert (await taken.hash("users"))["jane"] == "front-2/3"


async def test_the_wishes_of_a_dead_front_end_with_it(taken: Wire) -> None:
    await taken.leave(connection=2)
    await taken.renew("front-2", DEAD)
    await taken.worker.presence.reap(CHANNEL, "front-2")
    await taken.leave()
    assert await grants(taken) == []
    keys = [taken.key(name) for name in ("wishes", "wishers", "users", "nicknames")]
    assert await taken.redis.call("EXISTS", *keys, key=keys[0]) == 0


async def test_a_nickname_of_a_dead_front_goes_to_the_oldest_wish(taken: Wire) -> None:
    await taken.leave(connection=2)
    await taken.renew(seconds=DEAD)
    await taken.worker.presence.reap(CHANNEL, "front-1")
    assert await grants(taken) == [("front-2/3", "jane")]


async def test_a_granted_nickname_frees_the_former_one_for_the_next_wish(wire: Wire) -> None:
    # Given three connections with nicknames, each of which wants that of the one before
    for connection, nickname in enumerate(("jane", "joan", "john"), 1):
        await wire.register(nickname, connection=connection)
    await wire.register("jane", connection=2)
    await wire.register("joan", connection=3)
    await wire.news()
    # When the first leaves
    await wire.leave()
    # Then each gets the nickname that it wants, and none has two
    newcomers = [("newcomer", "jane"), ("newcomer", "joan")]
    exits = [("exiter", nickname) for nickname in ("jane", "joan", "john")]
    assert await said(wire) == [*exits[:2], newcomers[0], exits[2], newcomers[1]]
    await assert_presence_is_right(wire, {"jane": "front-1/2", "joan": "front-1/3"})


async def test_a_newcomer_with_a_used_id_registers_nothing_unseen_unless_another_used_it(wire: Wire) -> None:
    id = new_id()
    await wire.register("jane", id=id)
    await wire.leave()
    await wire.news()
    body = encoded("newcomer", id=id, newcomer="jane", timestamp=1)
    await wire.end(Register("jane"), body, type="newcomer", id=id)
    assert await wire.outcomes() == [REFUSED]
    await assert_presence_is_right(wire, {})
    await wire.register("joan", id=id, connection=2)
    (told,) = await wire.news()
    assert (told.outcome, shown([told]), told.id.decode() != id) == (PUBLISHED, [("newcomer", "joan")], True)


async def test_nicknames_of_a_front_without_a_process_are_free_at_once(wire: Wire) -> None:
    # Given a front whose process is known to have exited, and that has not been swept
    await wire.renew("front-2")
    await wire.register("jane")
    await wire.redis.call("ZADD", wire.keys.fronts, "XX", 0, "front-1", key=wire.keys.fronts)
    await wire.news()
    # When a connection wants one of its nicknames, then the nickname is free
    await wire.register("jane", connection=9, front="front-2")
    assert await said(wire) == [("exiter", "jane"), ("newcomer", "jane")]
    assert await wire.hash("users") == {"jane": "front-2/9"}


async def test_a_newcomer_does_not_overtake_a_wish_for_a_dead_fronts_nickname(taken: Wire) -> None:
    await taken.redis.call("ZADD", taken.keys.fronts, "XX", 0, "front-1", key=taken.keys.fronts)
    await taken.register("jane", connection=9, front="front-2")
    assert await grants(taken) == [("front-2/3", "jane")]
    await taken.leave(connection=3, front="front-2")
    assert await grants(taken) == [("front-2/9", "jane")]


async def test_a_granted_newcomer_has_the_id_set_by_its_sender_or_an_unpredictable_one(wire: Wire) -> None:
    """A message with a published id is not delivered: someone who could predict a grant's id could hide it."""
    ids = set()
    for is_used in (False, True, True):
        await wire.register("jane", connection=1)
        id = new_id()
        if is_used:
            body = encoded("text", id=id)
            await wire.end(Publish(body), body, id=id, connection=2)
        await wire.register("jane", connection=2, id=id)
        await wire.leave()
        granted = await wire.last()
        assert msgspec.json.decode(granted.body)["id"] == granted.id.decode()
        assert (granted.id.decode() == id) != is_used
        ids.add(granted.id)
        await wire.leave(connection=2)
    assert len(ids) == 3


async def test_the_former_holder_gets_a_lost_nickname_back_when_it_is_free(wire: Wire) -> None:
    # Given a connection that takes a nickname, in another case, before its former holder's front can restore it
    await wire.register("jane", connection=2)
    job = await wire.end(Restore("Jane"), id=new_id())
    told = await wire.last()
    assert (told.outcome, told.source) == (REFUSED, job.source)
    assert shown([told]) == [("uncompliant", f"User 'Jane' already registered in channel {CHANNEL}")]
    await assert_presence_is_right(wire, {"jane": "front-1/2"})
    # When that connection leaves
    await wire.news()
    await wire.leave(connection=2)
    # Then the former holder has it again
    assert await grants(wire) == [("front-1/1", "Jane")]
    assert await wire.nicknames() == ["Jane"]


# Names that differ only in case are the same


async def test_a_nickname_in_another_case_is_taken_and_granted_in_the_new_holders_case(wire: Wire) -> None:
    await wire.register("Jane", connection=1)
    await wire.register("JANE", connection=2)
    assert await wire.outcomes() == [PUBLISHED, Outcome.CONTROL, REFUSED]
    assert await wire.nicknames() == ["Jane"]
    # When its holder leaves, then the list and the messages contain it in its new holder's case
    await wire.leave()
    assert await said(wire) == [("exiter", "Jane"), ("newcomer", "JANE")]
    assert await wire.nicknames() == ["JANE"]
    await assert_presence_is_right(wire, {"jane": "front-1/2"})


async def test_ones_own_nickname_in_another_case_is_accepted_and_not_changed(wire: Wire) -> None:
    await wire.register("Jane")
    await wire.register("jane")
    assert await wire.outcomes() == [PUBLISHED, DONE]
    assert await wire.nicknames() == ["Jane"]
    # When it is released in a third case, the `exiter` has it in the registered case
    await exiter(wire, "JANE", 1)
    assert await said(wire) == [("exiter", "Jane")]
    await assert_presence_is_right(wire, {})


async def test_a_nickname_is_found_in_any_case(start: Start) -> None:
    wire = start(require_registration=True)
    await wire.renew()
    await wire.register("Jane")
    # By a like, …
    like = encoded("like", liker_author="john", liked_author="jane")
    await wire.end(Like("jane"), like, type="like", id=new_id(), connection=2)
    assert (await wire.last()).to == "front-1/1"
    # … by a moderator, …
    assert await wire.front.moderation.disconnect(CHANNEL, "JANE", b"{}")
    # … by the check of authors, …
    for connection, outcome in ((2, REFUSED), (1, PUBLISHED)):
        body = encoded("text", author="jANE", id=(used := new_id()))
        await wire.end(Publish(body), body, id=used, connection=connection)
        assert (await wire.last()).outcome is outcome
    # … and in the note of who has used an id
    await wire.leave()
    await wire.register("jane", connection=3)
    await wire.end(Publish(b"{}"), encoded("text", id=used), id=used, connection=3)
    assert ((await wire.last()).outcome, (await wire.last()).type) == (REFUSED, "duplicate_id")
