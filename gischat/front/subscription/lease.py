"""This front's sign of life in each channel.

Redis holds for every front a lease. While it is renewed, the front's connections count; when it runs out, a worker
removes them. A lease that Redis does not know (it was flushed or replaced, or this process was frozen for too long)
means that counts and nicknames have to be told again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from gischat.broker.broker import Broker
from gischat.broker.log_throttle import LogThrottle, described
from gischat.broker.presence import Renewal
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.room import Room
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.subscription.subscriber import Subscriber
from gischat.timings import Timings

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews the leases of a front, and sees by the answers whether Redis has lost it, or it Redis.

    `has_ended` says that the leases have been given back; `damaged` has, by channel, the keys of a wrong type.
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
        self._renewed_at = 0.0  # when Redis was last known to be what it was
        self.damaged: dict[str, list[str]] = {}
        self._damage = LogThrottle(
            "keys in redis are damaged, and have to be removed or restored", timings, patience=0.0
        )
        self._nicknames_missing: set[str] = set()  # channels where Redis had fewer of ours than are here
        self._state_lost = dispatcher.reports.state_lost

    async def acquire(self) -> None:
        """The first lease, which must be there before the first connection; waits for Redis.

        A front that was killed on this machine, and whose place this one takes, leaves no ghosts behind for as long as
        its lease would last.
        """
        while True:
            try:
                await self._renew()
                for channel in self._rooms.keys() - self.damaged:
                    if await self._broker.presence.release_leases_of_dead_fronts(channel):
                        log.info("ended the lease of a front that is gone", extra={"channel": channel})
                return
            except (Unavailable, RedisError):
                log.debug("waiting for redis")
                await asyncio.sleep(self._timings.lease_renewal)

    async def run(self) -> None:
        """Renews until it has ended.

        Raises:
            SubscriberStalled: this front does not hear, whatever it tries.
        """
        while True:
            await asyncio.sleep(self._timings.lease_renewal)
            if self.has_ended:
                return
            heard = {channel: room.offset for channel, room in self._rooms.items()}
            try:
                renewals = await self._renew()
            except Unavailable:
                continue  # the connection itself says what is wrong with it
            except RedisError as error:
                log.debug("the leases could not be renewed: %s", error)
                continue
            for channel, renewal in renewals.items():
                if not renewal.was_known or renewal.offset < heard[channel]:
                    self._state_lost(channel)
                elif renewal.had_expired or self._rooms[channel].user_count.differs_from(renewal.connections):
                    # Redis was away for long, or this process frozen: what was told meanwhile left it out. Or it was
                    # lost.
                    self._rooms[channel].user_count.republish()
                self._restore_lost_nicknames(self._rooms[channel], renewal.nicknames)
            self._renewed_at = asyncio.get_running_loop().time()
            published = {channel: renewal.offset for channel, renewal in renewals.items()}
            for channel in self._subscriber.check_lag(heard, published):
                await self._rewind(channel, published[channel])

    async def _rewind(self, channel: str, published: int) -> None:
        try:
            await self._subscriber.rewind(channel)
            await self._subscriber.skip_trimmed(channel, published)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.warning("an outbox could not be looked at: %s", described(error), extra={"channel": channel})

    def _restore_lost_nicknames(self, room: Room, registered: int) -> None:
        """Registers those again that Redis has lost; one look may come amid an exit, two do not."""
        here = sum(member.nickname is not None for member in room.connections.values())
        if here <= registered:
            self._nicknames_missing.discard(room.channel)
        elif room.channel not in self._nicknames_missing:
            self._nicknames_missing.add(room.channel)
        else:
            self._nicknames_missing.discard(room.channel)
            room.nicknames.restore()

    async def release(self) -> None:
        """Gives the leases back; where that fails they run out by themselves."""
        self.has_ended = True
        with contextlib.suppress(Unavailable, RedisError, TimeoutError):
            async with asyncio.timeout(self._timings.lease_renewal):
                await asyncio.gather(*(self._broker.presence.release_lease(channel) for channel in self._rooms))

    async def _renew(self) -> dict[str, Renewal]:
        """The answers, but for channels that are damaged: there it waits for an operator, and is said."""
        answers = await asyncio.gather(*(self._renew_one(channel) for channel in self._rooms))
        if self.damaged:
            self._damage.report(TypeError(", ".join(key for keys in self.damaged.values() for key in keys)))
        else:
            self._damage.resolve()
        return {channel: answer for channel, answer in zip(self._rooms, answers, strict=True) if answer is not None}

    async def _renew_one(self, channel: str) -> Renewal | None:
        damage = self._broker.inbox.find_damage(channel)
        renewed = self._broker.presence.renew_lease(channel, self._timings.lease)
        keys, renewal = await asyncio.gather(damage, renewed, return_exceptions=True)
        if isinstance(keys, BaseException):
            raise keys
        if keys:
            self.damaged[channel] = keys
            return None
        self.damaged.pop(channel, None)
        if isinstance(renewal, BaseException):
            raise renewal
        return renewal

    @property
    def intact_until(self) -> float:
        """What happened before that time, Redis has not lost."""
        return self._renewed_at - self._timings.redis_loss

    async def renew_lost(self, channel: str) -> None:
        """Renews a lease at once, and has every front told that Redis has lost something.

        Raises:
            ConnectionError, Unavailable, RedisError: it could not be asked.
        """
        await self._broker.presence.renew_lease(channel, self._timings.lease, is_state_lost=True)
