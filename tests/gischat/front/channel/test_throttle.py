"""The throttle: acts at once on the first request, and once on those that follow. Time is virtual: no test waits."""

import asyncio

import pytest

from gischat.front.channel.throttle import Throttle
from tests.support.virtual_time import pass_time, virtual_time

INTERVAL = 0.25


@pytest.mark.parametrize(
    ("requests", "acts"),
    [
        ([], []),
        ([0], [0]),
        ([0, *[0.1] * 99], [0, 0.25]),  # once, at the end of the interval
        ([0, 0.26], [0, 0.26]),  # at once again
        ([0, 0.1, 0.3], [0, 0.25, 0.5]),  # an interval follows the delayed action, too
        ([number * 0.06 for number in range(17)], [0, 0.25, 0.5, 0.75, 1]),
    ],
)
@virtual_time
async def test_it_acts_at_once_and_then_once_an_interval_if_requested(requests: list[float], acts: list[float]) -> None:
    loop, acted = asyncio.get_running_loop(), list[float]()
    throttle, began = Throttle(INTERVAL, lambda: acted.append(round(loop.time() - began, 3))), loop.time()
    for at in requests:
        loop.call_at(began + at, throttle.trigger)
    await pass_time(10)
    assert acted == acts


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
