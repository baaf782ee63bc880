"""A Redis Cluster: one multiplexer per node, and every call to the node that has its key.

Calls that a node does not answer (it is down, or a key has moved) come back, wait until it is known who has their slot
now, and go there. Connections are made when they are first needed.
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
    """A `Redis` of many servers."""

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
        """
        Args:
            seeds: some servers of the cluster; the others are found through them.
            dial: makes the connection to a node, not connected yet.
            name, resends, answer_seconds, timings: as a `Multiplexer` takes them.
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
        self._tending: asyncio.Task[None] | None = None
        self.reconnected: Callable[[], None] = lambda: None

    @property
    def is_connected(self) -> bool:
        return not self._unrouted and bool(self._slots) and all(node.is_connected for node in self._needed())

    @property
    def connected_seconds(self) -> float:
        return min((node.connected_seconds for node in self._needed()), default=0.0)

    def _needed(self) -> list[Multiplexer]:
        """The connections that are used. A node that has lost its slots may stay away."""
        masters = {node for _, node in self._slots}
        return [multiplexer for node, multiplexer in self._nodes.items() if node in masters]

    async def __aenter__(self) -> Self:
        self._is_outdated.set()
        self._tending = asyncio.create_task(self._maintain(), name=self._name)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._tending is not None
        self._tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tending
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
                log.exception("%s has a fault", self._name)
            waiting, self._unrouted = drop_expired(self._unrouted, self._timings), []
            for call in waiting:
                self._route(call)
            await asyncio.sleep(self._timings.redis_retry)

    async def _update_slots(self) -> None:
        before, self._slots = self._slots, await self._find_slots()
        if before and before != self._slots:
            # A replica that was promoted may lack what its master had last said yes to.
            log.info("%s: slots have moved", self._name)
            self.reconnected()
        await self._leave_unneeded()

    async def _leave_unneeded(self) -> None:
        masters = {node for _, node in self._slots}
        for node in self._nodes.keys() - masters:
            if self._nodes[node].is_idle:
                await self._nodes.pop(node).stop()

    async def _find_slots(self) -> list[tuple[range, Node]]:
        """Who has which slots, as the first node that answers says; each time another, for one may be cut off from the
        rest and not know what they have agreed on."""
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
                give_back=self._reroute,
                timings=self._timings,
            )
            multiplexer.reconnected = lambda: self.reconnected()
            multiplexer.start()
        return multiplexer


async def slots_of(
    node: Node, dial: Callable[[Node], Awaitable[Connection]], timings: Timings = Timings()
) -> list[tuple[range, Node]]:
    """Which master has which slots, as this node says.

    Raises:
        RedisError, OSError, TimeoutError: it does not answer, or is in no cluster.
    """
    async with asyncio.timeout(timings.redis_connect), opened(await dial(node)) as connection:
        answer = await connection.ask("CLUSTER", "SLOTS")
    # A node that does not know its own address, or is not to tell it, says nothing: it is where we have asked it.
    return [
        (range(first, last + 1), Node((master[0] or b"").decode() or node.host, master[1]))
        for first, last, master, *_ in answer
    ]
