"""One stack with a moderator for the whole suite, a fresh channel for each test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.admin import TOKEN, Admin
from tests.support.processes import Stack

# Fixtures of the same name and meaning.
from tests.wire.conftest import Join, join, quiet_logs, rest, rests  # noqa: F401

CHANNELS = [f"Salle {number:02}/été" for number in range(1, 61)]
ANOTHER_CHANNEL = CHANNELS[-1]  # which no test has for its own: there are fewer of them
PRIVATE_CHANNEL = "Entre nous"

Visit = Callable[..., Any]


@pytest.fixture(scope="package")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """Two fronts and two workers, moderated."""
    channels, tokens = ",".join([*CHANNELS, PRIVATE_CHANNEL]), f"{PRIVATE_CHANNEL}:s3cret"
    stack = open_stack(fronts=2, light=2, heavy=1, channels=channels, channel_tokens=tokens, admin_token=TOKEN)
    with stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture(scope="package")
def moderated_channels() -> Iterator[str]:
    return iter(CHANNELS)


@pytest.fixture
def channel(moderated_channels: Iterator[str]) -> str:
    """A channel that is this test's alone."""
    return next(moderated_channels)


@pytest.fixture(scope="package")
def house(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """A second one, of two channels, for what concerns all."""
    with open_stack(fronts=2, light=1, heavy=0, channels="QGIS,Geotribu", admin_token=TOKEN) as stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture
def admin(io_loop: IOLoop, stack: Stack) -> Iterator[Admin]:
    """A moderator at the first front."""
    client = Admin(stack.fronts[0].url)
    yield client
    client.close()


@pytest.fixture
def other(io_loop: IOLoop, stack: Stack) -> Iterator[Admin]:
    """A moderator at the second front."""
    client = Admin(stack.fronts[1].url, name="otto")
    yield client
    client.close()
