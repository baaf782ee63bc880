"""Waiting for conditions, with one deadline that only failing tests reach.

It is generous, since it is no measure of speed: machines may be slow and busy. To show that something does not happen,
a test uses virtual time, or something else that comes later in the same order.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 120.0  # seconds
LOOK = 0.05  # seconds between two polls of other processes
TURN = 0.001  # … of the test's own process
LONGEST_LOOK = 0.4  # … where each costs milliseconds

T = TypeVar("T")


async def until(holds: Callable[[], object], what: str = "a condition", *, every: float = TURN) -> None:
    """Poll until a condition holds, more and more seldom."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                await asyncio.sleep(every)
                every = max(every, min(1.1 * every, LOOK))
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE:g} s for {what}") from None


def awaited(holds: Callable[[], T], *, within: float = DEADLINE) -> T:
    """Poll more and more seldom, while no event loop turns; return what held, or held not, when the time was over."""
    deadline, pause = time.monotonic() + within, LOOK
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST_LOOK)
    return found
