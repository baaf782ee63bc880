"""Fixtures of the tests of a front's parts."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tornado.ioloop import IOLoop

from tests.gischat.front.scene import Scene, Start


@pytest.fixture
def start(io_loop: IOLoop) -> Iterator[Start]:
    """Makes scenes whose sockets are closed when the test ends."""
    with ExitStack() as stack:
        yield lambda **options: Scene(stack, **options)
