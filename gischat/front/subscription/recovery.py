"""Recovery: the steps after Redis has lost state, after missed publications, and after a reconnection.

Parts report what they detect (see `StateReports`); only this module acts on it, step by step. Two promises rest on the
order of the steps: accepted messages are delivered once, and counts and nicknames are true. So the order is in two
tables, and a test shows what goes wrong in another order.
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
    """The parts of a front that take part in the recovery."""

    rooms: Mapping[str, Room]
    dispatcher: Dispatcher
    subscriber: Subscriber
    leases: LeaseKeeper
    moderation: ModerationService


Step = Callable[[Parts, Room, float], Awaitable[None]]
"""One step for one room; Redis has lost nothing that happened before the given loop time."""


async def renew_lease(parts: Parts, room: Room, since: float) -> None:
    """Renew the lease, without which Redis accepts no jobs of this front; this tells every front of the loss first."""
    await parts.leases.renew_lost(room.channel)


async def rewind(parts: Parts, room: Room, since: float) -> None:
    """Read the outbox again if its entries now precede our position; otherwise nothing that follows would be received.

    While Redis answers, publications from before the loss may still arrive, and are valid.
    """
    await parts.subscriber.rewind(room.channel)


async def reset_room(parts: Parts, room: Room, since: float) -> None:
    """Start a new epoch; jobs do not require Redis to have the lost publications any more."""
    here = len(room.connections)
    log.warning("redis has lost this front's state in a channel", extra={"channel": room.channel, "here": here})
    room.reset()


async def replay(parts: Parts, room: Room, since: float) -> None:
    """Replay this front's recent messages; the jobs in flight follow them."""
    parts.dispatcher.replay(room.channel, since)


async def republish_count(parts: Parts, room: Room, since: float) -> None:
    """Publish the current count, after replayed presence; not earlier, since `replay` resends jobs in flight."""
    room.user_count.republish()


async def retry_nicknames(parts: Parts, room: Room, since: float) -> None:
    """Request pending nicknames again, because a missed publication may have granted them."""
    room.nicknames.retry()


async def restore_nicknames(parts: Parts, room: Room, since: float) -> None:
    """Register the current nicknames, after replayed newcomers and exiters."""
    room.nicknames.restore()


async def restore_moderation(parts: Parts, room: Room, since: float) -> None:
    """Restore bans, a freeze and deletions; deletions come last, because they must find the replayed messages."""
    parts.moderation.restore_lost(room)


async def reload_moderation(parts: Parts, room: Room, since: float) -> None:
    """Read the moderation state, because a missed publication may have changed it."""
    parts.moderation.reload(room)


async def resend_in_flight(parts: Parts, room: Room, since: float) -> None:
    """Enqueue jobs in flight again, because missed publications may have been their results."""
    parts.dispatcher.resend_in_flight(room.channel)


# From `reset_room` on no step awaits, so that no publication from before the loss is received in between.
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
    """Acts on the reports of a front's parts."""

    def __init__(self, parts: Parts, state_lost: Sequence[Step] = STATE_LOST, gap: Sequence[Step] = GAP) -> None:
        self._parts = parts
        self._reports = parts.dispatcher.reports
        self._state_lost = state_lost
        self._gap = gap
        self._recovering: dict[str, asyncio.Task[None]] = {}  # by channel, so that channels do not wait for each other

    async def run(self) -> None:
        """Act on reports until cancelled."""
        while True:
            report = await self._reports.next()
            if report.incident is Incident.RECONNECTED:
                self._parts.dispatcher.resend_in_flight()
            elif report.incident is Incident.GAP:
                await self._run_steps(self._gap, report.channel)
            elif report.channel not in self._recovering and not self._parts.leases.has_ended:
                self._recovering[report.channel] = asyncio.create_task(self._recover(report))

    async def _recover(self, report: Report) -> None:
        await self._run_steps(self._state_lost, report.channel)
        self._reports.discard(report)  # the recovery covers what was reported meanwhile
        del self._recovering[report.channel]

    async def _run_steps(self, steps: Sequence[Step], channel: str) -> None:
        """Run the steps; if Redis does not answer, skip the rest: what is still wrong will be reported again."""
        since = self._parts.leases.intact_until(channel)
        try:
            for step in steps:
                await step(self._parts, self._parts.rooms[channel], since)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.warning("recovery failed, and will be retried: %s", described(error), extra={"channel": channel})
        except Exception:
            log.exception("recovery failed", extra={"channel": channel})
