"""The reaper: removes the connections of dead fronts.

Living fronts report their counts, nicknames and ended connections by jobs like all others.
"""

import asyncio
import logging

from gischat.broker.inbox_consumer import InboxConsumer
from gischat.broker.presence import Presence
from gischat.timings import Timings

log = logging.getLogger(__name__)


async def repair_nicknames(inbox: InboxConsumer, presence: Presence, timings: Timings, *, is_thorough: bool) -> None:
    """Repair inconsistent nicknames; any number of workers may do so at the same time."""
    if inbox.connected_seconds < timings.reap_grace:
        return
    for channel in inbox.channels:
        if await presence.repair_nicknames(channel, timings.lease, is_thorough=is_thorough):
            log.warning("who has which nickname was wrong in redis: repaired", extra={"channel": channel})


async def reap(inbox: InboxConsumer, presence: Presence, timings: Timings) -> None:
    """Remove fronts whose lease has expired; any number of workers may do so at the same time, each front once."""
    if inbox.connected_seconds < timings.reap_grace:
        return
    dead = await asyncio.gather(*(presence.expired_fronts(channel) for channel in inbox.channels))
    for channel, fronts in zip(inbox.channels, dead, strict=True):
        for front in fronts:
            log.warning("front %s shows no sign of life: removed", front, extra={"channel": channel})
            await presence.reap(channel, front)
