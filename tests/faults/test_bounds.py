"""Redis' memory stays bounded, whatever clients send."""

import asyncio
import uuid

from gischat.front.limits.admission import SERVER_FULL
from gischat.protocol.messages import Lane
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded, quarters

FULL, _ = SERVER_FULL


async def _without_workers(scene: Scene) -> None:
    for worker in scene.stack.workers:
        scene.keeper.leaves_alone.add(worker)
        worker.kill()


async def test_an_inbox_is_bounded_in_number(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, max_inbox_messages=20) as scene:
        clients = [await Client.connect(scene.urls[0], CHANNEL) for _ in range(40)]
        await _without_workers(scene)

        # When more messages are sent than fit, each by another client
        for client in clients:
            await client.say()
        refused = await _refused(scene, clients, 15)

        # Then the inbox is full, and the other messages are refused with a reason
        assert scene.redis.xlen(scene.keys.inbox(Lane.LIGHT)) == 20
        assert all(reason.startswith(f"{FULL} Your text: ") for reason in refused)

        # And the accepted ones are published
        scene.keeper.leaves_alone.clear()
        await until(lambda: _texts(clients) + len(_refusals(clients)) == len(clients), "every message to end")
        await asyncio.gather(*(client.leave() for client in clients))


async def _refused(scene: Scene, clients: list[Client], least: int) -> list[str]:
    await until(lambda: len(_refusals(clients)) >= least, "messages to be refused")
    return _refusals(clients)


def _refusals(clients: list[Client]) -> list[str]:
    return [m["reason"] for client in clients for m in client.received if m["type"] == "uncompliant"]


def _texts(clients: list[Client]) -> int:
    return len(clients[0].texts())


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
