"""A server, and clients that disconnect when the test ends."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.clients.gui import GuiClient
from tests.clients.qchat import QChat
from tests.clients.qfield import QField
from tests.clients.qt import Qt
from tests.conftest import StackFactory
from tests.support.fork_server import BARE_ENVIRONMENT
from tests.support.processes import Process, Stack
from tests.support.stacks import AT_ONCE, Stacks

NAMED_CHANNELS = ["QGIS", "Field and mobile", "Été à la mer", "R+D", "100%"]
FRESH_CHANNELS = [f"room {number}" for number in range(AT_ONCE)]

OpenClient = Callable[..., Any]
ConnectClient = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="package")
def stacks(open_stack: StackFactory) -> Iterator[Stacks]:
    with Stacks(open_stack, FRESH_CHANNELS, NAMED_CHANNELS) as stacks:
        yield stacks


@pytest.fixture
def stack(stacks: Stacks) -> Stack:
    """A front and its workers, with default settings except for the channels."""
    return stacks.with_room()


@pytest.fixture
def channel(stacks: Stacks, stack: Stack) -> str:
    """A channel that only this test uses."""
    return next(stacks.fresh_channels())


@pytest.fixture
def clients(io_loop: IOLoop) -> Iterator[list[GuiClient | Qt]]:
    """Clients that are closed when the test ends."""
    opened: list[GuiClient | Qt] = []
    yield opened

    async def leave() -> None:
        endings = await asyncio.gather(*(client.close() for client in opened), return_exceptions=True)
        for failure in filter(None, endings):
            raise failure

    io_loop.run_sync(leave)


@pytest.fixture
def qgis(clients: list[GuiClient], stack: Stack) -> ConnectClient:
    """Connects a QGIS: `await qgis(channel, "jane")`."""

    async def connect(channel: str, nickname: str = "jane", *, instance: str = stack.fronts[0].url) -> QChat:
        client = QChat(instance, nickname)
        clients.append(client)
        await client.connect(channel)
        return client

    return connect


@pytest.fixture
def qfield(clients: list[GuiClient], stack: Stack) -> ConnectClient:
    """Connects a QField: `await qfield(channel)`."""

    async def connect(channel: str, *args: str, server: str = stack.fronts[0].url) -> QField:
        client = QField(server, *args)
        clients.append(client)
        await client.connect(channel)
        return client

    return connect


@pytest.fixture(scope="package")
def qt_socket() -> Iterator[Path]:
    """A process with Qt, which takes up to a second to load."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "qt")
        command = [sys.executable, "-m", "tests.clients.qt_process", str(path)]
        process = Process("qt", command, BARE_ENVIRONMENT, Path(name))
        process.start()
        while not path.is_socket():
            assert not process.ends_within(0.03), process.whole_log()
        yield path
        process.kill()


@pytest.fixture
def qt(clients: list[Any], qt_socket: Path) -> Callable[[], Awaitable[Qt]]:
    """Makes clients with Qt: `await qt()`."""

    async def start() -> Qt:
        client = await Qt.start(qt_socket)
        clients.append(client)
        return client

    return start
