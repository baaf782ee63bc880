"""Keys of a channel are deleted, or replaced by a wrong type: no message is lost without notice, and nothing hangs."""

import itertools
from typing import Any

import pytest

from gischat.broker.keys import ChannelKeys
from gischat.protocol.messages import Lane
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, until
from tests.support.client import Client
from tests.support.rest import Rest, eventually
from tests.support.scrape import Scrape

OTHER = "Other"


async def test_any_key_may_be_deleted(make_scene: MakeScene) -> None:
    async with make_scene(heavy=1) as scene:
        await scene.talk(photos=0.2)
        await scene.flow(20)
        for key in scene.keys.types:
            # When one key after the other is deleted, each after the recovery from the previous one
            scene.redis.delete(key)
            await scene.recover()
        # Then all messages are published once or refused, and counts and nicknames are right
        await scene.settle(may_have_gaps=True)


async def test_messages_of_a_deleted_inbox_are_published(make_scene: MakeScene) -> None:
    # Given messages in an inbox whose worker is frozen
    lane = Lane.LIGHT
    async with make_scene(fronts=1) as scene:
        await scene.talk(talkers=3, guests=1)
        await scene.flow(10)
        (worker,) = scene.stack.light
        await scene.freeze_with_job(worker, lane)
        await until(lambda: len(scene.ids_waiting(lane)) >= 3, "messages of all to wait")
        # When the inbox is deleted
        scene.redis.delete(scene.keys.inbox(lane))
        worker.wake()
        # Then they and the following ones are published
        await scene.flow(20)
        balance = await scene.settle()
        assert balance.refused == 0


@pytest.mark.parametrize("name", ["inbox:light", "outbox"])
async def test_a_damaged_channel_is_reported_and_affects_no_other(make_scene: MakeScene, name: str) -> None:
    async with make_scene(fronts=1, channels=f"{CHANNEL},{OTHER}") as scene:
        damaged = ChannelKeys(scene.stack.settings["instance_id"], OTHER)
        (key,) = (key for key in damaged.types if key.endswith("}:" + name))
        here = await Client.connect(scene.urls[0], OTHER)
        await here.until(text=await here.say())
        await scene.talk(talkers=2, guests=1)

        # When a key is replaced by one of a wrong type
        scene.redis.delete(key)
        scene.redis.set(key, "what is this?")

        # Then the senders in that channel are told, also about jobs in flight
        for _ in range(3):
            await here.say()
            await here.refusal()
        front = scene.stack.fronts[0]
        await until(lambda: key in front.new_log(), "the log to say which key is damaged")
        # And others notice nothing
        await scene.flow(20)

        # When it is deleted, the channel recovers
        scene.redis.delete(key)
        await _until_it_goes_on(here)
        await scene.settle()
        await here.leave()


async def _until_it_goes_on(client: Client) -> None:
    for number in itertools.count():
        text = f"again {number}"
        await client.say(text)
        await until(lambda text=text: _is_refused(client, text) or text in client.texts(), f"an end of '{text}'")
        if text in client.texts():
            return


def _is_refused(client: Client, text: str) -> bool:
    return any(f"'{text}'" in message.get("reason", "") for message in client.received)


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
        assert scene.keeper.ends == {process.name: [] for process in scene.stack.processes}
        front.kill()
        await until(lambda: scene.keeper.ends[front.name], "the front to have been restarted")
        scene.redis.xadd(scene.keys.outbox, {"junk": "x"})
        await scene.healthy(1)
        # Then nothing is lost, and no process ends by it
        await scene.flow(20)
        await scene.settle()
        assert sum(map(len, scene.keeper.ends.values())) == 1
        rest = Rest(scene.urls[0])
        told = Scrape((await rest.fetch("/metrics")).body.decode())
        rest.close()
        assert told.value("gischat_foreign_entries_total", stream="outbox") == 2


async def test_a_damaged_stream_of_live_positions_is_reported_and_stops_no_message(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1) as scene:
        await scene.talk(talkers=1, guests=0)
        rest, key = Rest(scene.urls[0]), scene.keys.live
        assert (await rest.get("/readyz"))["reasons"] == []
        scene.redis.set(key, "what is this?")
        words = f"in redis, these keys are damaged, which messages do without: {key}"
        await eventually(lambda: _reasons(rest), [words])
        await until(lambda: f"remove or restore them: {key}" in scene.stack.fronts[0].new_log(), "the log to name it")
        await scene.flow(10)
        scene.redis.delete(key)
        await eventually(lambda: _reasons(rest), [])
        rest.close()
        await scene.settle()


async def _reasons(rest: Rest) -> Any:
    return (await rest.get("/readyz"))["reasons"]
