"""Joining, reconnecting and resending under traffic: no gaps and no duplicates."""

import asyncio
import random
import uuid
from collections import Counter

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL
from tests.support.client import Client
from tests.support.contract import CANARY, Message, sample
from tests.support.peers import MISSED, photo


async def test_joining_clients_receive_the_history_and_all_later_messages(
    make_scene: MakeScene, dice: random.Random
) -> None:
    # Given clients that send messages without a pause
    async with make_scene() as scene:
        await scene.talk(talkers=6, pause=0.02)
        await scene.flow(30)

        # When others join all the time, some of them with the id of the last message they have
        joiners: list[tuple[Client, str | None]] = []
        for number in range(12):
            heard = scene.ledger.orders()["talker-0"]
            after = dice.choice(heard[-20:]) if number % 2 else None
            url = dice.choice(scene.urls)
            client = await Client.connect(url, CHANNEL, query=f"?after={after}" if after else "")
            joiners.append((client, after))
            await scene.flow(3)
        await scene.flow(10)
        await scene.end_talk()

        # Then everyone has received the same messages in the same order, and each of them a part without gaps
        await scene.drained()
        await scene.talkers[0].say(1)
        await scene.everyone_has_heard()
        (order,) = {tuple(heard) for heard in scene.ledger.orders().values()}
        for client, after in joiners:
            await client.until(id=order[-1])
            ids = [message["id"] for message in client.received if message["id"] in scene.ledger.sent]
            begin = order.index(after) + 1 if after else order.index(ids[0])
            assert tuple(ids) == order[begin:]
            await client.leave()
        await scene.settle()


async def test_reconnecting_too_late_is_reported_and_returns_the_history(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1) as scene:
        await scene.talk(talkers=2, guests=0)
        await scene.flow(20)
        await scene.end_talk()
        await scene.everyone_has_heard()

        # When a client joins with the id of a message that is not retained
        client = await Client.connect(scene.urls[0], CHANNEL, query=f"?after={uuid.uuid4()}")

        # Then it is told, and gets the stored messages
        await client.until(type="nb_users")
        assert client.received[0]["reason"].startswith(MISSED)
        stored = [message["id"] for message in client.received[1:] if message["type"] != "nb_users"]
        assert stored == scene.ledger.orders()["talker-0"][-5:]
        await client.leave()
        await scene.settle()


async def test_a_message_of_the_same_id_is_published_once(make_scene: MakeScene) -> None:
    """On two fronts at once, again on the same connection, and after reconnecting."""
    async with make_scene(heavy=1) as scene:
        await scene.talk(talkers=2, guests=1)
        witnesses = [await Client.connect(url, CHANNEL) for url in scene.urls]
        listener = await Client.connect(scene.urls[0], CHANNEL)
        messages = [_message(number) for number in range(20)]

        # When each message is sent on both fronts at once, twice
        for message in messages:
            await asyncio.gather(*(client.send(**message) for client in witnesses for _ in range(2)))

        # And once more by a client that reconnects
        await asyncio.gather(*(client.until(id=messages[-1]["id"]) for client in witnesses))
        again = await Client.connect(scene.urls[1], CHANNEL)
        for message in messages:
            await again.send(**message)

        # Then everybody has received each message once, and its senders once for each time they sent it
        for client in (*witnesses, again):
            marker = await client.say()
            await asyncio.gather(*(witness.until(text=marker) for witness in (*witnesses, listener)))
        ids = [message["id"] for message in messages]
        assert [message["id"] for message in listener.received if message["id"] in ids] == ids
        for witness in witnesses:
            heard = [message["id"] for message in witness.received if message["id"] in ids]
            assert list(dict.fromkeys(heard)) == ids
            assert set(Counter(heard).values()) <= {2, 3}
        for client in (*witnesses, again, listener):
            await client.leave()
        await scene.flow(10)
        await scene.settle()


def _message(number: int) -> Message:
    id = str(uuid.uuid4())
    if number % 5 == 0:
        return sample("image", id=id, image_data=photo(120, 90))
    return sample("text", id=id, text=f"{CANARY} {number}")
