"""Waiting for conditions, with one deadline that only failing tests reach.

It is generous, since it is no measure of speed: machines may be slow and busy. To show that something does not happen,
a test uses virtual time, or something else that comes later in the same order.
"""

import asyncio
from collections.abc import Callable

DEADLINE = 120.0  # seconds
LOOK = 0.05  # seconds between two polls of other processes
TURN = 0.001  # … of the test's own process


async def until(holds: Callable[[], object], what: str = "a condition", *, every: float = TURN) -> None:
    """Poll until a condition holds, more and more seldom."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                await asyncio.sleep(every)
                every = max(every, min(1.1 * every, LOOK))
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE:g} s for {what}") from None
