"""Keys of a channel are replaced by a wrong type, or written to by somebody else; the simulation deletes them."""

import itertools
from typing import Any

from gischat.broker.keys import ChannelKeys
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, until
from tests.support.client import Client
from tests.support.rest import Rest, eventually
from tests.support.scrape import Scrape

OTHER = "Other"


async def test_a_damaged_channel_is_reported_and_affects_no_other(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, channels=f"{CHANNEL},{OTHER}") as scene:
        damaged = ChannelKeys(scene.stack.settings["instance_id"], OTHER)
        here, (front,) = await Client.connect(scene.urls[0], OTHER), scene.stack.fronts
        await here.until(text=await here.say())
        await scene.talk(talkers=2, guests=1)

        for key in (damaged.inbox("light"), damaged.outbox):
            # When a key is replaced by one of a wrong type
            scene.redis.delete(key)
            scene.redis.set(key, "what is this?")

            # Then the senders in that channel are told, also about jobs in flight, and others notice nothing
            for _ in range(3):
                await here.say()
                await here.refusal()
            await until(lambda key=key: key in front.new_log(), "the log to say which key is damaged")
            await scene.flow(10)

            # When it is deleted, the channel recovers
            scene.redis.delete(key)
            await _until_it_goes_on(here)
        await here.leave()

        # When the stream of live positions is damaged, that is reported, too, and stops no message
        rest, key = Rest(scene.urls[0]), scene.keys.live
        await eventually(lambda: _reasons(rest), [])
        scene.redis.set(key, "what is this?")
        words = f"in redis, these keys are damaged, which messages do without: {key}"
        await eventually(lambda: _reasons(rest), [words])
        await until(lambda: f"remove or restore them: {key}" in front.new_log(), "the log to name it")
        await scene.flow(10)
        scene.redis.delete(key)
        await eventually(lambda: _reasons(rest), [])
        rest.close()
        await scene.settle()


async def _until_it_goes_on(client: Client) -> None:
    for number in itertools.count():
        text = f"again {number}"
        await client.say(text)
        await until(lambda text=text: _is_refused(client, text) or text in client.texts(), f"an end of '{text}'")
        if text in client.texts():
            return


def _is_refused(client: Client, text: str) -> bool:
    return any(f"'{text}'" in message.get("reason", "") for message in client.received)


async def _reasons(rest: Rest) -> Any:
    return (await rest.get("/readyz"))["reasons"]


async def test_entries_that_somebody_else_writes_into_streams_harm_nothing(make_scene: MakeScene) -> None:
    async with make_scene(fronts=2) as scene:
        await scene.talk(talkers=2, guests=1)
        await scene.flow(10)
        # When somebody writes into every stream of the channel, and a front starts where that is the newest entry
        streams = [key for key, type in scene.keys.types.items() if type == "stream"]
        for key in (*streams, scene.keys.live):
            scene.redis.xadd(key, {"junk": "x"})
        front = scene.stack.fronts[1]
        await until(lambda: f"skipped: {scene.keys.outbox} " in front.new_log(), "the log to name the stream")
        assert not any(scene.keeper.ends.values())
        front.kill()
        await until(lambda: scene.keeper.ends[front.name], "the front to have been restarted")
        scene.redis.xadd(scene.keys.outbox, {"junk": "x"})
        # Then nothing is lost, and no process ends by it
        await scene.flow(20)
        await scene.settle()
        assert sum(map(len, scene.keeper.ends.values())) == 1
        rest = Rest(scene.urls[0])
        told = Scrape((await rest.fetch("/metrics")).body.decode())
        rest.close()
        assert told.value("gischat_foreign_entries_total", stream="outbox") == 2
