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


async def test_a_nickname_of_the_right_form_can_be_registered_and_signed_with(
    channel: str, join: Join, rest: Rest
) -> None:
    for nickname in RIGHT:
        client = await join(channel, nickname=nickname)

        assert (await client.until(text=await client.say(author=nickname)))["author"] == nickname
    assert set(await rest.users(channel)) == set(RIGHT)


async def test_a_nickname_of_another_form_is_refused(channel: str, join: Join, rest: Rest) -> None:
    client, other = await join(channel), await join(channel, front=1)

    for nickname in WRONG:
        await client.send(type="newcomer", newcomer=nickname)
        assert await client.refusal(), repr(nickname)

    marker = await client.say()
    await client.nothing_before(marker)
    await other.nothing_before(marker)
    assert await rest.users(channel) == []


async def test_a_newcomer_is_published_to_everyone(channel: str, join: Join) -> None:
    jane, neighbour, distant = await join(channel), await join(channel), await join(channel, front=1)

    newcomer = await jane.register("jane")

    assert await neighbour.until(type="newcomer") == newcomer
    assert await distant.until(type="newcomer") == newcomer


async def test_a_taken_nickname_is_refused_to_the_second_client_only(channel: str, join: Join, rest: Rest) -> None:
    # Given jane on the first front
    jane = await join(channel, nickname="jane")
    impostor = await join(channel, front=1)

    # When another client registers her nickname, on the other front
    await impostor.send(type="newcomer", newcomer="jane")

    # Then only that client is told, and jane keeps it
    assert await impostor.refusal() == f"User 'jane' already registered in channel {channel}"
    await jane.nothing_before(await impostor.say())
    assert await rest.users(channel) == ["jane"]


async def test_a_nickname_is_taken_in_its_channel_only(join: Join, fresh_channels: Iterator[str]) -> None:
    for channel in (next(fresh_channels), next(fresh_channels)):
        await join(channel, nickname="jane")


async def test_one_of_many_concurrent_registrations_succeeds(channel: str, join: Join, rest: Rest) -> None:
    crowd = [await join(channel, front=number % 2) for number in range(10)]

    for client in crowd:
        await client.send(type="newcomer", newcomer="jane")
    for client in crowd:
        await client.until(text=await client.say())

    refused = [client for client in crowd if any(m["type"] == "uncompliant" for m in client.received)]
    assert len(refused) == 9
    assert await rest.users(channel) == ["jane"]


async def test_a_second_nickname_gives_up_the_first(channel: str, join: Join, rest: Rest) -> None:
    # Given jane
    witness = await join(channel, front=1)
    jane = await join(channel, nickname="jane")

    # When she registers as joan
    await jane.register("joan")

    # Then the channel is told that jane has left and joan has joined, and the nickname jane is free
    await witness.until(type="exiter", exiter="jane")
    await witness.until(type="newcomer", newcomer="joan")
    assert await rest.users(channel) == ["joan"]
    await join(channel, front=1, nickname="jane")
    assert await rest.users(channel) == ["jane", "joan"]

    # When she leaves, she leaves as joan only
    await jane.leave()
    await witness.until(type="exiter", exiter="joan")
    await eventually(lambda: rest.users(channel), ["jane"])


async def test_a_second_nickname_that_is_taken_leaves_the_first(channel: str, join: Join, rest: Rest) -> None:
    jane, john = await join(channel, nickname="jane"), await join(channel, front=1, nickname="john")

    await jane.send(type="newcomer", newcomer="john")

    assert await jane.refusal() == f"User 'john' already registered in channel {channel}"
    await john.nothing_before(await jane.say())
    assert await rest.users(channel) == ["jane", "john"]


async def test_a_client_without_a_nickname_can_write_and_leaves_without_an_exiter(
    channel: str, join: Join, rest: Rest
) -> None:
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
async def test_the_channel_is_told_who_left_however_a_connection_ends(
    ending: str, channel: str, join: Join, rest: Rest
) -> None:
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


async def test_an_exiter_frees_the_nickname_at_once(channel: str, join: Join, rest: Rest) -> None:
    # Given jane
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)

    # When she sends an `exiter`, and stays connected
    await jane.send(type="exiter", exiter="jane")

    # Then everyone is told, her nickname is free, and she still receives messages
    await jane.until(type="exiter", exiter="jane")
    await other.until(type="exiter", exiter="jane")
    assert await rest.users(channel) == []
    await other.register("jane")
    await jane.until(type="newcomer", newcomer="jane")


