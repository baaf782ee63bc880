"""A shared stack, fresh channels for each test, and clients that leave at the end of a test."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.client import Client
from tests.support.processes import Stack
from tests.support.rest import Rest
from tests.support.stacks import AT_ONCE, Stacks

NAMED_CHANNELS = ["QGIS", "Field and mobile", "Été à la mer", "R+D", "100%", "nord/sud"]
FRESH_CHANNELS = [f"c{number:02}" for number in range(AT_ONCE)]

Join = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="package")
def stacks(open_stack: Callable[..., Stack]) -> Iterator[Stacks]:
    with Stacks(open_stack, FRESH_CHANNELS, NAMED_CHANNELS, fronts=2, light=2, heavy=1) as stacks:
        yield stacks


@pytest.fixture
def stack(stacks: Stacks) -> Stack:
    """Two fronts, two light workers and a heavy one, with default settings except for the channels."""
    return stacks.with_room()


@pytest.fixture(autouse=True)
def quiet_logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that the logs contain no traceback and no message text."""
    stack = request.getfixturevalue("stack") if "stack" in request.fixturenames else None
    yield
    if stack is not None:
        stack.assert_quiet_logs()


@pytest.fixture
def fresh_channels(stacks: Stacks, stack: Stack) -> Iterator[str]:
    """The names of the stack's unused channels."""
    return stacks.fresh_channels()


@pytest.fixture
def channel(fresh_channels: Iterator[str]) -> str:
    """A channel that no other test uses."""
    return next(fresh_channels)


@pytest.fixture
def join(io_loop: IOLoop, stack: Stack) -> Iterator[Join]:
    """Joins clients, `await join(channel, front=1, nickname="jane")`; they leave when the test ends.

    A joined client receives all later messages. Only tests of the first frames need `settled=True`, which waits for the
    history and the count: counts are throttled, so that takes time.
    """
    clients: list[Client] = []
    registered: defaultdict[str, set[str]] = defaultdict(set)

    async def join(
        channel: str, *, front: int = 0, nickname: str | None = None, settled: bool = False, **options: Any
    ) -> Client:
        client = await Client.connect(stack.fronts[front].url, channel, **options)
        clients.append(client)
        client.there_before = frozenset(registered[channel])
        if settled:
            await client.until(type="nb_users")
        if nickname is not None:
            await client.register(nickname)
            registered[channel].add(nickname)
        return client

    async def leave() -> None:
        await asyncio.gather(*(client.leave() for client in clients))

    yield join
    io_loop.run_sync(leave)


@pytest.fixture
def rest(io_loop: IOLoop, stack: Stack) -> Iterator[Rest]:
    """HTTP requests to the first front."""
    client = Rest(stack.fronts[0].url)
    yield client
    client.close()


@pytest.fixture
def rests(io_loop: IOLoop, stack: Stack) -> Iterator[list[Rest]]:
    """HTTP requests to each front."""
    clients = [Rest(front.url) for front in stack.fronts]
    yield clients
    for client in clients:
        client.close()
