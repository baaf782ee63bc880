"""Throttle: the first at once, the others together. Time is virtual: no test waits."""

import asyncio

from gischat.front.channel.throttle import Throttle
from tests.support.virtual_time import pass_time, virtual_time

INTERVAL = 0.25


class Scene:
    """A throttle, and the times at which it acted."""

    def __init__(self) -> None:
        self.acted: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self.throttle = Throttle(INTERVAL, self._act)

    def _act(self) -> None:
        self.acted.append(round(self._loop.time() - self._start, 3))


@virtual_time
async def test_the_first_is_told_at_once() -> None:
    scene = Scene()
    scene.throttle.trigger()
    assert scene.acted == [0]


@virtual_time
async def test_nothing_is_told_unasked() -> None:
    scene = Scene()
    await pass_time(10)
    assert scene.acted == []
    scene.throttle.trigger()
    await pass_time(10)
    assert len(scene.acted) == 1


@virtual_time
async def test_those_that_follow_within_the_interval_are_told_together_at_its_end() -> None:
    scene = Scene()
    for _ in range(100):
        scene.throttle.trigger()
    await pass_time(0.1)
    scene.throttle.trigger()
    await pass_time(10)
    assert scene.acted == [0, INTERVAL]


@virtual_time
async def test_after_a_rest_the_next_is_told_at_once_again() -> None:
    scene = Scene()
    scene.throttle.trigger()
    await pass_time(0.26)
    scene.throttle.trigger()
    assert scene.acted == [0, 0.26]


@virtual_time
async def test_a_rest_follows_what_was_gathered_too() -> None:
    scene = Scene()
    scene.throttle.trigger()
    scene.throttle.trigger()
    await pass_time(0.3)
    scene.throttle.trigger()
    await pass_time(10)
    assert scene.acted == [0, INTERVAL, 2 * INTERVAL]


@virtual_time
async def test_asking_all_the_time_acts_four_times_a_second() -> None:
    scene = Scene()
    for _ in range(1001):
        scene.throttle.trigger()
        await pass_time(0.01)
    assert len(scene.acted) == 41


@virtual_time
async def test_who_asks_while_it_acts_is_told_with_the_next() -> None:
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
