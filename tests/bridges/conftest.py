"""A Synapse, a Bot API, and stacks with bridges to them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.bridges.processes import BridgedStack, bridge_of, wait_there
from tests.bridges.synapse import Account, Synapse
from tests.bridges.telegram_stack import BridgedGroups, open_groups
from tests.conftest import StackFactory, _processes
from tests.support.admin import TOKEN
from tests.support.processes import Valkey


@dataclass
class Bridged(BridgedStack):
    """A stack whose channel QGIS is bridged with alice's room, and its Redis, which loses everything when killed."""

    redis: Valkey
    synapse: Synapse
    alice: Account
    bot: Account


@pytest.fixture(scope="package")
def bridged(
    request: pytest.FixtureRequest, open_stack: StackFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bridged]:
    """Shared by all tests, as Synapse takes seconds to start."""
    synapse = Synapse(tmp_path_factory.mktemp("synapse"))
    synapse.start()
    try:
        alice, bot = asyncio.run(_accounts(synapse))
        with Valkey(tmp_path_factory.mktemp("redis")) as redis:
            stack = open_stack(
                redis_url=redis.url,
                matrix_bridges=f"QGIS={alice.room}",
                matrix_homeserver=synapse.url,
                matrix_token=bot.token,
                matrix_notices="yes",
                admin_token=TOKEN,
            )
            bridge = bridge_of(stack)
            request.config.stash[_processes].append(bridge)
            with stack:
                try:
                    bridge.start()
                    wait_there(bridge)
                    yield Bridged(stack, bridge, redis, synapse, alice, bot)
                    assert bridge.stop() == 0
                finally:
                    bridge.kill()
    finally:
        synapse.kill()


async def _accounts(synapse: Synapse) -> tuple[Account, Account]:
    alice, bot = await synapse.register("alice"), await synapse.register("bot")
    await alice.create_room()
    return alice, bot


@pytest.fixture(scope="package")
def telegram(request: pytest.FixtureRequest, open_stack: StackFactory) -> Iterator[BridgedGroups]:
    """Shared by all tests: changes by one hold for the next."""
    with open_groups(open_stack, request.config.stash[_processes]) as groups:
        yield groups
