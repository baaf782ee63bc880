"""Order: messages of a connection keep it, and do not wait for other connections' heavy ones."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.contract import CANARY, sample
from tests.support.layers import points
from tests.support.pictures import as_base64, encoded, quarters
from tests.support.processes import Stack
from tests.support.rest import Rest
from tests.wire.conftest import Join


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
            heard = [m["text"] for m in client.received if m.get("author") == f"speaker-{number}"]
            assert heard == [f"{CANARY} {word}" for word in range(20)]
        assert client.without_counts() == people[0].without_counts()


async def test_what_one_connection_sends_keeps_its_order(channel: str, join: Join) -> None:
    # Given messages that take workers very different times, and one that a worker refuses
    sender, distant = await join(channel), await join(channel, front=1)
    slow, quick = sample("image", image_data=as_base64(encoded(quarters(1600, 1200), "JPEG"))), sample("text")
    layer, small = sample("geojson", geojson=points(500)), sample("image")
    refused = sample("image", image_data="bm90IGFuIGltYWdl")
    kinds = [slow, quick, layer, small, quick, refused, quick, slow, layer, quick, small, slow, quick]
    messages = [message | {"id": str(uuid.uuid4())} for message in kinds]

    # When one connection sends them without waiting
    for message in messages:
        await sender.send(**message)

    # Then everybody gets them in that order, and the sender the refusal in its place
    expected = [None if kind is refused else message["id"] for kind, message in zip(kinds, messages, strict=True)]
    for client in (sender, distant):
        await client.until(id=expected[-1])
        received = [None if m["type"] == "uncompliant" else m["id"] for m in client.without_counts()]
        assert received == [id for id in expected if id or client is sender]


@contextmanager
def busy_workers(stack: Stack) -> Iterator[None]:
    for worker in stack.heavy:
        worker.freeze()
    try:
        yield
    finally:
        for worker in stack.heavy:
            worker.wake()


async def test_texts_of_others_overtake_heavy_work(channel: str, stack: Stack, join: Join, rest: Rest) -> None:
    # Given busy heavy workers, and a client that has sent a picture and then a text
    photographer, talker = await join(channel), await join(channel, front=1)
    with busy_workers(stack):
        await photographer.send(**sample("image"))
        after = await photographer.say()

        # When another client sends texts, and a bot
        texts = [await talker.say() for _ in range(5)]
        await talker.until(text=texts[-1])
        put = sample("text", text=f"{CANARY} of a bot")
        assert (await rest.put_text(channel, put)).code == 200

        # Then everyone receives them, but neither the picture nor the text after it
        for client in (photographer, talker):
            await client.until(text=put["text"])
            assert client.texts() == [*texts, put["text"]]

    # When the workers are free, the picture arrives, and then the text
    for client in (photographer, talker):
        await client.until(text=after)
        assert [m["type"] for m in client.without_counts()][-2:] == ["image", "text"]
