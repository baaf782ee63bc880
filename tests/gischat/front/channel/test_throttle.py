"""The throttle: acts at once on the first request, and once on those that follow. Time is virtual: no test waits."""

import asyncio

from gischat.front.channel.throttle import Throttle
from tests.support.virtual_time import pass_time, virtual_time

INTERVAL = 0.25


class Scene:
    """A throttle, and the times of its actions."""

    def __init__(self) -> None:
        self.acted: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self.throttle = Throttle(INTERVAL, self._act)

    def _act(self) -> None:
        self.acted.append(round(self._loop.time() - self._start, 3))


@virtual_time
async def test_it_acts_at_once_on_the_first_request() -> None:
    scene = Scene()
    scene.throttle.trigger()
    assert scene.acted == [0]


@virtual_time
async def test_it_does_not_act_without_a_request() -> None:
    scene = Scene()
    await pass_time(10)
    assert scene.acted == []
    scene.throttle.trigger()
    await pass_time(10)
    assert len(scene.acted) == 1


@virtual_time
async def test_it_acts_once_on_requests_within_the_interval_at_its_end() -> None:
    scene = Scene()
    for _ in range(100):
        scene.throttle.trigger()
    await pass_time(0.1)
    scene.throttle.trigger()
    await pass_time(10)
    assert scene.acted == [0, INTERVAL]


@virtual_time
async def test_after_an_interval_without_requests_it_acts_at_once_again() -> None:
    scene = Scene()
    scene.throttle.trigger()
    await pass_time(0.26)
    scene.throttle.trigger()
    assert scene.acted == [0, 0.26]


@virtual_time
async def test_an_interval_follows_the_delayed_action_too() -> None:
    scene = Scene()
    scene.throttle.trigger()
    scene.throttle.trigger()
    await pass_time(0.3)
    scene.throttle.trigger()
    await pass_time(10)
    assert scene.acted == [0, INTERVAL, 2 * INTERVAL]


@virtual_time
async def test_with_continuous_requests_it_acts_four_times_a_second() -> None:
    scene = Scene()
    for _ in range(1001):
        scene.throttle.trigger()
        await pass_time(0.01)
    assert len(scene.acted) == 41


@virtual_time
async def test_a_request_during_an_action_counts_for_the_next() -> None:
    throttle: Throttle
    asked: list[int] = []

    def act() -> None:
        asked.append(len(asked))
        if len(asked) < 3:
            throttle.trigger()

    throttle = Throttle(INTERVAL, act)
    throttle.trigger()
    assert len(asked) == 1
    await pass_time(10)
    assert len(asked) == 3
