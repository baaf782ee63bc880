"""Stacks with moderation, and a new channel for each test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.admin import TOKEN, Admin
from tests.support.processes import Stack
from tests.support.stacks import AT_ONCE, Stacks

# Fixtures that are used under the same names.
from tests.wire.conftest import Join, fresh_channels, quiet_logs, stack  # noqa: F401

FRESH_CHANNELS = [f"Salle {number:02}/été" for number in range(AT_ONCE)]
ANOTHER_CHANNEL = "Autre salle"  # which no test uses alone
PRIVATE_CHANNEL = "Entre nous"

Visit = Callable[..., Any]


@pytest.fixture(scope="package")
def stacks(open_stack: Callable[..., Stack]) -> Iterator[Stacks]:
    """A stack of two fronts and two workers, with moderation."""
    others, tokens = [ANOTHER_CHANNEL, PRIVATE_CHANNEL], f"{PRIVATE_CHANNEL}:s3cret"
    options = {"fronts": 2, "light": 2, "heavy": 0, "channel_tokens": tokens, "admin_token": TOKEN}
    with Stacks(open_stack, FRESH_CHANNELS, others, **options) as stacks:
        yield stacks


@pytest.fixture(scope="package")
def house(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """A second stack with two channels, for requests that concern all channels."""
    with open_stack(fronts=2, light=1, heavy=0, channels="QGIS,Geotribu", admin_token=TOKEN) as house:
        yield house
    house.assert_quiet_logs()


@pytest.fixture
def other(io_loop: IOLoop, stack: Stack) -> Iterator[Admin]:  # noqa: F811
    """A moderator at the second front."""
    client = Admin(stack.fronts[1].url, name="otto")
    yield client
    client.close()
