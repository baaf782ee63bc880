"""Waiting in a loop that may be late."""

import asyncio


async def sleeps_on_time(seconds: float, late: float) -> bool:
    """Sleeps; whether it woke less than `late` seconds after its time.

    If not, this process was frozen, or the machine far too busy: what has come meanwhile was not read yet, and nobody
    is to be taken for silent.
    """
    now = asyncio.get_running_loop().time
    due = now() + seconds
    await asyncio.sleep(seconds)
    return now() - due < late
