"""Health probe: a process that runs but receives nothing is detected, reports that, and ends."""

import asyncio
import json
from typing import Any

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.layers import large_layer
from tests.support.processes import Valkey
from tests.support.proxy import Proxy, named
from tests.support.rest import Rest
from tests.support.waiting import DEADLINE, LOOK


async def test_a_front_without_publications_reconnects_and_then_ends(make_scene: MakeScene, valkey: Valkey) -> None:
    # Given a front that waits for some time before it ends
    timings = {"heartbeat": 0.5, "heartbeat_lost": 2.0, "subscriber_stalled": 10.0}
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, fronts=1, timings=timings) as scene,
    ):
        (front,) = scene.stack.fronts
        rest = Rest(front.url)
        await scene.talk()
        await scene.flow()

        # When publications do not reach it until it reconnects, then no client has missed anything
        proxy.swallow(to_client=named("gischat-subscriber"))
        await scene.fronts_say("although redis answers: reconnecting")
        proxy.heal()
        await scene.flow()
        await scene.settle()
        assert not scene.keeper.ends[front.name]

        # When they do not reach it any more, then it reports that while it is alive
        proxy.swallow(to_client=named("gischat-subscriber"))
        said = await _answers(rest, 503)
        assert said["reasons"] == ["messages are not delivered: is a light worker running?"]
        status = await rest.get("/status")
        assert (status["status"], status["healthy"]) == ("degraded", False)
        assert (await rest.fetch("/livez")).code == 200

        # And it ends, so that a supervisor replaces it; the next process receives publications
        await until(lambda: scene.keeper.ends[front.name], "it to end")
        assert scene.keeper.ends[front.name] == [1]
        proxy.heal()
        await scene.healthy()
        rest.close()


async def test_a_worker_that_receives_no_jobs_ends(make_scene: MakeScene, valkey: Valkey) -> None:
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, fronts=1, heavy=1, timings={"consumer_stalled": 10.0}) as scene,
    ):
        client = await Client.connect(scene.stack.fronts[0].url, CHANNEL)
        await client.until(text=await client.say())

        # When histories do not reach the front, a layer still does, although the front fetches its chunks
        proxy.swallow(to_client=named("gischat-histories"))
        await client.send(**sample("geojson", geojson=large_layer()))
        await client.until(type="geojson")
        assert not any(scene.keeper.ends.values())

        # When jobs do not reach the only light worker any more
        worker = scene.stack.light[0]
        proxy.swallow(to_client=named("gischat-reader-light"))

        # Then it ends, so that a supervisor replaces it, and the next process continues where it was
        text = await client.say()
        await until(lambda: scene.keeper.ends[worker.name], "it to end")
        assert scene.keeper.ends[worker.name] == [1]
        proxy.heal()
        await client.until(text=text)
        await client.leave()


async def _answers(rest: Rest, code: int) -> Any:
    """Wait until `/readyz` answers with that status; returns its content."""
    async with asyncio.timeout(DEADLINE):
        while (answer := await rest.fetch("/readyz")).code != code:
            await asyncio.sleep(LOOK)
    return json.loads(answer.body)
