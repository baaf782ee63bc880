"""What only senders notice while Redis fails: refusals, with REQUIRE_REGISTRATION too, an inbox that is full."""

import asyncio

import redis
from redis.exceptions import ResponseError

from gischat.front.limits.admission import SERVER_FULL
from gischat.protocol.messages import Lane
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, until
from tests.support.client import Client
from tests.support.redis_servers import Server
from tests.support.rest import Rest


async def test_registered_clients_can_write_although_redis_has_lost_their_nicknames(
    make_scene: MakeScene, server: Server
) -> None:
    """With REQUIRE_REGISTRATION."""
    async with make_scene(redis_url=server.url, client=server.client, require_registration=True) as scene:
        jane, john = [await Client.connect(url, CHANNEL) for url in scene.urls]
        await jane.register("jane")

        # When Redis is flushed while a registered client sends messages
        said = []
        for _ in range(2):
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
        rest.close()
        server.client.script_kill()
        await asyncio.gather(busy, return_exceptions=True)
        # Afterwards everything works as before, and the log has one line for each connection
        await client.until(type="text", text=await client.say())
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


async def test_without_workers_messages_wait_up_to_the_bound_and_then_are_refused(make_scene: MakeScene) -> None:
    async with make_scene(fronts=1, max_inbox_messages=10) as scene:
        clients = [await Client.connect(scene.urls[0], CHANNEL) for _ in range(20)]
        (worker,) = scene.stack.workers
        scene.keeper.leaves_alone.add(worker)
        worker.kill()

        # When more messages are sent than fit, each by another client
        for client in clients:
            await client.say()

        # Then the inbox is full, and the others are refused with a reason
        def refusals() -> list[str]:
            return [m["reason"] for client in clients for m in client.received if m["type"] == "uncompliant"]

        await until(lambda: len(refusals()) >= 5, "messages to be refused")
        assert scene.redis.xlen(scene.keys.inbox(Lane.LIGHT)) == 10
        assert all(reason.startswith(f"{SERVER_FULL[0]} Your text: ") for reason in refusals())

        # And the accepted ones are published when a worker starts
        scene.keeper.leaves_alone.clear()
        await until(lambda: len(clients[0].texts()) + len(refusals()) == len(clients), "every message to end")
        await asyncio.gather(*(client.leave() for client in clients))
