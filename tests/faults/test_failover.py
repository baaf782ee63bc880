"""Redis of several servers: the master dies, another takes its place."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import RedisCluster

from tests.faults.conftest import MakeScene
from tests.faults.scene import patience, until
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


async def test_a_sentinel_failover_loses_nothing(make_scene: MakeScene, sentinels: Sentinels) -> None:
    async with make_scene(redis_url=sentinels.url, client=sentinels.replica.client) as scene:
        await scene.talk()
        await scene.flow(30)

        # When the master dies, with the Sentinel that is asked first, and its replica is promoted
        sentinels.master.kill()
        sentinels.kill_first()
        await until(sentinels.is_promoted, "the replica to be promoted")

        # Then messages go round again, within what a front and a worker need to ask the Sentinels
        assert await scene.flow(1) < patience(5)
        await scene.flow(30)

        # And when the old master is back, as a replica, nothing changes
        sentinels.master.start()
        await scene.flow(20)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def test_a_cluster_failover_loses_nothing(make_scene: MakeScene, cluster: Cluster) -> None:
    client = RedisCluster(host=HOST, port=cluster.masters[0].port)
    async with make_scene(redis_url=cluster.url, client=client, channels="QGIS,Field,Geotribu,Bots") as scene:
        await scene.talk()
        await scene.flow(30)

        # When the master that has the channel's keys dies, and its replica is promoted
        number = cluster.master_of(scene.keys.outbox)
        cluster.masters[number].kill()
        await until(lambda: cluster.is_promoted(number), "the replica to be promoted")

        # Then messages go round again, and fronts are ready without the dead one
        assert await scene.flow(1) < patience(5)
        await scene.flow(30)
        for url in scene.urls:
            rest = Rest(url)
            await eventually(lambda rest=rest: _is_ready(rest), True)
            rest.close()

        # And when it is back, as a replica, nothing changes
        cluster.masters[number].start()
        await scene.flow(20)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def _is_ready(rest: Rest) -> bool:
    return (await rest.fetch("/readyz")).code == 200
