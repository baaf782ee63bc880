"""Alive means hearing: a process that runs and hears nothing is noticed, says so, and ends."""

import asyncio
import json
from typing import Any

from tests.faults.conftest import MakeScene
from tests.faults.scene import until
from tests.support.processes import Valkey
from tests.support.proxy import Proxy, named
from tests.support.rest import Rest
from tests.support.waiting import DEADLINE, LOOK


async def test_a_deaf_front_says_so_reconnects_and_ends_in_the_end(make_scene: MakeScene, valkey: Valkey) -> None:
    # Given a front that is well, and which waits for some time before it ends
    timings = {"heartbeat": 0.5, "heartbeat_lost": 2.0, "subscriber_stalled": 10.0}
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, fronts=1, timings=timings) as scene,
    ):
        front = scene.stack.fronts[0]
        rest = Rest(front.url)
        await _answers(rest, 200)

        # When what is published does not get to it any more
        proxy.swallow(to_client=named("gischat-subscriber"))

        # Then it says so, while it is alive
        said = await _answers(rest, 503)
        assert said["reasons"] == ["messages do not go round: is a light worker running?"]
        status = await rest.get("/status")
        assert (status["status"], status["healthy"]) == ("degraded", False)
        assert (await rest.fetch("/livez")).code == 200

        # And it tries a new connection, then ends, so that a supervisor replaces it
        await until(lambda: "although redis answers: reconnecting" in front.new_log(), "it to reconnect")
        await until(lambda: scene.keeper.ends[front.name], "it to end")
        assert scene.keeper.ends[front.name] == [1]

        # And the next hears
        proxy.heal()
        await scene.healthy()
        rest.close()


async def test_a_front_that_hears_again_over_a_new_connection_goes_on(make_scene: MakeScene, valkey: Valkey) -> None:
    # Given fronts that give a new connection some time
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, timings={"subscriber_stalled": 12.0}) as scene,
    ):
        await scene.talk()
        await scene.flow(20)

        # When the fronts' connections are dead until they make new ones
        proxy.swallow(to_client=named("gischat-subscriber"))
        for front in scene.stack.fronts:
            await until(lambda front=front: "reconnecting" in front.new_log(), "it to reconnect")
        proxy.heal()

        # Then nobody has missed anything
        await scene.flow(20)
        await scene.settle()
        assert not any(scene.keeper.ends.values())


async def test_a_deaf_worker_ends(make_scene: MakeScene, valkey: Valkey) -> None:
    async with (
        Proxy(valkey.port) as proxy,
        make_scene(redis_url=proxy.url, fronts=1, timings={"consumer_stalled": 10.0}) as scene,
    ):
        await scene.talk(talkers=1, guests=0)
        await scene.flow(5)
        worker = scene.stack.light[0]

        # When no jobs get to the only light worker any more
        proxy.swallow(to_client=named("gischat-reader-light"))

        # Then it ends, so that a supervisor replaces it, and the next goes on where it was
        await until(lambda: scene.keeper.ends[worker.name], "it to end")
        assert scene.keeper.ends[worker.name] == [1]
        proxy.heal()
        await scene.flow(5)
        await scene.settle()


async def _answers(rest: Rest, code: int) -> Any:
    """Waits until `/readyz` answers so; returns what it says."""
    async with asyncio.timeout(DEADLINE):
        while (answer := await rest.fetch("/readyz")).code != code:
            await asyncio.sleep(LOOK)
    return json.loads(answer.body)
