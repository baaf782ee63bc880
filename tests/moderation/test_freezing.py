"""A frozen channel is read-only, on all fronts at once."""

import asyncio

from tests.moderation.conftest import ANOTHER_CHANNEL, Join
from tests.support.admin import Admin, below
from tests.support.client import Client
from tests.support.contract import BROADCAST, Message, sample, words
from tests.support.rest import Rest

FROZEN = "This channel is frozen"


async def test_a_frozen_channel_refuses_messages(
    channel: str, join: Join, rests: list[Rest], admin: Admin, other: Admin
) -> None:
    # Given a channel with clients and a history
    jane = await join(channel, nickname="jane")
    john = await join(channel, front=1, nickname="john")
    said = await john.until(text=await jane.say())
    # When it is frozen, on one front
    answer = await admin.act("PUT", below(channel, "freeze"))
    assert answer == {"channel": channel, "frozen": True, "changed": True}
    # Then all messages on all fronts are refused with a reason
    for client in (jane, john):
        for type_ in (*BROADCAST, "like"):
            await client.send(**sample(type_))
            assert (await client.refusal()).startswith(FROZEN)
    for rest in rests:
        response = await rest.put_text(channel, sample("text"))
        assert response.code == 403
        assert FROZEN in response.body.decode()
    # … while clients join, receive the history, register, and leave
    joan = await join(channel, front=1, settled=True)
    assert joan.received[0] == said
    await joan.register("joan")
    await jane.until(type="newcomer", newcomer="joan")
    await joan.leave()
    await jane.until(type="exiter", exiter="joan")
    await jane.count(2)
    # … and an `exiter` of an unknown nickname is refused
    guest = await join(channel)
    await guest.send(type="exiter", exiter="buy-my-maps")
    assert (await guest.refusal()).startswith(FROZEN)
    await guest.leave()
    await jane.count(2)
    # … and announcements are published
    await other.act("POST", below(channel, "announcements"), {"text": (text := words())})
    for client in (jane, john):
        await client.until(author="gischat", text=text)


async def test_the_state_names_who_froze_a_channel(channel: str, join: Join, admin: Admin, other: Admin) -> None:
    jane = await join(channel)
    await admin.act("PUT", below(channel, "freeze"))
    assert (await other.act("PUT", below(channel, "freeze")))["changed"] is False
    shown = {one["name"]: one for one in await other.act("GET", "channels")}
    assert (shown[channel]["frozen"], shown[channel]["frozen_by"]) == (True, "anna")
    state = {name: shown[ANOTHER_CHANNEL][name] for name in ("frozen", "frozen_since", "frozen_by")}
    assert state == {"frozen": False, "frozen_since": None, "frozen_by": None}
    await jane.say()
    await jane.refusal()
    answer = await other.act("DELETE", below(channel, "freeze"))
    assert answer == {"channel": channel, "frozen": False, "changed": True}
    await jane.until(text=await jane.say())
    assert (await admin.act("DELETE", below(channel, "freeze")))["changed"] is False


async def test_every_message_during_a_freeze_gets_an_answer(channel: str, join: Join, admin: Admin) -> None:
    # Given clients that send without a pause
    people = {f"talker-{number}": await join(channel, front=number % 2) for number in range(6)}
    talks = [asyncio.create_task(_talk(client, name)) for name, client in people.items()]
    while len(people["talker-0"].received) < MESSAGES:
        await asyncio.sleep(0.01)
    # When the channel is frozen, unfrozen and frozen meanwhile
    for method in ("PUT", "DELETE", "PUT"):
        await admin.act(method, below(channel, "freeze"))
    await asyncio.gather(*talks)
    # Then each message is published, or refused with a reason
    for name, client in people.items():
        while len(_echoes(client, name)) + len(_refusals(client)) < MESSAGES:
            await asyncio.sleep(0.02)
    # … and all clients have received the same messages in the same order
    await admin.act("POST", below(channel, "announcements"), {"text": (marker := words())})
    for client in people.values():
        await client.until(text=marker)
    assert len({tuple(client.texts()) for client in people.values()}) == 1
    published = len(people["talker-0"].texts()) - 1
    assert published + sum(len(_refusals(client)) for client in people.values()) == len(people) * MESSAGES
    assert 0 < published < len(people) * MESSAGES


MESSAGES = 100


async def _talk(client: Client, name: str) -> None:
    for _ in range(MESSAGES):
        await client.say(author=name)
        await asyncio.sleep(0)


def _echoes(client: Client, name: str) -> list[Message]:
    return [message for message in client.received if message.get("author") == name]


def _refusals(client: Client) -> list[Message]:
    return [message for message in client.received if FROZEN in str(message.get("reason"))]