async def test_nobody_leaves_twice(channel: str, join: Join) -> None:
    # Given jane, who sends an `exiter` and then closes, as QField does
    witness = await join(channel, front=1)
    jane = await join(channel, nickname="jane")
    await witness.count(2)
    await jane.send(type="exiter", exiter="jane")
    await jane.until(type="exiter")
    await jane.leave()
    await witness.count(1)

    # When another client joins and leaves in the same way afterwards
    other = await join(channel, nickname="john")
    await other.leave()
    await witness.until(type="exiter", exiter="john")

    # Then jane has left only once
    assert [m["exiter"] for m in witness.received if m["type"] == "exiter"] == ["jane", "john"]


async def test_an_exiter_for_another_nickname_is_refused(channel: str, join: Join, rest: Rest) -> None:
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)

    await other.send(type="exiter", exiter="jane")
    await other.until(text=await other.say())

    assert await rest.users(channel) == ["jane"]
    assert not [m for m in jane.received if m["type"] == "exiter"]


# A nickname that is taken: the request is kept


async def test_a_refused_nickname_is_granted_when_it_is_free(channel: str, join: Join, rest: Rest) -> None:
    # Given two clients that were refused jane's nickname
    jane, witness = await join(channel, nickname="jane"), await join(channel, front=1)
    first, second = await join(channel, front=1), await join(channel)
    own, next_one = str(uuid.uuid4()), str(uuid.uuid4())
    for client, id in ((first, own), (second, next_one)):
        await client.send(type="newcomer", newcomer="jane", id=id)
        assert await client.refusal() == f"User 'jane' already registered in channel {channel}"

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


async def test_registering_ones_own_nickname_again_changes_nothing(channel: str, join: Join, rest: Rest) -> None:
    """QGIS sends one `newcomer` more after each loss of its connection."""
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)

    for _ in range(3):
        await jane.send(type="newcomer", newcomer="jane")
    marker = await jane.say()

    await jane.nothing_before(marker)
    await other.nothing_before(marker)
    assert await rest.users(channel) == ["jane"]


async def test_a_withdrawn_request_for_a_nickname_is_not_granted(channel: str, join: Join, rest: Rest) -> None:
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)
    await other.send(type="newcomer", newcomer="jane")
    await other.refusal()

    await other.send(type="exiter", exiter="jane")
    assert await other.refusal() == "You are not registered as 'jane'."
    await jane.leave()
    await other.until(type="exiter", exiter="jane")

    await other.nothing_before(await other.say())
    assert await rest.users(channel) == []


@pytest.mark.parametrize("front", [0, 1])
async def test_a_reconnecting_client_gets_the_nickname_of_its_dead_connection(
    front: int, channel: str, join: Join, rest: Rest
) -> None:
    # Given jane, whose laptop sleeps: it answers no pings
    ghost, witness = await join(channel, nickname="jane"), await join(channel, front=1)
    ghost.connection.transport.pause_reading()

    # When she reconnects and requests her nickname once
    jane = await join(channel, front=front)
    await jane.send(type="newcomer", newcomer="jane", id=(own := str(uuid.uuid4())))
    assert await jane.refusal() == f"User 'jane' already registered in channel {channel}"

    # Then she gets it long before missing pongs would have closed the old connection
    await witness.until(type="exiter", exiter="jane")
    newcomer = await witness.until(type="newcomer", newcomer="jane", id=own)
    assert await jane.until(type="newcomer", id=own) == newcomer

    # When the laptop wakes up, it is told, is still connected, and waits for the nickname
    ghost.connection.transport.resume_reading()
    assert (await ghost.refusal()).startswith("Your nickname 'jane' has gone to somebody who asked for it")
    await ghost.until(newcomer="jane", id=own)
    await jane.leave()
    await ghost.until(type="exiter", exiter="jane")
    await eventually(lambda: rest.users(channel), ["jane"])


async def test_a_responsive_holder_keeps_its_nickname(channel: str, join: Join, rest: Rest) -> None:
    jane, other = await join(channel, nickname="jane"), await join(channel, front=1)
    await other.send(type="newcomer", newcomer="jane")
    await other.refusal()

    # An unresponsive holder would have lost it before this later challenge has been answered
    ghost = await join(channel, nickname="ghost")
    ghost.connection.transport.pause_reading()
    await other.send(type="newcomer", newcomer="ghost")
    await other.refusal()
    await other.until(type="newcomer", newcomer="ghost")

    assert await rest.users(channel) == ["ghost", "jane"]
    await jane.until(type="newcomer", newcomer="ghost")
