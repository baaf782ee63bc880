"""The connections to a cluster: the choice of nodes, and calls that a node does not answer.

Against nodes of a few lines that say what nodes say; failovers of a real cluster are in tests/faults.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
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

    def __init__(self, answer: Callable[[int], Reply] = lambda connection: b"+OK\r\n") -> None:
        self.answer = answer
        self.master: ScriptedNode = self
        self.says_where = True
        self.is_away = False
        self.port = 0
        self.server = ScriptedServer(self._replies)

    async def serve(self, stack: AsyncExitStack) -> None:
        url = await stack.enter_async_context(self.server.serving())
        self.port = int(url.rpartition(":")[2].removesuffix("/0"))

    def _replies(self, connection: int, command: list[bytes]) -> Reply | str:
        if self.is_away:
            return CLOSE
        if is_handshake(command):
            return HANDSHAKE
        if command[0] != b"CLUSTER":
            return self.answer(connection)
        host = b"$%d\r\n%b" % (len(HOST), HOST.encode()) if self.says_where else b"$-1"
        return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n%b\r\n:%d\r\n" % (host, self.master.port)


class Scene:
    """A cluster of scripted nodes, and a process's connections to it."""

    def __init__(self, *nodes: ScriptedNode, timings: Timings = HASTY) -> None:
        self._nodes = nodes
        self._timings = timings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        for node in self._nodes:
            await node.serve(self._stack)
        seeds = ",".join(f"{HOST}:{node.port}" for node in self._nodes)
        redis = connect(f"redis+cluster://{seeds}", name="test-cluster", timings=self._timings)
        return await self._stack.enter_async_context(redis)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


async def ask(redis: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await redis.call("GET", "key", key="key")


async def test_a_node_without_an_address_keeps_the_one_it_was_queried_at() -> None:
    node = ScriptedNode()
    node.says_where = False
    async with Scene(node) as redis:
        assert await ask(redis) == b"OK"


async def test_a_call_that_no_node_accepts_fails_within_a_time_limit() -> None:
    """A cluster without a master and its replicas accepts no calls: callers must get an error."""
    async with Scene(ScriptedNode(lambda connection: DOWN), timings=IMPATIENT) as redis:
        with pytest.raises(Unavailable):
            await ask(redis)


async def test_a_call_that_may_have_been_executed_is_not_reported_as_failed() -> None:
    # Given a node that exits during a call, and then accepts none
    node = ScriptedNode(lambda connection: CLOSE)
    async with Scene(node, timings=IMPATIENT) as redis:
        call = asyncio.ensure_future(ask(redis))
        await until(lambda: any(command[0] == b"GET" for _, command in node.server.commands))
        node.answer, closed = lambda connection: DOWN, len(node.server.commands)
        await until(lambda: any(command[0] == b"GET" for _, command in node.server.commands[closed:]))
        # When that lasts for longer than other calls wait
        with pytest.raises(Unavailable):
            await ask(redis)
        # Then the error does not claim that the call was not executed
        node.answer = lambda connection: b"+OK\r\n"
        assert await call == b"OK"


async def test_a_node_cut_off_from_the_others_does_not_decide_alone() -> None:
    # Given a former master that still claims the slots, and the real one
    cut_off, master = ScriptedNode(lambda connection: DOWN), ScriptedNode()
    async with Scene(cut_off, master) as redis:
        assert await ask(redis) == b"OK"


async def test_a_former_master_is_no_longer_connected_to() -> None:
    # Given a master that dies
    old, new = ScriptedNode(), ScriptedNode()
    new.master = old
    async with Scene(old, new) as redis:
        assert await ask(redis) == b"OK"
        old.is_away, new.master = True, new
        redis.disconnect()
        # When another node has its slots
        assert await ask(redis) == b"OK"
        # Then only the connection to the new one counts, and the old one is no longer retried
        assert redis.connected_seconds > 0
        assert redis.is_connected
        await until(lambda: set(redis._nodes) == {Node(HOST, new.port)})
