"""The reaper: removes the connections of dead fronts.

Living fronts report their counts, nicknames and ended connections by jobs like all others.
"""

import logging
from collections.abc import Mapping

from gischat.broker.inbox_consumer import Work
from gischat.broker.presence import Presence

log = logging.getLogger(__name__)


async def repair_nicknames(found: Mapping[str, Work], presence: Presence, lease: float, *, is_thorough: bool) -> None:
    """Repair inconsistent nicknames; any number of workers may do so at the same time."""
    for channel in [name for name, work in found.items() if work.differs or (is_thorough and work.has_people)]:
        if await presence.repair_nicknames(channel, lease, is_thorough=is_thorough):
            log.warning("who has which nickname was wrong in redis: repaired", extra={"channel": channel})


async def reap(found: Mapping[str, Work], presence: Presence) -> None:
    """Remove fronts whose lease has expired; any number of workers may do so at the same time, each front once."""
    for channel in [name for name, work in found.items() if work.has_expired]:
        for front in await presence.expired_fronts(channel):
            log.warning("front %s shows no sign of life: removed", front, extra={"channel": channel})
            await presence.reap(channel, front)
