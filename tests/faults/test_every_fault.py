"""Each fault once, one after the other, under traffic: no message is lost, duplicated or reordered without notice.

`tests/simulation` explores the orders of events; here the processes, Redis and the network are real.
"""

import signal
from collections.abc import Awaitable, Callable

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.processes import Process
from tests.support.proxy import Proxy, everyone
from tests.support.redis_servers import Server


async def test_faults_of_processes(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client, light=2, heavy=1) as scene:
        ends = scene.keeper.ends
        (_, front), (frozen, stopped), (heavy,) = scene.stack.fronts, scene.stack.light, scene.stack.heavy
        await scene.talk(large_photos=0.1)
        await scene.flow()

        # When the only heavy worker is killed
        await _killed(scene, heavy)
        await scene.flow()

        # When a light worker freezes with a job, then the other one claims it
        await scene.freeze_with_job(frozen, "light")
        await until(lambda: not scene.held_by(frozen, "light"), "its jobs to be claimed")
        await until(lambda: "took over" in stopped.new_log(), "the other to say so")
        frozen.wake()
        await scene.flow()

        # When a worker and a front are stopped, then they end in order, and the front's clients are told
        for process in (stopped, front):
            process.terminate()
            await until(lambda process=process: ends[process.name], "it to end")
            assert ends[process.name] == [0]
            await scene.flow()
        assert [peer.closings for peer in scene.peers] == [[], [1001], [], [1001], [], [1001]]

        # When clients move to another front
        for guest in scene.guests:
            guest.move()
        await scene.flow()

        # When a front is killed
        await _killed(scene, front)
        await scene.flow()

        # When a front freezes until it is reaped
        leases = f"{scene.keys.outbox.removesuffix(':outbox')}:fronts"
        await until(lambda: scene.redis.zcard(leases) == 2, "both to be alive")
        front.freeze()
        await until(lambda: scene.redis.zcard(leases) == 1, "the front to be reaped")
        front.wake()
        await scene.flow()

        # When everything is killed at once, as by a power failure
        scene.keeper.leaves_alone.update(scene.stack.processes)
        for process in (*scene.stack.processes, server):
            process.kill()
        server.start()
        scene.keeper.leaves_alone.clear()
        await scene.healthy()
        await scene.flow()

        # Then the ledger balances, and there are no ghosts
        await scene.settle()


async def _killed(scene: Scene, process: Process) -> None:
    ends = scene.keeper.ends[process.name]
    before = len(ends)
    process.kill()
    await until(lambda: len(ends) > before and process.running, "it to be started again")
    assert ends[-1] == -signal.SIGKILL


async def test_faults_of_redis_and_its_network(make_scene: MakeScene, server: Server) -> None:
    """Messages that only some fronts had received are replayed, state is restored, and no client is disconnected."""
    async with (
        Proxy(server.port) as proxy,
        make_scene(redis_url=proxy.url, client=server.client, heavy=1) as scene,
    ):
        # Given a Redis whose clock is an hour ahead, as before another machine replaces it
        newest = int(server.client.xinfo_stream(scene.keys.outbox)["last-generated-id"].partition(b"-")[0])
        server.client.execute_command("XSETID", scene.keys.outbox, f"{newest + 3_600_000}-0")
        await scene.talk()
        for fault in FAULTS:
            await scene.flow()
            for process in scene.stack.processes:
                process.mark_log()
            await fault(scene, server, proxy)
            await scene.recover()
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def _flushed(scene: Scene, server: Server, proxy: Proxy) -> None:
    server.client.flushall()


async def _away_for_long(scene: Scene, server: Server, proxy: Proxy) -> None:
    """A client without a job in flight is told that its messages were not sent, which is true."""
    jane = await Client.connect(scene.urls[0], CHANNEL)
    await jane.count(len(scene.peers) + 1)
    server.kill()
    await scene.fronts_say("gischat-front is lost")
    said = [await jane.say(text) for text in ("first", "second", "third")]
    told = [await jane.refusal() for _ in said]
    assert all(text in reason for text, reason in zip(said, told, strict=True))
    server.start()
    await scene.healthy()
    await jane.until(text=await jane.say())
    assert not set(said) & set(jane.texts())
    await jane.leave()


async def _loses_its_last_second(scene: Scene, server: Server, proxy: Proxy) -> None:
    """As `appendfsync everysec` may when the machine dies."""
    written = server.written()
    await scene.flow()
    server.kill()
    server.lose_after(written)
    server.start()


async def _comes_back_empty(scene: Scene, server: Server, proxy: Proxy) -> None:
    server.kill()
    server.forget()
    server.start()


async def _freezes(scene: Scene, server: Server, proxy: Proxy) -> None:
    """For longer than the timeout of an answer."""
    server.freeze()
    await scene.fronts_say("no answer for")
    server.wake()


async def _cut(scene: Scene, server: Server, proxy: Proxy) -> None:
    for _ in range(3):
        proxy.cut(lambda link: scene.dice.random() < 0.5)
        await scene.flow(5)
    proxy.cut()


async def _answers_swallowed(scene: Scene, server: Server, proxy: Proxy) -> None:
    """Commands are executed, but not answered or answered late."""
    proxy.swallow(to_client=everyone)
    await scene.fronts_say("no answer for")
    proxy.cut(lambda link: scene.dice.random() < 0.5)
    proxy.heal()


FAULTS: list[Callable[[Scene, Server, Proxy], Awaitable[None]]] = [
    _flushed,
    _away_for_long,
    _loses_its_last_second,
    _comes_back_empty,
    _freezes,
    _cut,
    _answers_swallowed,
]


async def test_accepted_messages_are_published_although_their_senders_have_gone(
    make_scene: MakeScene, server: Server
) -> None:
    # Given accepted messages, and no worker for them
    async with make_scene(redis_url=server.url, client=server.client, fronts=1) as scene:
        await scene.talk(talkers=8, guests=2)
        await scene.flow()
        scene.keeper.leaves_alone.update(scene.stack.processes)
        for worker in scene.stack.workers:
            worker.kill()
        await until(lambda: server.client.xlen(scene.inbox("light")) >= 4, "messages to wait")
        taken = set(scene.ids_waiting("light"))

        # When everything is killed, and only workers start again
        for process in (*scene.stack.fronts, server):
            process.kill()
        server.start()
        scene.keeper.leaves_alone.difference_update(scene.stack.workers)

        # Then they are published
        await until(lambda: taken <= scene.ids_published(), "what was taken to come out")

        # And the dead fronts are reaped
        await until(lambda: not server.client.hlen(scene.keys.users), "nicknames to be free")
        scene.keeper.leaves_alone.clear()
        await scene.flow()
        await scene.settle()
