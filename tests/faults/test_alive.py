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


async def test_a_front_without_publications_reports_it_reconnects_and_then_ends(
    make_scene: MakeScene, valkey: Valkey
) -> None:
    # Given a healthy front that waits for some time before it ends
    timings = {"heartbeat": 0.5, "heartbeat_lost": 2.0, "subscriber_stalled": 10.0}
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, fronts=1, timings=timings) as scene,
    ):
        front = scene.stack.fronts[0]
        rest = Rest(front.url)
        await _answers(rest, 200)

        # When publications do not reach it any more
        proxy.swallow(to_client=named("gischat-subscriber"))

        # Then it reports that while it is alive
        said = await _answers(rest, 503)
        assert said["reasons"] == ["messages are not delivered: is a light worker running?"]
        status = await rest.get("/status")
        assert (status["status"], status["healthy"]) == ("degraded", False)
        assert (await rest.fetch("/livez")).code == 200

        # It reconnects, and then ends, so that a supervisor replaces it
        await until(lambda: "although redis answers: reconnecting" in front.new_log(), "it to reconnect")
        await until(lambda: scene.keeper.ends[front.name], "it to end")
        assert scene.keeper.ends[front.name] == [1]

        # The next process receives publications
        proxy.heal()
        await scene.healthy()
        rest.close()


async def test_a_front_that_receives_publications_after_reconnecting_continues(
    make_scene: MakeScene, valkey: Valkey
) -> None:
    # Given fronts that wait for some time after a reconnection
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, timings={"subscriber_stalled": 12.0}) as scene,
    ):
        await scene.talk()
        await scene.flow(20)

        # When the fronts' connections are dead until they reconnect
        proxy.swallow(to_client=named("gischat-subscriber"))
        for front in scene.stack.fronts:
            await until(lambda front=front: "reconnecting" in front.new_log(), "it to reconnect")
        proxy.heal()

        # Then no client has missed anything
        await scene.flow(20)
        await scene.settle()
        assert not any(scene.keeper.ends.values())


async def test_a_layer_arrives_although_histories_do_not(make_scene: MakeScene, valkey: Valkey) -> None:
    """Its body is in chunks, which the front fetches: histories that many people ask for must not hold it up."""
    async with Proxy(valkey.port) as proxy, make_scene(redis_url=proxy.url, fronts=1, heavy=1) as scene:
        client = await Client.connect(scene.stack.fronts[0].url, CHANNEL)
        await client.until(type="text", text=await client.say())
        proxy.swallow(to_client=named("gischat-histories"))
        await client.send(**sample("geojson", geojson=large_layer()))
        await client.until(type="geojson")
        assert not any(scene.keeper.ends.values())
        proxy.heal()
        await client.leave()


async def test_a_worker_that_receives_no_jobs_ends(make_scene: MakeScene, valkey: Valkey) -> None:
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, fronts=1, timings={"consumer_stalled": 10.0}) as scene,
    ):
        await scene.talk(talkers=1, guests=0)
        await scene.flow(5)
        worker = scene.stack.light[0]

        # When jobs do not reach the only light worker any more
        proxy.swallow(to_client=named("gischat-reader-light"))

        # Then it ends, so that a supervisor replaces it, and the next process continues where it was
        await until(lambda: scene.keeper.ends[worker.name], "it to end")
        assert scene.keeper.ends[worker.name] == [1]
        proxy.heal()
        await scene.flow(5)
        await scene.settle()


async def _answers(rest: Rest, code: int) -> Any:
    """Wait until `/readyz` answers with that status; returns its content."""
    async with asyncio.timeout(DEADLINE):
        while (answer := await rest.fetch("/readyz")).code != code:
            await asyncio.sleep(LOOK)
    return json.loads(answer.body)
