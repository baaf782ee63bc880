"""Failover: the master dies, and a replica is promoted."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis import RedisCluster

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL
from tests.support.client import Client
from tests.support.processes import HOST
from tests.support.redis_servers import Cluster, Sentinels, Server
from tests.support.rest import Rest, eventually

OTHERS = ("Field", "Geotribu", "Bots")


async def nothing_is_lost_by(
    fail_over: Callable[[str], Awaitable[Server]], make_scene: MakeScene, **options: Any
) -> None:
    """Fail over from the master that has a key, and back it comes, while people write in several channels."""
    scene = make_scene(channels=",".join((CHANNEL, *OTHERS)), **options)
    async with scene:
        others = [await Client.connect(scene.urls[0], channel) for channel in OTHERS]

        async def all_channels_work() -> None:
            for client in others:
                await client.until(text=await client.say())
            await scene.flow(30)

        await scene.talk()
        await all_channels_work()

        # When a master dies, and its replica is promoted, then messages are published again in every channel
        master = await fail_over(scene.keys.outbox)
        await all_channels_work()

        # And fronts are ready without the dead master
        for url in scene.urls:
            with contextlib.closing(Rest(url)) as rest:
                await eventually(lambda rest=rest: _is_ready(rest), True)

        # When it is back, as a replica, nothing changes
        master.start()
        await scene.flow()
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)
        for client in others:
            await client.leave()


async def _is_ready(rest: Rest) -> bool:
    return (await rest.fetch("/readyz")).code == 200


async def test_a_sentinel_failover_loses_nothing(make_scene: MakeScene, tmp_path: Path) -> None:
    with Sentinels(tmp_path) as sentinels:

        async def fail_over(_: str) -> Server:
            """The master dies together with the Sentinel that is asked first."""
            sentinels.master.kill()
            sentinels.kill_first()
            await asyncio.to_thread(sentinels.promote)
            return sentinels.master

        await nothing_is_lost_by(fail_over, make_scene, redis_url=sentinels.url, client=sentinels.replica.client)


async def test_a_cluster_failover_loses_nothing(make_scene: MakeScene, tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:

        async def fail_over(key: str) -> Server:
            number = cluster.master_of(key)
            cluster.masters[number].kill()
            await asyncio.to_thread(cluster.promote, number)
            return cluster.masters[number]

        client = RedisCluster(host=HOST, port=cluster.masters[0].port)
        await nothing_is_lost_by(fail_over, make_scene, redis_url=cluster.url, client=client, heavy=1)
