"""The connections to a cluster: the choice of nodes, and calls that a node does not answer.

Against nodes of a few lines that say what nodes say; failovers of a real cluster are in tests/faults.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gischat.broker.discovery import connect
from gischat.errors import Unavailable
from gischat.redis_url import Node
from gischat.timings import Timings
from tests.support.processes import HOST
from tests.support.scripted_redis import CLOSE, HANDSHAKE, Reply, ScriptedServer, is_handshake
from tests.support.waiting import DEADLINE, until

DOWN = b"-CLUSTERDOWN The cluster is down\r\n"

# Connections are retried much sooner than in production, and calls wait for them without limit …
HASTY = Timings(redis_retry=0.01, redis_command_timeout=DEADLINE)
# … or fail soon.
IMPATIENT = Timings(redis_retry=0.01, redis_command_timeout=0.2)

pytestmark = pytest.mark.usefixtures("io_loop")


class ScriptedNode:
    """A node that claims all slots, unless the test changes that, and answers calls as the test decides."""

    def __init__(self, answer: Callable[[], Reply] = lambda: b"+OK\r\n") -> None:
        self.answer = answer
        self.master: ScriptedNode = self
        self.says_where = True
        self.is_away = False
        self.port = 0
        self.server = ScriptedServer(self._replies)

    def _replies(self, _: int, command: list[bytes]) -> Reply | str:
        if self.is_away:
            return CLOSE
        if is_handshake(command):
            return HANDSHAKE
        if command[0] != b"CLUSTER":
            return self.answer()
        host = b"$%d\r\n%b" % (len(HOST), HOST.encode()) if self.says_where else b"$-1"
        return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n%b\r\n:%d\r\n" % (host, self.master.port)


@asynccontextmanager
async def cluster(*nodes: ScriptedNode, timings: Timings = HASTY) -> AsyncIterator[Any]:
    """A process's connections to a cluster of these nodes."""
    async with AsyncExitStack() as stack:
        for node in nodes:
            url = await stack.enter_async_context(node.server.serving())
            node.port = int(url.rpartition(":")[2].removesuffix("/0"))
        seeds = ",".join(f"{HOST}:{node.port}" for node in nodes)
        yield await stack.enter_async_context(connect(f"redis+cluster://{seeds}", name="test-cluster", timings=timings))


async def ask(redis: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await redis.call("GET", "key", key="key")


async def test_a_call_that_no_node_accepts_fails_within_a_time_limit() -> None:
    """A cluster without a master and its replicas accepts no calls: callers must get an error."""
    async with cluster(ScriptedNode(lambda: DOWN), timings=IMPATIENT) as redis:
        with pytest.raises(Unavailable):
            await ask(redis)


async def test_a_call_that_may_have_been_executed_is_not_reported_as_failed() -> None:
    # Given a node that exits during a call, and then accepts none
    node = ScriptedNode(lambda: CLOSE)
    async with cluster(node, timings=IMPATIENT) as redis:
        call = asyncio.ensure_future(ask(redis))

        async def asked() -> None:
            before = len(node.server.commands)
            await until(lambda: any(command[0] == b"GET" for _, command in node.server.commands[before:]))

        await asked()
        node.answer = lambda: DOWN
        await asked()
        # When that lasts for longer than other calls wait
        with pytest.raises(Unavailable):
            await ask(redis)
        # Then the error does not claim that the call was not executed
        node.answer = lambda: b"+OK\r\n"
        assert await call == b"OK"


async def test_a_node_cut_off_from_the_others_does_not_decide_alone() -> None:
    # Given a former master that still claims the slots, and the real one, which does not know its own address
    cut_off, master = ScriptedNode(lambda: DOWN), ScriptedNode()
    master.says_where = False
    async with cluster(cut_off, master) as redis:
        assert await ask(redis) == b"OK"


async def test_a_former_master_is_no_longer_connected_to() -> None:
    # Given a master that dies
    old, new = ScriptedNode(), ScriptedNode()
    new.master = old
    async with cluster(old, new) as redis:
        assert await ask(redis) == b"OK"
        old.is_away, new.master = True, new
        redis.disconnect()
        # When another node has its slots
        assert await ask(redis) == b"OK"
        # Then only the connection to the new one counts, and the old one is no longer retried
        assert redis.connected_seconds > 0
        assert redis.is_connected
        await until(lambda: set(redis._nodes) == {Node(HOST, new.port)})
