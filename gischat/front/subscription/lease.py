"""Leases: a front's claim to be alive, one in each channel.

While a front renews its lease, its connections count; when the lease expires, a worker reaps them. If Redis does not
know the lease (Redis was flushed or replaced, or this process was frozen for too long), the front sends its counts and
nicknames again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from gischat.broker.broker import Broker
from gischat.broker.damage import DAMAGED, DamageWatch
from gischat.broker.log_throttle import described
from gischat.broker.presence import Renewal
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.room import Room
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.intactness import Intactness
from gischat.front.subscription.subscriber import Subscriber
from gischat.timings import Timings

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews the leases of a front, and detects by the answers what Redis has lost.

    Attributes:
        has_ended: the leases have been released.
    """

    def __init__(
        self,
        broker: Broker,
        rooms: Mapping[str, Room],
        dispatcher: Dispatcher,
        subscriber: Subscriber,
        timings: Timings = Timings(),
    ) -> None:
        self._broker = broker
        self._rooms = rooms
        self._subscriber = subscriber
        self._timings = timings
        self.has_ended = False
        self._intact = {channel: Intactness(dispatcher.positions[channel]) for channel in rooms}
        self._damage = DamageWatch(broker.inbox.find_damage, list(rooms), DAMAGED, timings)
        self._suspects: set[str] = set()  # channels that seem to be damaged
        self._nicknames_missing: set[str] = set()  # channels for which Redis returned too few of this front's nicknames
        self._state_lost = dispatcher.reports.state_lost

    async def acquire(self) -> None:
        """Acquire the leases before the first connection; wait for Redis.

        Also ends the leases of fronts that were killed on this machine, whose connections would otherwise count until
        the leases expire.
        """
        while True:
            try:
                await self._renew()
                await self._damage.check(self._suspects)
                for channel in self._rooms.keys() - self.damaged:
                    if await self._broker.presence.release_leases_of_dead_fronts(channel):
                        log.info("ended the lease of a dead front", extra={"channel": channel})
                return
            except (Unavailable, RedisError):
                log.debug("waiting for redis")
                await asyncio.sleep(self._timings.lease_renewal)

    async def run(self) -> None:
        """Renew the leases until they are released.

        Raises:
            SubscriberStalled: publications do not arrive, even after reconnecting.
        """
        while True:
            await asyncio.sleep(self._timings.lease_renewal)
            if self.has_ended:
                return
            received = {channel: room.offset for channel, room in self._rooms.items()}
            for intact in self._intact.values():
                intact.ask(_now())
            try:
                renewals = await self._renew()
            except Unavailable:
                continue  # the connection logs what is wrong
            except RedisError as error:
                log.debug("the leases could not be renewed: %s", error)
                continue
            for channel, renewal in renewals.items():
                if not self._intact[channel].answer(renewal, self._rooms[channel].caught_up_at, _now()):
                    self._state_lost(channel)  # recovery replays from when it was last intact
                elif renewal.had_expired or self._rooms[channel].user_count.differs_from(renewal.connections):
                    # Redis was away or this process frozen, so that published counts excluded this front's connections;
                    # or Redis lost their number.
                    self._rooms[channel].user_count.republish()
                self._restore_lost_nicknames(self._rooms[channel], renewal.nicknames)
            published = {channel: renewal.offset for channel, renewal in renewals.items()}
            for channel in self._subscriber.check_lag(received, published):
                await self._rewind(channel, published[channel])
            # Last: what the renewals tell must not be lost or outdated while another answer is awaited.
            with contextlib.suppress(Unavailable, RedisError):
                await self._damage.check(self._suspects)

    async def _rewind(self, channel: str, published: int) -> None:
        try:
            await self._subscriber.rewind(channel)
            await self._subscriber.skip_trimmed(channel, published)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.warning("an outbox could not be rewound: %s", described(error), extra={"channel": channel})

    def _restore_lost_nicknames(self, room: Room, registered: int) -> None:
        """Register nicknames again that Redis has lost; one difference may be an exit in progress, two are a loss."""
        here = sum(member.nickname is not None for member in room.connections.values())
        if here <= registered:
            self._nicknames_missing.discard(room.channel)
        elif room.channel not in self._nicknames_missing:
            self._nicknames_missing.add(room.channel)
        else:
            self._nicknames_missing.discard(room.channel)
            room.nicknames.restore()

    async def release(self) -> None:
        """Release the leases; if that fails, they expire."""
        self.has_ended = True
        with contextlib.suppress(Unavailable, RedisError, TimeoutError):
            async with asyncio.timeout(self._timings.lease_renewal):
                await asyncio.gather(*(self._broker.presence.release_lease(channel) for channel in self._rooms))

    async def _renew(self) -> dict[str, Renewal]:
        """Renew all leases; leave out channels that are damaged, which an operator has to repair, or seem to be."""
        answers = await self._broker.presence.renew_leases(self._rooms, self._timings.lease)
        renewals = {channel: renewal for channel, renewal in answers.items() if renewal and not renewal.is_broken}
        self._suspects = answers.keys() - renewals
        return {channel: renewal for channel, renewal in renewals.items() if channel not in self.damaged}

    @property
    def damaged(self) -> Mapping[str, list[str]]:
        """By channel, the damaged keys."""
        return self._damage.damaged

    def intact_until(self, channel: str) -> float:
        """Loop time up to which Redis is known to have lost nothing that this front had received."""
        return self._intact[channel].until - self._timings.redis_loss

    async def renew_lost(self, channel: str) -> None:
        """Renew a lease at once, and have every front told that Redis has lost state.

        Raises:
            ConnectionError, Unavailable, RedisError: Redis did not answer.
        """
        await self._broker.presence.renew_lease(channel, self._timings.lease, is_state_lost=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
