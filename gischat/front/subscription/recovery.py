"""Recovery: what a front does when Redis has lost something, when it missed something, or was cut off.

The parts report what they notice (see `StateReports`); here alone is acted on it, step by step. The order of the steps
is what the promises rest on, that what was accepted is delivered, once, and that counts and nicknames are true. So it
stands in two tables, and a test shows what goes wrong in another order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gischat.broker.log_throttle import described
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.room import Room
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.state_reports import Incident, Report
from gischat.front.moderation.service import ModerationService
from gischat.front.subscription.lease import LeaseKeeper
from gischat.front.subscription.subscriber import Subscriber

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """Of a front, what is recovered."""

    rooms: Mapping[str, Room]
    dispatcher: Dispatcher
    subscriber: Subscriber
    leases: LeaseKeeper
    moderation: ModerationService


Step = Callable[[Parts, Room, float], Awaitable[None]]
"""One step in a room; Redis had all that happened before that time, by the loop's clock."""


async def renew_lease(parts: Parts, room: Room, since: float) -> None:
    """Until Redis knows this front again, it takes no job of it. Every front hears of the loss first."""
    await parts.leases.renew_lost(room.channel)


async def rewind(parts: Parts, room: Room, since: float) -> None:
    """Where the outbox begins anew before our place, it is read again: else nothing of what follows would be heard.

    While Redis is asked, what it published before its loss may still come in, and count.
    """
    await parts.subscriber.rewind(room.channel)


async def reset_room(parts: Parts, room: Room, since: float) -> None:
    """From here on no job demands that Redis knows what it has lost."""
    here = len(room.connections)
    log.warning("redis had lost this front in a channel", extra={"channel": room.channel, "here": here})
    room.reset()


async def replay(parts: Parts, room: Room, since: float) -> None:
    """What this front's clients have said lately is said again; what is in flight comes behind it, and is sent anew."""
    parts.dispatcher.replay(room.channel, since)


async def republish_count(parts: Parts, room: Room, since: float) -> None:
    """How many are here: as it is now, behind those who came and went, and not in flight when that is replayed."""
    room.user_count.republish()


async def retry_nicknames(parts: Parts, room: Room, since: float) -> None:
    """What was missed may have granted a nickname that is waited for."""
    room.nicknames.retry()


async def restore_nicknames(parts: Parts, room: Room, since: float) -> None:
    """Who has which nickname: as it is now, behind the newcomers and exiters that are replayed."""
    room.nicknames.restore()


async def restore_moderation(parts: Parts, room: Room, since: float) -> None:
    """Bans, a freeze and deletions that Redis has lost: what is replayed must be there to be deleted."""
    parts.moderation.restore_lost(room)


async def reload_moderation(parts: Parts, room: Room, since: float) -> None:
    """What was missed may have been an order."""
    parts.moderation.reload(room)


async def resend_in_flight(parts: Parts, room: Room, since: float) -> None:
    """The ends of jobs may be among what was missed."""
    parts.dispatcher.resend_in_flight(room.channel)


# From `reset_room` on nothing is awaited: nothing that was published before the loss comes in between.
STATE_LOST: Sequence[Step] = (
    renew_lease,
    rewind,
    reset_room,
    replay,
    republish_count,
    restore_nicknames,
    restore_moderation,
)

GAP: Sequence[Step] = (
    resend_in_flight,
    retry_nicknames,
    restore_nicknames,
    republish_count,
    reload_moderation,
)


class Recovery:
    """Acts on what the parts of a front report."""

    def __init__(self, parts: Parts, state_lost: Sequence[Step] = STATE_LOST, gap: Sequence[Step] = GAP) -> None:
        self._parts = parts
        self._reports = parts.dispatcher.reports
        self._state_lost = state_lost
        self._gap = gap
        self._recovering: dict[str, asyncio.Task[None]] = {}  # by channel: others wait for nothing

    async def run(self) -> None:
        """Acts until it is cancelled."""
        while True:
            report = await self._reports.next()
            if report.incident is Incident.RECONNECTED:
                self._parts.dispatcher.resend_in_flight()
            elif report.incident is Incident.GAP:
                await self._take(self._gap, report.channel)
            elif report.channel not in self._recovering and not self._parts.leases.has_ended:
                self._recovering[report.channel] = asyncio.create_task(self._recover(report))

    async def _recover(self, report: Report) -> None:
        await self._take(self._state_lost, report.channel)
        self._reports.discard(report)  # what was noticed meanwhile is said again by now
        del self._recovering[report.channel]

    async def _take(self, steps: Sequence[Step], channel: str) -> None:
        """Step by step; where Redis cannot be asked the rest is left, and what is still wrong will be noticed again."""
        since = self._parts.leases.intact_until
        try:
            for step in steps:
                await step(self._parts, self._parts.rooms[channel], since)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.warning("what redis has lost could not be told again: %s", described(error), extra={"channel": channel})
        except Exception:
            log.exception("a recovery failed", extra={"channel": channel})
