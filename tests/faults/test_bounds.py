"""Redis' memory is bounded whatever clients do."""

import asyncio
import time
import uuid
from typing import Any

from gischat.protocol.messages import Lane
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded, quarters

IDS = 20_000
IDS_STEP = 50
DEAD_LETTERS = 1000
FULL = "The server has too much to do at the moment. Please send it again later."


def _key(scene: Scene, name: str) -> str:
    return scene.keys.outbox.removesuffix("outbox") + name


async def _without_workers(scene: Scene) -> None:
    for worker in scene.stack.workers:
        scene.keeper.leaves_alone.add(worker)
        worker.kill()


async def test_an_inbox_is_bounded_in_number(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, heavy=0, max_inbox_messages=20) as scene:
        clients = [await Client.connect(scene.urls[0], CHANNEL) for _ in range(40)]
        await _without_workers(scene)

        # When more is sent than there is room for, each by another
        for client in clients:
            await client.say()
        refused = await _refused(scene, clients, 15)

        # Then it is as full as it may be, and the others are told in words
        assert scene.redis.xlen(scene.keys.inbox(Lane.LIGHT)) == 20
        assert all(reason.startswith(f"{FULL} Your text: ") for reason in refused)

        # And what was taken comes out
        scene.keeper.leaves_alone.clear()
        await until(lambda: _texts(clients) + len(_refusals(clients)) == len(clients), "every message to end")
        await asyncio.gather(*(client.leave() for client in clients))


async def test_an_inbox_is_bounded_in_bytes(make_scene: MakeScene) -> None:
    size, bound = 300_000, 2**20
    async with make_scene(fronts=1, heavy=0, max_inbox_bytes=bound) as scene:
        clients = [await Client.connect(scene.urls[0], CHANNEL) for _ in range(10)]
        await _without_workers(scene)
        for client in clients:
            await client.send(**sample("model", raw_xml="x" * size))
        await _refused(scene, clients, 6)
        assert scene.redis.memory_usage(scene.keys.inbox(Lane.LIGHT), samples=0) < 2 * bound
        await asyncio.gather(*(client.leave() for client in clients))


async def _refused(scene: Scene, clients: list[Client], least: int) -> list[str]:
    await until(lambda: len(_refusals(clients)) >= least, "messages to be refused")
    return _refusals(clients)


def _refusals(clients: list[Client]) -> list[str]:
    return [m["reason"] for client in clients for m in client.received if m["type"] == "uncompliant"]


def _texts(clients: list[Client]) -> int:
    return len(clients[0].texts())


async def test_what_waits_behind_a_message_is_bounded(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, heavy=0, max_waiting_messages=10) as scene:
        client = await Client.connect(scene.urls[0], CHANNEL)
        await client.count(1)
        await _without_workers(scene)
        for _ in range(30):
            await client.say()
        await _refused(scene, [client], 19)
        assert "Too many of your messages are waiting" in _refusals([client])[0]
        scene.keeper.leaves_alone.clear()
        await until(lambda: len(client.texts()) == 11, "what waited to come")
        assert len(_refusals([client])) == 19
        await client.leave()


async def test_a_hundred_photos_leave_the_outbox_small(make_scene: MakeScene) -> None:
    bound = 2**19
    async with make_scene(fronts=1, heavy=2, max_outbox_bytes=bound) as scene:
        client = await Client.connect(scene.urls[0], CHANNEL)
        picture = as_base64(encoded(quarters(800, 600), "JPEG"))
        ids = [str(uuid.uuid4()) for _ in range(100)]
        sizes = 0
        for id in ids:
            await client.send(**sample("image", id=id, image_data=picture))
        for id in ids:
            sizes += len((await client.until(id=id))["image_data"])
        assert sizes > 1.5 * bound
        assert scene.redis.memory_usage(scene.keys.outbox, samples=0) < 2 * bound
        await client.leave()


async def test_the_outbox_is_bounded_in_number_and_age(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, heavy=0, max_outbox_messages=15, max_outbox_age=3) as scene:
        client = await Client.connect(scene.urls[0], CHANNEL)
        for _ in range(40):
            text = await client.say()
        await client.until(text=text)
        assert scene.redis.xlen(scene.keys.outbox) <= 15

        # When nothing is said any more, heartbeats push out what is too old
        said = time.time()
        await until(lambda: _oldest(scene) > said, "what was said to go")
        await client.leave()


def _oldest(scene: Scene) -> float:
    """The time of the oldest entry of the outbox, in seconds since the epoch."""
    entries: Any = scene.redis.xrange(scene.keys.outbox, count=1)
    return int(entries[0][0].split(b"-")[0]) / 1000


async def test_seen_ids_are_bounded_in_number_and_age(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, heavy=0) as scene:
        # Given too many ids of late, and others of eleven minutes ago
        client = await Client.connect(scene.urls[0], CHANNEL)
        now = int(time.time() * 1000)
        recent = {f"recent-{number}": now - 1000 for number in range(IDS + 500)}
        scene.redis.zadd(_key(scene, "ids"), {**recent, "old": now - 660_000})

        # When others are published
        for _ in range(IDS_STEP):
            text = await client.say()
        await client.until(text=text)

        # Then only the latest are kept, but for those since old ones were last forgotten
        assert scene.redis.zcard(_key(scene, "ids")) < IDS + IDS_STEP
        assert scene.redis.zscore(_key(scene, "ids"), "old") is None
        await client.leave()


async def test_dead_letters_are_bounded(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, heavy=0) as scene:
        # Given as many as there may be
        fields = {"source": "front/1/1", "type": "text", "id": "", "body": "x", "reason": "none"}
        with scene.redis.pipeline() as pipeline:
            for _ in range(DEAD_LETTERS + 20):
                pipeline.xadd(scene.keys.dead, fields)
            pipeline.hset(_key(scene, "counters"), "dead_bytes", DEAD_LETTERS + 20)
            pipeline.execute()

        # When a job comes that no worker can do
        job = {"source": "front/1/1", "type": "nonsense", "id": "", "body": "{}", "client": "", "sender": ""}
        scene.redis.xadd(scene.keys.inbox(Lane.LIGHT), job)

        # Then the oldest go
        await until(lambda: scene.redis.xlen(scene.keys.dead) == DEAD_LETTERS, "dead letters to be thrown away")
        newest = scene.redis.xrevrange(scene.keys.dead, count=1)[0][1]
        assert newest[b"reason"] == b"KeyError in the worker."
