"""Who is there, kept true: the connections of fronts that died are reaped.

What living fronts tell (so many are here, this one is called so, that one has left) comes as jobs like all others.
"""

import asyncio
import logging

from gischat.timings import Timings
from worker.gateway import Gateway

log = logging.getLogger(__name__)


async def repair_nicknames(gateway: Gateway, timings: Timings, *, is_thorough: bool) -> None:
    """Repairs what tells of nicknames. Any number of workers may do so at once."""
    if gateway.connected_seconds < timings.reap_grace:
        return
    for channel in gateway.channels:
        if await gateway.repair_nicknames(channel, timings.lease, is_thorough=is_thorough):
            log.warning("who has which nickname was wrong in redis: repaired", extra={"channel": channel})


async def reap(gateway: Gateway, timings: Timings) -> None:
    """Removes the fronts whose lease has run out. Any number of workers may do so at once: each front goes once."""
    if gateway.connected_seconds < timings.reap_grace:
        return
    dead = await asyncio.gather(*(gateway.expired_fronts(channel) for channel in gateway.channels))
    for channel, fronts in zip(gateway.channels, dead, strict=True):
        for front in fronts:
            log.warning("front %s shows no sign of life: removed", front, extra={"channel": channel})
            await gateway.reap(channel, front)
