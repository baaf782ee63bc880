"""Nicknames: their form, registering them, and giving them up."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.contract import CANARY
from tests.support.rest import Rest, eventually
from tests.wire.conftest import Join

# test_messages.py has all others
RIGHT = ["abc", "Jane-Doe_42", "x" * 32]
WRONG = ["", "ab", "x" * 33, "jane\n", " jane", "Zoé", "١٢٣٤", f"<b>{CANARY}</b>"]


async def test_only_a_nickname_of_the_right_form_is_registered(channel: str, join: Join, rest: Rest) -> None:
    other = await join(channel, front=1)
    for nickname in RIGHT:
        client = await join(channel)
        newcomer = await client.register(nickname)
        assert await other.until(type="newcomer") == newcomer

    for nickname in WRONG:
        await client.send(type="newcomer", newcomer=nickname)
        assert await client.refusal(), repr(nickname)

    marker = await client.say(author=RIGHT[-1])
    await client.nothing_before(marker)
    await other.nothing_before(marker)
    assert set(await rest.users(channel)) == set(RIGHT)


async def test_a_nickname_is_taken_in_its_channel_only(join: Join, fresh_channels: Iterator[str]) -> None:
    for channel in (next(fresh_channels), next(fresh_channels)):
        await join(channel, nickname="jane")


async def test_one_of_many_concurrent_registrations_succeeds(channel: str, join: Join, rest: Rest) -> None:
    crowd = [await join(channel, front=number % 2) for number in range(10)]

    for client in crowd:
        await client.send(type="newcomer", newcomer="jane")
    for client in crowd:
        await client.until(text=await client.say())

    # Then nine are told that it is taken, and nobody else is
    reasons = [m["reason"] for client in crowd for m in client.received if m["type"] == "uncompliant"]
    assert reasons == [f"User 'jane' already registered in channel {channel}"] * 9
    assert await rest.users(channel) == ["jane"]


async def test_a_second_nickname_gives_up_the_first_unless_it_is_taken(channel: str, join: Join, rest: Rest) -> None:
    # Given jane and john
    jane, john = await join(channel, nickname="jane"), await join(channel, front=1, nickname="john")

    # When she asks for his nickname, she keeps hers
    await jane.send(type="newcomer", newcomer="john")
    assert await jane.refusal() == f"User 'john' already registered in channel {channel}"
    await john.nothing_before(await jane.say())
    assert await rest.users(channel) == ["jane", "john"]

    # When she registers as joan, the channel is told that jane has left and joan has joined, and jane is free
    await jane.register("joan")
    await john.until(type="exiter", exiter="jane")
    await john.until(type="newcomer", newcomer="joan")
    await join(channel, front=1, nickname="jane")
    assert await rest.users(channel) == ["jane", "joan", "john"]

    # When she leaves, she leaves as joan only
    await jane.leave()
    await john.until(type="exiter", exiter="joan")
    await eventually(lambda: rest.users(channel), ["jane", "john"])


async def test_a_client_without_a_nickname_writes_and_just_leaves(channel: str, join: Join, rest: Rest) -> None:
    # Given a client that has not registered, and uses any author
    witness, incognito = await join(channel, front=1), await join(channel)
    text = await incognito.say(author="a-stranger")
    assert (await witness.until(text=text))["author"] == "a-stranger"
    assert await rest.users(channel) == []

    # When it leaves, only the count is published
    await witness.count(2)
    await incognito.leave()
    await witness.count(1)
    await witness.nothing_before(await witness.say())


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_however_a_connection_ends_others_are_told(ending: str, channel: str, join: Join, rest: Rest) -> None:
    # Given jane, and people on both fronts
    neighbour, distant = await join(channel), await join(channel, front=1)
    jane = await join(channel, nickname="jane")
    await neighbour.count(3)
    await distant.count(3)

    # When her connection ends
    if ending == "close":
        await jane.leave()
    else:
        jane.reset()

    # Then all are told, and she can reconnect
    exiter = await neighbour.until(type="exiter", exiter="jane")
    assert await distant.until(type="exiter") == exiter
    await neighbour.count(2)
    await distant.count(2)
    assert await rest.users(channel) == []
    await join(channel, front=1, nickname="jane")


async def test_an_exiter_frees_ones_own_nickname_at_once_and_once(channel: str, join: Join, rest: Rest) -> None:
    # Given jane, whose nickname others cannot give up
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)
    await other.send(type="exiter", exiter="jane")
    await other.until(text=await other.say())
    assert await rest.users(channel) == ["jane"]

    # When she sends an `exiter`, and stays connected
    await jane.send(type="exiter", exiter="jane")

    # Then everyone is told, her nickname is free, and she still receives messages
    for client in (jane, other):
        await client.until(type="exiter", exiter="jane")
    assert await rest.users(channel) == []
    await other.register("jane")
    await jane.until(type="newcomer", newcomer="jane")

    # When she closes, as QField does, she does not leave a second time
    await jane.leave()
    john = await join(channel, nickname="john")
    await john.leave()
    await other.until(type="exiter", exiter="john")
    assert [m["exiter"] for m in other.received if m["type"] == "exiter"] == ["jane", "john"]


async def test_registering_ones_own_nickname_again_changes_nothing(channel: str, join: Join, rest: Rest) -> None:
    """QGIS sends one `newcomer` more after each loss of its connection."""
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)

    for _ in range(3):
        await jane.send(type="newcomer", newcomer="jane")
    marker = await jane.say()

    await jane.nothing_before(marker)
    await other.nothing_before(marker)
    assert await rest.users(channel) == ["jane"]


# A nickname that is taken: the request is kept


async def test_a_refused_nickname_is_granted_when_it_is_free(channel: str, join: Join, rest: Rest) -> None:
    # Given three clients that were refused jane's nickname, one of which has withdrawn its request
    jane, witness = await join(channel, nickname="jane"), await join(channel, front=1)
    withdrawn, first, second = await join(channel), await join(channel, front=1), await join(channel)
    own, next_one = str(uuid.uuid4()), str(uuid.uuid4())
    for client, id in ((withdrawn, str(uuid.uuid4())), (first, own), (second, next_one)):
        await client.send(type="newcomer", newcomer="jane", id=id)
        assert await client.refusal() == f"User 'jane' already registered in channel {channel}"
    await withdrawn.send(type="exiter", exiter="jane")
    assert await withdrawn.refusal() == "You are not registered as 'jane'."

    # When she leaves
    await jane.leave()

    # Then the one that has waited longest gets the nickname, and everybody is told
    await witness.until(type="exiter", exiter="jane")
    newcomer = await witness.until(type="newcomer", newcomer="jane", id=own)
    for client in (first, second):
        assert await client.until(id=own) == newcomer
    assert await rest.users(channel) == ["jane"]

    # And then the next one
    await first.leave()
    await second.until(type="exiter", exiter="jane")
    await second.until(type="newcomer", newcomer="jane", id=next_one)
    await second.leave()
    await eventually(lambda: rest.users(channel), [])


@pytest.mark.parametrize("front", [0, 1])
async def test_a_dead_connection_loses_its_nickname_on_request(
    front: int, channel: str, join: Join, rest: Rest
) -> None:
    # Given jane, whose laptop sleeps: it answers no pings; and john, whose nickname somebody else asks for
    ghost, witness = await join(channel, nickname="jane"), await join(channel, front=1)
    ghost.connection.transport.pause_reading()
    john, other = await join(channel, nickname="john"), await join(channel, front=1)
    await other.send(type="newcomer", newcomer="john")
    await other.refusal()

    # When she reconnects and requests her nickname once
    jane = await join(channel, front=front)
    await jane.send(type="newcomer", newcomer="jane", id=(own := str(uuid.uuid4())))
    assert await jane.refusal() == f"User 'jane' already registered in channel {channel}"

    # Then she gets it long before missing pongs would have closed the old connection
    await witness.until(type="exiter", exiter="jane")
    newcomer = await witness.until(type="newcomer", newcomer="jane", id=own)
    assert await jane.until(type="newcomer", id=own) == newcomer
    # … and john, who answers, keeps his: he would have lost it before
    assert await rest.users(channel) == ["jane", "john"]
    assert not [m for m in john.received if m["type"] == "exiter" and m["exiter"] == "john"]

    # When the laptop wakes up, it is told, is still connected, and waits for the nickname
    ghost.connection.transport.resume_reading()
    assert (await ghost.refusal()).startswith("Your nickname 'jane' has gone to somebody who asked for it")
    await ghost.until(newcomer="jane", id=own)
    await jane.leave()
    await ghost.until(type="exiter", exiter="jane")
    await eventually(lambda: rest.users(channel), ["jane", "john"])
