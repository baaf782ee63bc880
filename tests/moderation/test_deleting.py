"""Deleted messages are no longer delivered."""

import asyncio
from typing import Any

from tests.moderation.conftest import Join
from tests.support.admin import Admin, acts, below
from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.processes import Stack
from tests.support.rest import Rest


async def say(client: Client, number: int = 1) -> list[str]:
    """Send `number` texts; returns their ids."""
    return [(await client.until(text=await client.say()))["id"] for _ in range(number)]


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["id"] for message in messages if message["type"] != "nb_users"]


async def test_a_deleted_message_is_in_no_history(
    stack: Stack, channel: str, join: Join, rests: list[Rest], admin: Admin, other: Admin
) -> None:
    # Given a channel with a history
    jane, witness = await join(channel), await join(channel, front=1)
    first, second, third = await say(jane, 3)
    message = next(message for message in jane.received if message.get("id") == second)
    await witness.until(id=third)
    # When a moderator deletes a message of it
    assert await admin.act("DELETE", below(channel, f"messages/{second}")) == {"deleted": 1}
    # Then no joining client gets it, on any front, and no request
    for front, rest in enumerate(rests):
        assert ids((await join(channel, front=front, settled=True)).received) == [first, third]
        assert ids(await rest.last(channel)) == [first, third]
    assert ids(await other.act("GET", below(channel, "messages"))) == [first, third]
    # … and a client that resends it, because it was not confirmed, does not restore it
    await jane.send(**message)
    # … and connected clients are told nothing: there is no message type for that, and offsets have no gap
    marker = await jane.say()
    await witness.until(text=marker)
    assert ids(witness.received)[:-1] == [first, second, third]
    assert second not in ids(await rests[0].last(channel))
    # … and the log has it, without the text
    (told,) = acts(stack.fronts[0])
    expected = {"act": "delete message", "moderator": "anna", "address": "127.0.0.1"}
    assert told == {**told, **expected, "channels": [channel], "id": second}
    assert told["request"]
    assert CANARY not in stack.fronts[0].new_log()


async def test_deleted_messages_are_not_sent_to_who_reconnects(channel: str, join: Join, admin: Admin) -> None:
    # Given more messages than a history holds, and a client that has received the first
    jane = await join(channel)
    said = await say(jane, 8)
    # When a message in the history is deleted, and one that is no longer in it
    for number in (2, 6):
        await admin.act("DELETE", below(channel, f"messages/{said[number]}"))
    # Then the client receives the others, and no notice of a gap
    for front in (0, 1):
        john = await join(channel, front=front, query=f"?after={said[0]}", settled=True)
        assert ids(john.received) == [one for number, one in enumerate(said) if number not in (0, 2, 6)]
    # And a client whose last message is the deleted one receives those after it
    john = await join(channel, front=1, query=f"?after={said[6]}", settled=True)
    assert ids(john.received) == said[7:]


async def test_deleting_all_messages_spares_later_ones(
    channel: str, join: Join, rests: list[Rest], admin: Admin
) -> None:
    jane = await join(channel, front=1)
    said = await say(jane, 7)
    await jane.send(**sample("script"))
    await jane.until(type="script")
    assert await admin.act("DELETE", below(channel, "messages")) == {"deleted": 5}
    (later,) = await say(jane)
    for front, rest in enumerate(rests):
        assert ids(await rest.last(channel)) == [later]
        assert ids((await join(channel, front=front, settled=True)).received) == [later]
        assert ids((await join(channel, front=front, query=f"?after={said[0]}", settled=True)).received) == [later]
    assert await admin.act("DELETE", below(channel, "messages")) == {"deleted": 1}
    assert await rests[0].last(channel) == []


async def test_a_message_is_deleted_while_others_are_sent(channel: str, join: Join, admin: Admin, rest: Rest) -> None:
    speakers = [await join(channel, front=front) for front in (0, 1)]
    said: list[str] = []

    async def talk() -> None:
        for number in range(40):
            said.extend(await say(speakers[number % 2]))

    talking = asyncio.create_task(talk())
    deleted: list[str] = []
    while not talking.done():
        newest = said[-1:]
        for id in newest:
            if id not in deleted and (await admin.ask("DELETE", below(channel, f"messages/{id}"))).code == 200:
                deleted.append(id)
        await asyncio.sleep(0)
    await talking
    assert len(deleted) > 3
    assert not set(ids(await rest.last(channel))) & set(deleted)
    john = await join(channel, front=1, query=f"?after={said[0]}", settled=True)
    assert ids(john.received) == [id for id in said[1:] if id not in deleted]


async def test_an_unknown_message_cannot_be_deleted(channel: str, join: Join, admin: Admin, rest: Rest) -> None:
    said = await say(await join(channel), 2)
    for id in ("8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11", "1", "%2F", "%3Cb%3E"):
        status, reason = await admin.refused("DELETE", below(channel, f"messages/{id}"))
        assert (status, isinstance(reason, str)) == (404, True)
    assert ids(await rest.last(channel)) == said
