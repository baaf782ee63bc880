"""A Synapse, and stacks with a bridge to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bridges.synapse import Account, Synapse
from tests.conftest import StackFactory, _processes
from tests.support.client import Client
from tests.support.processes import Process, Stack, _environment, _python, _wait

# A bridge that has failed tries again soon.
TIMINGS = {"bridge_retry": 0.2, "bridge_retry_longest": 1.0, "bridge_lock": 4.0}


@dataclass
class Bridged:
    """A stack whose channel QGIS is bridged with a room of alice's."""

    stack: Stack
    bridge: Process
    synapse: Synapse
    alice: Account
    bot: Account

    @asynccontextmanager
    async def joined(self, *nicknames: str) -> AsyncIterator[list[Client]]:
        """People with QGIS, registered."""
        clients = [await Client.connect(self.stack.fronts[0].url, "QGIS") for _ in nicknames]
        try:
            for client, nickname in zip(clients, nicknames, strict=True):
                await client.register(nickname)
            yield clients
        finally:
            await asyncio.gather(*(client.leave() for client in clients))


def bridge_of(stack: Stack, name: str = "bridge", **settings: Any) -> Process:
    """A bridge process of the stack, not yet started."""
    environment = _environment({**stack.settings, **settings})
    return Process(name, [*_python("gischat", TIMINGS), "bridge"], environment, stack.directory)


OpenBridged = Callable[..., AbstractContextManager[Bridged]]


def wait_there(bridge: Process, kind: str = "matrix") -> None:
    """Wait until it passes on what is said from now on."""
    there = f"the {kind} bridge is there"
    _wait(lambda: bool(bridge.records(message=there)), [bridge], "the bridge is not there")


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """It takes seconds to start: one for all."""
    server = Synapse(tmp_path_factory.mktemp("synapse"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def open_bridged(request: pytest.FixtureRequest, open_stack: StackFactory, synapse: Synapse) -> OpenBridged:
    known = request.config.stash[_processes]

    @contextmanager
    def bridged(**settings: Any) -> Iterator[Bridged]:
        alice, bot = asyncio.run(_accounts(synapse))
        stack = open_stack(
            matrix_bridges=f"QGIS={alice.room}", matrix_homeserver=synapse.url, matrix_token=bot.token, **settings
        )
        bridge = bridge_of(stack)
        with stack:
            known.append(bridge)
            bridge.start()
            wait_there(bridge)
            try:
                yield Bridged(stack, bridge, synapse, alice, bot)
                assert bridge.stop() == 0
            finally:
                bridge.kill()

    return bridged


async def _accounts(synapse: Synapse) -> tuple[Account, Account]:
    alice, bot = await synapse.register("alice"), await synapse.register("bot")
    await alice.create_room()
    return alice, bot
