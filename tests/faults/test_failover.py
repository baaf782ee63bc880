"""Failover: the master dies, and a replica is promoted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from redis import RedisCluster

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene
from tests.support.client import Client
from tests.support.processes import HOST
from tests.support.redis_servers import Cluster, Sentinels
from tests.support.rest import Rest, eventually


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with Sentinels(tmp_path) as sentinels:
        yield sentinels


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as cluster:
        yield cluster


OTHERS = ("Field", "Geotribu", "Bots")
CHANNELS = ",".join((CHANNEL, *OTHERS))


@contextlib.asynccontextmanager
async def bystanders(scene: Scene) -> AsyncIterator[Sequence[Client]]:
    """A client in each of the other channels, from before the failover to after it."""
    clients = [await Client.connect(scene.urls[0], channel) for channel in OTHERS]
    yield clients
    for client in clients:
        await client.leave()


async def goes_round(clients: Sequence[Client]) -> None:
    """Every client sends a text, and receives it."""
    for client in clients:
        await client.until(text=await client.say())


async def test_a_sentinel_failover_loses_nothing(make_scene: MakeScene, sentinels: Sentinels) -> None:
    scene = make_scene(redis_url=sentinels.url, client=sentinels.replica.client, channels=CHANNELS)
    async with scene, bystanders(scene) as others:
        await scene.talk()
        await scene.flow(30)
        await goes_round(others)

        # When the master dies, together with the Sentinel that is asked first, and its replica is promoted
        sentinels.master.kill()
        sentinels.kill_first()
        await asyncio.to_thread(sentinels.promote)

        # Then messages are published again in every channel
        await goes_round(others)
        await scene.flow(30)

        # When the old master is back, as a replica, nothing changes
        sentinels.master.start()
        await scene.flow(20)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def test_a_cluster_failover_loses_nothing(make_scene: MakeScene, cluster: Cluster) -> None:
    client = RedisCluster(host=HOST, port=cluster.masters[0].port)
    scene = make_scene(redis_url=cluster.url, client=client, channels=CHANNELS, heavy=1)
    async with scene, bystanders(scene) as others:
        await scene.talk()
        await scene.flow(30)
        await goes_round(others)

        # When the master that has the channel's keys dies, and its replica is promoted
        number = cluster.master_of(scene.keys.outbox)
        cluster.masters[number].kill()
        await asyncio.to_thread(cluster.promote, number)

        # Then messages are published again in every channel, and fronts are ready without the dead master
        await goes_round(others)
        await scene.flow(30)
        for url in scene.urls:
            rest = Rest(url)
            await eventually(lambda rest=rest: _is_ready(rest), True)
            rest.close()

        # When it is back, as a replica, nothing changes
        cluster.masters[number].start()
        await scene.flow(20)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def _is_ready(rest: Rest) -> bool:
    return (await rest.fetch("/readyz")).code == 200
