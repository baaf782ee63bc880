"""A client of a Redis Cluster: one multiplexer per node; each command goes to the node that has its key.

Commands that a node does not answer, because it is down or a key has moved, are rerouted after the slots have been read
again. Connections are made on first use.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from gischat.broker.client import ConnectionLost, Decoder, PendingCommand
from gischat.broker.connection import Connection, opened
from gischat.broker.keys import key_slot
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.multiplexer import Multiplexer, drop_expired
from gischat.broker.resp_errors import RedisError
from gischat.broker.scripts import Script
from gischat.broker.transport import Argument
from gischat.redis_url import Node
from gischat.timings import Timings

log = logging.getLogger(__name__)


class Cluster:
    """A `Redis` that is a cluster of servers."""

    def __init__(
        self,
        seeds: Sequence[Node],
        dial: Callable[[Node], Awaitable[Connection]],
        *,
        name: str,
        resends: bool,
        answer_seconds: float | None = None,
        timings: Timings = Timings(),
    ) -> None:
        """Create the client; entering it as a context starts it.

        Args:
            seeds: some nodes of the cluster; they name the others.
            dial: creates the connection to a node, not connected yet.
            name, resends, answer_seconds, timings: as for `Multiplexer`.
        """
        self._seeds = list(seeds)
        self._dial = dial
        self._name = name
        self._log = LogThrottle(f"{name} finds no node of the cluster that answers", timings)
        self._timings = timings
        self._resends = resends
        self._answer_seconds = answer_seconds
        self._slots: list[tuple[range, Node]] = []
        self._nodes: dict[Node, Multiplexer] = {}
        self._unrouted: list[PendingCommand] = []
        self._is_outdated = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.reconnected: Callable[[], None] = lambda: None

    @property
    def is_connected(self) -> bool:
        return not self._unrouted and bool(self._slots) and all(node.is_connected for node in self._needed())

    @property
    def connected_seconds(self) -> float:
        return min((node.connected_seconds for node in self._needed()), default=0.0)

    def _needed(self) -> list[Multiplexer]:
        """The multiplexers of nodes that have slots; the others may be disconnected."""
        masters = {node for _, node in self._slots}
        return [multiplexer for node, multiplexer in self._nodes.items() if node in masters]

    async def __aenter__(self) -> Self:
        self._is_outdated.set()
        self._task = asyncio.create_task(self._maintain(), name=self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for call in self._unrouted:
            call.fail(ConnectionLost("The connection was closed."))
        for multiplexer in self._nodes.values():
            await multiplexer.stop()

    def call(self, *command: Argument, key: str) -> "asyncio.Future[Any]":
        return self._route(PendingCommand(command, key))

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        resends: bool = True,
        decode: Decoder | None = None,
    ) -> "asyncio.Future[Any]":
        return self._route(PendingCommand.of(script, keys, arguments, resends=resends, decode=decode))

    def disconnect(self) -> None:
        for node in self._nodes.values():
            node.disconnect()

    def _route(self, call: PendingCommand) -> "asyncio.Future[Any]":
        slot = key_slot(call.key)
        for slots, node in self._slots:
            if slot in slots:
                return self._connected(node).submit(call)
        self._reroute([call])
        return call.answer

    def _reroute(self, calls: Sequence[PendingCommand]) -> None:
        self._unrouted += calls
        self._is_outdated.set()

    async def _maintain(self) -> None:
        while True:
            await self._is_outdated.wait()
            self._is_outdated.clear()
            try:
                await self._update_slots()
                self._log.resolve()
            except (RedisError, OSError, TimeoutError) as error:
                self._log.report(error)
            except Exception:
                log.exception("%s: unexpected error", self._name)
            waiting, self._unrouted = drop_expired(self._unrouted, self._timings), []
            for call in waiting:
                self._route(call)
            await asyncio.sleep(self._timings.redis_retry)

    async def _update_slots(self) -> None:
        before, self._slots = self._slots, await self._find_slots()
        if before and before != self._slots:
            # A promoted replica may lack the last writes that its master had acknowledged.
            log.info("%s: slots have moved", self._name)
            self.reconnected()
        await self._leave_unneeded()

    async def _leave_unneeded(self) -> None:
        masters = {node for _, node in self._slots}
        for node in self._nodes.keys() - masters:
            if self._nodes[node].is_idle:
                await self._nodes.pop(node).stop()

    async def _find_slots(self) -> list[tuple[range, Node]]:
        """Read which node has which slots from the first node that answers, in random order.

        The order is random because a node that is cut off from the others may not know the current slots.
        """
        known = list({*(node for _, node in self._slots), *self._seeds})
        random.shuffle(known)
        error: Exception = OSError("there is no node")
        for node in known:
            try:
                return await slots_of(node, self._dial, self._timings)
            except (RedisError, OSError, TimeoutError) as failure:
                error = failure
        raise error

    def _connected(self, node: Node) -> Multiplexer:
        multiplexer = self._nodes.get(node)
        if multiplexer is None:
            multiplexer = self._nodes[node] = Multiplexer(
                lambda: self._dial(node),
                name=f"{self._name} to {node.host}:{node.port}",
                resends=self._resends,
                answer_seconds=self._answer_seconds,
                reroute=self._reroute,
                timings=self._timings,
            )
            multiplexer.reconnected = lambda: self.reconnected()
            multiplexer.start()
        return multiplexer


async def slots_of(
    node: Node, dial: Callable[[Node], Awaitable[Connection]], timings: Timings = Timings()
) -> list[tuple[range, Node]]:
    """Read from this node which master has which slots.

    Raises:
        RedisError, OSError, TimeoutError: it does not answer, or belongs to no cluster.
    """
    async with asyncio.timeout(timings.redis_connect), opened(await dial(node)) as connection:
        answer = await connection.ask("CLUSTER", "SLOTS")
    # A node that does not know its address, or must not tell it, sends none: its address is the one we connected to.
    return [
        (range(first, last + 1), Node((master[0] or b"").decode() or node.host, master[1]))
        for first, last, master, *_ in answer
    ]
