"""A Synapse, a Bot API, and stacks with bridges to them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bridges.processes import bridge_of, wait_there
from tests.bridges.synapse import Account, Synapse
from tests.bridges.telegram_stack import BridgedGroups, open_groups
from tests.conftest import StackFactory, _processes
from tests.support.client import Client
from tests.support.processes import Process, Stack


@dataclass
class Bridged:
    """A stack whose channel QGIS is bridged with alice's room."""

    stack: Stack
    bridge: Process
    synapse: Synapse
    alice: Account
    bot: Account

    @asynccontextmanager
    async def joined(self, *nicknames: str) -> AsyncIterator[list[Client]]:
        """Connect and register QGIS clients within the context."""
        clients = [await Client.connect(self.stack.fronts[0].url, "QGIS") for _ in nicknames]
        try:
            for client, nickname in zip(clients, nicknames, strict=True):
                await client.register(nickname)
            yield clients
        finally:
            await asyncio.gather(*(client.leave() for client in clients))


OpenBridged = Callable[..., AbstractContextManager[Bridged]]


@pytest.fixture(scope="package")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """Shared by all tests, as it takes seconds to start."""
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


@pytest.fixture(scope="package")
def telegram(request: pytest.FixtureRequest, open_stack: StackFactory) -> Iterator[BridgedGroups]:
    """Shared by all tests: changes by one hold for the next."""
    with open_groups(open_stack, request.config.stash[_processes]) as groups:
        yield groups
