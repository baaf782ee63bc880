"""A shared stack, and fresh channels for each test."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Join as Join
from tests.support.processes import Stack
from tests.support.stacks import AT_ONCE, Stacks

NAMED_CHANNELS = ["QGIS", "Field and mobile", "Été à la mer", "R+D", "100%", "nord/sud"]
FRESH_CHANNELS = [f"c{number:02}" for number in range(AT_ONCE)]


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
