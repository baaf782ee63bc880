"""Redis dies, restarts with or without its data, is flushed, frozen or cut off: no message is lost without notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis
from redis.exceptions import ResponseError

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.proxy import Proxy, everyone
from tests.support.redis_servers import Server
from tests.support.rest import Rest


async def test_redis_is_killed_and_comes_back_with_its_data(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client, heavy=1) as scene:
        await scene.talk()
        await scene.flow(30)

        # When it is killed, and restarts after all processes have noticed
        server.kill()
        await scene.fronts_say("gischat-front is lost")
        server.start()

        # Then messages are published again
        await scene.flow(30)

        # And no message is lost, and no client was disconnected
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def test_redis_is_away_for_long(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client) as scene:
        await scene.talk()
        await scene.flow(30)

        # When it is away for longer than messages may wait, and a client without a job in flight sends one
        jane = await Client.connect(scene.urls[0], CHANNEL)
        await jane.count(len(scene.peers) + 1)
        server.kill()
        await scene.fronts_say("gischat-front is lost")
        said = [await jane.say(text) for text in ("first", "second", "third")]
        told = [await jane.refusal() for _ in said]
        server.start()

        # Then the client is told that it was not sent, which is true
        assert all(text in reason for text, reason in zip(said, told, strict=True))
        await scene.healthy()
        await jane.until(text=await jane.say())
        assert not set(said) & set(jane.texts())
        await jane.leave()
        await scene.flow(30)
        await scene.settle()


async def test_redis_is_flushed(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client) as scene:
        await scene.talk()

        # When it is flushed under traffic, at any moment
        for _ in range(3):
            await scene.flow(scene.dice.randint(5, 15))
            server.client.flushall()
            await scene.flow(1)

        # Then messages that only some fronts had received are replayed, and all state is restored
        await scene.flow(30)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def test_redis_is_flushed_and_its_clock_goes_back(make_scene: MakeScene, server: Server) -> None:
    """As when another machine replaces Redis: entry ids contain the time."""
    async with make_scene(redis_url=server.url, client=server.client) as scene:
        # Given a Redis whose clock is an hour ahead
        hour = 3_600_000
        newest = int(server.client.xinfo_stream(scene.keys.outbox)["last-generated-id"].partition(b"-")[0])
        server.client.execute_command("XSETID", scene.keys.outbox, f"{newest + hour}-0")
        await scene.talk()
        await scene.flow(30)

        # When it loses its data, and continues with the right time
        server.client.flushall()

        # Then messages are published again, and none is lost or duplicated
        await scene.flow(30)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def test_registered_clients_can_write_although_redis_has_lost_their_nicknames(
    make_scene: MakeScene, server: Server
) -> None:
    """With REQUIRE_REGISTRATION."""
    async with make_scene(redis_url=server.url, client=server.client, require_registration=True) as scene:
        jane, john = [await Client.connect(url, CHANNEL) for url in scene.urls]
        await jane.register("jane")

        # When Redis is flushed while a registered client sends messages
        said = []
        for _ in range(4):
            said += [await jane.say(author="jane") for _ in range(10)]
            server.client.flushall()
            said += [await jane.say(author="jane") for _ in range(10)]
            await john.until(text=said[-1])

        # Then none is refused, and nobody else can register the nickname (a client that has just joined gets a gap)
        reasons = [message["reason"] for message in jane.received if message["type"] == "uncompliant"]
        assert [reason for reason in reasons if "may be missing" not in reason] == []
        assert john.texts() == said
        await john.send(type="newcomer", newcomer="jane")
        while "may be missing" in (reason := await john.refusal()):
            pass
        assert "already registered" in reason
        await john.say(author="jane")
        assert "Register your nickname first" in await john.refusal()
        await jane.leave()
        await john.leave()


async def test_redis_loses_its_last_second(make_scene: MakeScene, server: Server) -> None:
    """As `appendfsync everysec` may when the machine dies. Messages that everyone had received are not delivered again,
    and messages in flight are published."""
    async with make_scene(redis_url=server.url, client=server.client) as scene:
        await scene.talk()
        for _ in range(2):
            await scene.flow(30)
            written = server.written()
            await scene.flow(20)
            server.kill()
            server.lose_after(written)
            server.start()
            await scene.flow(20)
        await scene.settle()


async def test_redis_freezes(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client) as scene:
        await scene.talk()
        await scene.flow(30)

        # When it freezes for longer than the timeout of an answer
        server.freeze()
        await scene.fronts_say("no answer for")
        server.wake()

        # Then messages are published again
        await scene.flow(30)
        await scene.settle()


@asynccontextmanager
async def _behind_proxy(make_scene: MakeScene, server: Server) -> AsyncIterator[tuple[Proxy, Scene]]:
    async with (
        Proxy(server.port) as proxy,
        make_scene(redis_url=proxy.url, client=server.client) as scene,
    ):
        await scene.talk()
        await scene.flow(30)
        yield proxy, scene
        await scene.flow(30)
        await scene.settle()
        assert all(peer.sessions == 1 for peer in scene.peers)


async def test_the_network_cuts_connections(make_scene: MakeScene, server: Server) -> None:
    async with _behind_proxy(make_scene, server) as (proxy, scene):
        for _ in range(4):
            proxy.cut(lambda link: scene.dice.random() < 0.5)
            await scene.flow(10)
        proxy.cut()
        await scene.flow(1)


async def test_the_network_swallows_answers(make_scene: MakeScene, server: Server) -> None:
    """Commands are executed, but not answered or answered late."""
    async with _behind_proxy(make_scene, server) as (proxy, scene):
        proxy.swallow(to_client=everyone)
        await scene.fronts_say("no answer for")
        proxy.cut(lambda link: scene.dice.random() < 0.5)
        proxy.heal()
        await scene.flow(10)


async def test_a_busy_redis_is_reported_to_senders_and_rarely_logged(make_scene: MakeScene, server: Server) -> None:
    server.client.config_set("busy-reply-threshold", 50)
    async with make_scene(fronts=1, redis_url=server.url, client=server.client) as scene:
        client, rest = await Client.connect(scene.urls[0], CHANNEL), Rest(scene.urls[0])
        await client.count(1)
        # When Redis answers BUSY to everything
        other = redis.from_url(server.url)
        busy = asyncio.create_task(asyncio.to_thread(other.eval, "while true do end", 0))
        await until(lambda: _is_busy(server), "the script to run")
        # Then each message is refused with a reason, and so are HTTP requests
        for _ in range(20):
            await client.say()
            assert "again later" in (await client.until(type="uncompliant"))["reason"]
        assert (await rest.fetch(f"/channel/{CHANNEL}/last")).code == 503
        server.client.script_kill()
        await asyncio.gather(busy, return_exceptions=True)
        # Afterwards everything works as before, and the log has one line for each connection
        words = await client.say()
        await client.until(type="text", text=words)
        await client.leave()
        for process in scene.stack.processes:
            lines = [line for line in process.new_log().splitlines() if "BUSY" in line]
            assert len(lines) <= 5, lines
        scene.stack.assert_quiet_logs()


def _is_busy(server: Server) -> bool:
    try:
        server.client.ping()
    except ResponseError as error:
        return str(error).startswith("BUSY")
    return False
