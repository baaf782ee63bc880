"""Fixtures of the fault tests: scenes, and a Redis server to damage."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.scene import CHANNEL, Scene
from tests.support.processes import HOST, Stack, Valkey
from tests.support.redis_servers import Server
from tests.support.waiting import DEADLINE

MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(
    io_loop: Any, valkey: Valkey, open_stack: Callable[..., Stack], request: pytest.FixtureRequest
) -> MakeScene:
    """Makes scenes, which the test starts: `async with make_scene(fronts=2, light=1) as scene`.

    By default without a heavy worker, because its sandbox costs more than everything else.
    """

    def make(*, redis_url: str | None = None, client: Any = None, **options: Any) -> Scene:
        stack = open_stack(
            redis_url=redis_url or valkey.url, **{"fronts": 2, "heavy": 0, "channels": CHANNEL, **options}
        )
        redis_client = client or redis.Redis(host=HOST, port=valkey.port, socket_timeout=DEADLINE)
        return Scene(stack, redis_client, random.Random(request.node.originalname))

    return make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Valkey for this test alone that keeps its data; it may be killed, frozen and emptied."""
    with Server(tmp_path / "valkey") as server:
        yield server
