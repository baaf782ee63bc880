"""Joining and leaving: the history and the user count."""

import asyncio
from collections.abc import Iterator
from functools import partial

from tests.support.client import Client
from tests.support.processes import Stack
from tests.support.rest import Rest, eventually
from tests.wire.conftest import Join


async def test_a_newcomer_gets_the_history_oldest_first_and_then_the_count(channel: str, join: Join) -> None:
    # Given a channel with messages
    jane = await join(channel)
    said = [await jane.until(text=await jane.say()) for _ in range(4)]

    # When someone joins, on either front
    for front in (0, 1):
        joined = await join(channel, front=front, settled=True)

        # Then the first frames are the same messages in the same order, and a count
        assert joined.received[:4] == said
        assert joined.received[4]["type"] == "nb_users"


async def test_a_newcomer_in_an_empty_channel_gets_the_count_alone(channel: str, join: Join) -> None:
    client = await join(channel, settled=True)

    assert [(m["type"], m["nb_users"]) for m in client.received] == [("nb_users", 1)]


async def test_members_get_the_new_count(channel: str, join: Join) -> None:
    # Given a client alone in the channel
    jane = await join(channel, settled=True)
    assert jane.nb_users == 1

    # When another joins on the other front, both get a count of two
    john = await join(channel, front=1)
    await jane.count(2)
    await john.count(2)

    # When he leaves, she is alone again
    await john.leave()
    await jane.count(1)


async def test_a_channels_count_is_its_own(stack: Stack, join: Join, fresh_channels: Iterator[str]) -> None:
    here, there = next(fresh_channels), next(fresh_channels)
    jane, john = await join(here, settled=True), await join(there, settled=True)

    await jane.until(text=await jane.say())
    await john.until(text=await john.say())

    assert jane.nb_users == john.nb_users == 1
    assert [m["type"] for m in john.received] == ["nb_users", "text"]


async def test_the_count_is_right_after_many_came_and_went_abruptly(
    channel: str, join: Join, rests: list[Rest]
) -> None:
    # Given a client that stays
    witness = await join(channel)

    # When twelve clients join both fronts at once, and leave in all ways
    crowd = await asyncio.gather(*(join(channel, front=number % 2) for number in range(12)))
    await witness.count(13)
    for number, client in enumerate(crowd):
        if number % 3:
            client.reset()
        else:
            await client.leave()

    # Then the count becomes one on every front
    await witness.count(1)
    for rest in rests:
        await eventually(partial(rest.nb_connected_users, channel), 1)


async def test_a_connection_lost_while_joining_leaves_no_ghost(channel: str, stack: Stack, join: Join) -> None:
    witness = await join(channel)

    for number in range(8):
        client = await Client.connect(stack.fronts[number % 2].url, channel)
        client.reset()

    last = await join(channel, front=1)
    await last.count(2)
    await witness.count(2)


async def test_registering_while_joining_is_published_to_all(channel: str, join: Join) -> None:
    """A `newcomer` is not stored, so one that is published while a history is read must not be lost."""
    witness = await join(channel, settled=True)

    # When many join on both fronts and register at once, without waiting for anything
    async def arrive(number: int) -> Client:
        client = await join(channel, front=number % 2)
        await client.send(type="newcomer", newcomer=f"guest-{number}")
        return client

    guests = await asyncio.gather(*(arrive(number) for number in range(16)))

    # Then each client, and the witness, receives its `newcomer`
    for number, guest in enumerate(guests):
        await guest.until(type="newcomer", newcomer=f"guest-{number}")
        await witness.until(type="newcomer", newcomer=f"guest-{number}")


async def test_counts_are_throttled_while_many_clients_join(channel: str, join: Join) -> None:
    """Counts are throttled: when many clients join, the others receive some counts, not one for each."""
    witness = await join(channel, settled=True)

    await asyncio.gather(*(join(channel, front=number % 2) for number in range(30)))
    await witness.count(31)

    assert sum(m["type"] == "nb_users" for m in witness.received) < 30
