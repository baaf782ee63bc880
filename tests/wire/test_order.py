"""Order: messages of a connection keep it, and do not wait for other connections' heavy ones."""

import asyncio
import uuid

from tests.support.client import Client
from tests.support.contract import CANARY, Message, sample
from tests.support.layers import points
from tests.support.pictures import as_base64, encoded, quarters
from tests.support.processes import Stack
from tests.support.rest import Rest
from tests.wire.conftest import Join


def _with_ids(messages: list[Message]) -> list[Message]:
    return [message | {"id": str(uuid.uuid4())} for message in messages]


def _order(client: Client, messages: list[Message]) -> list[str]:
    """The ids of these messages in the order of their arrival at the client."""
    ids = {message["id"] for message in messages}
    return [message["id"] for message in client.received if message["id"] in ids]


async def test_concurrent_senders_messages_keep_their_order(channel: str, join: Join) -> None:
    # Given eight clients on both fronts
    people = [await join(channel, front=number % 2) for number in range(8)]

    # When all send messages at once
    async def talk(number: int) -> None:
        for word in range(20):
            await people[number].say(f"{CANARY} {word}", author=f"speaker-{number}")

    await asyncio.gather(*(talk(number) for number in range(8)))

    # Then all receive all messages in the same order, which is each sender's
    for client in people:
        for number in range(8):
            await client.until(author=f"speaker-{number}", text=f"{CANARY} 19")
        texts = [m for m in client.received if m["type"] == "text"]
        assert len(texts) == 160
        for number in range(8):
            heard = [m["text"] for m in texts if m["author"] == f"speaker-{number}"]
            assert heard == [f"{CANARY} {word}" for word in range(20)]


async def test_pictures_layers_and_texts_of_one_connection_keep_their_order(channel: str, join: Join) -> None:
    # Given messages that take workers very different times
    sender, distant = await join(channel), await join(channel, front=1)
    picture = as_base64(encoded(quarters(1600, 1200), "JPEG"))
    slow, quick = sample("image", image_data=picture), sample("text")
    layer, small = sample("geojson", geojson=points(500)), sample("image")
    messages = _with_ids([slow, quick, layer, small, quick, quick, slow, layer, quick, small, slow, quick])

    # When one connection sends them without waiting
    for message in messages:
        await sender.send(**message)

    # Then everybody gets them in that order
    for client in (sender, distant):
        await client.until(id=messages[-1]["id"])
        assert _order(client, messages) == [message["id"] for message in messages]


async def test_refusals_arrive_in_order(channel: str, join: Join) -> None:
    """A worker's refusals arrive in order, so that the sender knows which message each is about."""
    client = await join(channel)

    await client.send(**sample("image"))
    await client.send(**sample("image", image_data="bm90IGFuIGltYWdl"))
    marker = await client.say()

    await client.until(text=marker)
    types = [m["type"] for m in client.received if m["type"] != "nb_users"]
    assert types == ["image", "uncompliant", "text"]


async def test_texts_of_others_overtake_heavy_work(channel: str, stack: Stack, join: Join) -> None:
    # Given busy heavy workers, and a client that has sent a picture and then a text
    photographer, talker = await join(channel), await join(channel, front=1)
    for worker in stack.heavy:
        worker.freeze()
    try:
        await photographer.send(**sample("image"))
        after = await photographer.say()

        # When another client sends a text
        texts = [await talker.say() for _ in range(5)]

        # Then everyone receives it, but neither the picture nor the text after it
        for client in (photographer, talker):
            await client.until(text=texts[-1])
            assert client.texts() == texts
    finally:
        for worker in stack.heavy:
            worker.wake()

    # When the workers are free, the picture arrives, and then the text
    for client in (photographer, talker):
        await client.until(text=after)
        assert [m["type"] for m in client.without_counts()][-2:] == ["image", "text"]


async def test_a_put_does_not_wait_for_heavy_work(channel: str, stack: Stack, join: Join, rest: Rest) -> None:
    photographer = await join(channel)
    for worker in stack.heavy:
        worker.freeze()
    try:
        await photographer.send(**sample("image"))
        assert (await rest.put_text(channel, sample("text"))).code == 200
    finally:
        for worker in stack.heavy:
            worker.wake()

    await photographer.until(type="image")
