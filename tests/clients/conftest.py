"""A server, and a process with Qt."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.clients.qt import Qt
from tests.conftest import StackFactory
from tests.support.admin import TOKEN
from tests.support.fork_server import BARE_ENVIRONMENT
from tests.support.processes import Process, Stack

NAMED = ["QGIS", "Field and mobile", "Été à la mer", "R+D", "100%"]
SECRET = "kanarienvogel:é"  # opens the channel Secret
FRESH = [f"room {number}" for number in range(16)]
CHANNELS = [*NAMED, "Secret", "Door", *FRESH]

StartQt = Callable[[], Awaitable[Qt]]

_unused = iter(FRESH)


@pytest.fixture(scope="package")
def shared_stack(open_stack: StackFactory) -> Iterator[Stack]:
    options = {"channel_tokens": f"Secret:{SECRET}", "admin_token": TOKEN}
    with open_stack(channels=",".join(CHANNELS), **options) as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """A front, which tests may kill and start again, and its workers."""
    yield shared_stack
    shared_stack.assert_quiet_logs()


@pytest.fixture
def channel() -> str:
    """A channel that only this test uses."""
    return next(_unused)


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
def qt(io_loop: IOLoop, qt_socket: Path) -> Iterator[StartQt]:
    """Makes clients with Qt, `await qt()`, which are closed when the test ends."""
    clients: list[Qt] = []

    async def start() -> Qt:
        clients.append(await Qt.start(qt_socket))
        return clients[-1]

    async def leave() -> None:
        await asyncio.gather(*(client.close() for client in clients))

    yield start
    io_loop.run_sync(leave)
