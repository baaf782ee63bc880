"""Fixtures of the fault tests: seeds, repetitions, scenes and a Redis server to damage."""

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


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--seed", default="1", help="of all that is random in the fault suite")
    group.addoption("--repeat", type=int, default=1, help="how often each test of the fault suite runs")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    repeat: int = metafunc.config.getoption("repeat")
    if repeat > 1 and "dice" in metafunc.fixturenames:
        metafunc.parametrize("repetition", range(repeat))


@pytest.fixture
def repetition() -> int:
    return 0


@pytest.fixture
def dice(request: pytest.FixtureRequest, repetition: int) -> random.Random:
    """A random generator that `--seed`, the test and the repetition determine."""
    name = request.node.originalname
    return random.Random(f"{request.config.getoption('seed')} {name} {repetition}")


@pytest.fixture
def make_scene(io_loop: Any, valkey: Valkey, open_stack: Callable[..., Stack], dice: random.Random) -> MakeScene:
    """Makes scenes, which the test starts: `async with make_scene(fronts=2, light=1) as scene`.

    By default without a heavy worker, because its sandbox costs more than everything else.
    """

    def make(*, redis_url: str | None = None, client: Any = None, **options: Any) -> Scene:
        stack = open_stack(
            redis_url=redis_url or valkey.url, **{"fronts": 2, "heavy": 0, "channels": CHANNEL, **options}
        )
        return Scene(stack, client or redis.Redis(host=HOST, port=valkey.port, socket_timeout=DEADLINE), dice)

    return make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Valkey for this test alone that keeps its data; it may be killed, frozen and emptied."""
    with Server(tmp_path / "valkey") as server:
        yield server
