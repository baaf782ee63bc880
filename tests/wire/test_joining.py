"""Joining and leaving: the history and the user count."""

import asyncio
from collections.abc import Iterator
from functools import partial

from tests.support.client import Client
from tests.support.processes import Stack
from tests.support.rest import Rest, eventually
from tests.wire.conftest import Join


async def test_a_newcomer_gets_the_history_oldest_first_and_then_the_count(channel: str, join: Join) -> None:
    # Given a client that was first in its channel, and got the count alone
    jane = await join(channel, settled=True)
    assert [(m["type"], m["nb_users"]) for m in jane.received] == [("nb_users", 1)]
    said = [await jane.until(text=await jane.say()) for _ in range(4)]

    # When someone joins, on either front
    for front in (0, 1):
        joined = await join(channel, front=front, settled=True)

        # Then the first frames are the same messages in the same order, and a count
        assert joined.received[:4] == said
        assert joined.received[4]["type"] == "nb_users"


async def test_members_get_the_new_count_of_their_channel(join: Join, fresh_channels: Iterator[str]) -> None:
    # Given a client alone in the channel, and one in another
    here, there = next(fresh_channels), next(fresh_channels)
    jane, stranger = await join(here, settled=True), await join(there, settled=True)
    assert jane.nb_users == 1

    # When another joins on the other front, both get a count of two
    john = await join(here, front=1)
    await jane.count(2)
    await john.count(2)

    # When he leaves, she is alone again; the other channel was told nothing
    await john.leave()
    await jane.count(1)
    await stranger.until(text=await stranger.say())
    assert [(m["type"], m.get("nb_users")) for m in stranger.received] == [("nb_users", 1), ("text", None)]


async def test_the_count_is_right_after_many_came_and_went(
    channel: str, stack: Stack, join: Join, rests: list[Rest]
) -> None:
    # Given a client that stays
    witness = await join(channel)

    # When twenty clients join both fronts at once
    crowd = await asyncio.gather(*(join(channel, front=number % 2) for number in range(20)))
    await witness.count(21)

    # Then it has received some counts, not one for each
    assert sum(m["type"] == "nb_users" for m in witness.received) < 20

    # When they leave in all ways, also while they join
    for number, client in enumerate(crowd):
        if number % 3:
            client.reset()
        else:
            await client.leave()
    for number in range(8):
        (await Client.connect(stack.fronts[number % 2].url, channel)).reset()

    # Then the count becomes one on every front
    await witness.count(1)
    for rest in rests:
        await eventually(partial(rest.nb_connected_users, channel), 1)


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
