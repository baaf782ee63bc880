"""How tests wait: for a condition, with one deadline that only a test that fails comes to.

It is generous, for it says nothing of how fast anything is: machines may be slow, and busy. That something does not
happen, a test shows in virtual time, or by something else that comes later in the same order.
"""

import asyncio
from collections.abc import Callable

DEADLINE = 120.0  # seconds
LOOK = 0.05  # seconds between two looks at what other processes do
TURN = 0.001  # … and at what the test's own loop does


async def until(holds: Callable[[], object], what: str = "a condition", *, every: float = TURN) -> None:
    """Waits for what can only be looked at."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"waited {DEADLINE:g} s for {what}") from None
