"""This front's sign of life in each channel.

Redis holds for every front a lease. While it is renewed, the front's connections count; when it runs out, a worker
removes them. A lease that Redis does not know (it was flushed or replaced, or this process was frozen for too long)
means that counts and nicknames have to be told again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from gischat.errors import Refused
from gischat.front.channel.rooms import Room
from gischat.front.channel.subscriber import Subscriber
from gischat.front.jobs.gateway import Gateway, Renewal
from gischat.front.jobs.turnstile import Turnstiles
from gischat.streams.answers import RedisError
from gischat.streams.complaint import Complaint, described
from gischat.timings import Timings

log = logging.getLogger(__name__)


class Presence:
    """Renews the leases of a front, and sees by the answers whether Redis has lost it, or it Redis."""

    def __init__(
        self,
        gateway: Gateway,
        rooms: Mapping[str, Room],
        turnstiles: Turnstiles,
        subscriber: Subscriber,
        timings: Timings = Timings(),
    ) -> None:
        self._gateway = gateway
        self._rooms = rooms
        self._turnstiles = turnstiles
        self._subscriber = subscriber
        self._timings = timings
        self._has_ended = False
        self._renewed_at = 0.0  # when Redis was last known to be what it was
        self.damaged: dict[str, list[str]] = {}  # by channel, the keys of a wrong type
        self._damage = Complaint("keys in redis are damaged, and have to be removed or restored", timings, patience=0.0)
        self._short_of_nicknames: set[str] = set()  # channels where Redis had fewer of ours than are here
        self._looking: dict[str, asyncio.Task[None]] = {}
        turnstiles.forgotten = self._look

    async def begin(self) -> None:
        """The first lease, which must be there before the first connection; waits for Redis.

        A front that was killed on this machine, and whose place this one takes, leaves no ghosts behind for as long as
        its lease would last.
        """
        while True:
            try:
                await self._renew()
                for channel in self._rooms.keys() - self.damaged:
                    if await self._gateway.end_leases_of_the_gone(channel):
                        log.info("ended the lease of a front that is gone", extra={"channel": channel})
                return
            except (Refused, RedisError):
                log.debug("waiting for redis")
                await asyncio.sleep(self._timings.lease_renewal)

    async def run(self) -> None:
        """Renews until it has ended.

        Raises:
            Deaf: this front does not hear, whatever it tries.
        """
        while True:
            await asyncio.sleep(self._timings.lease_renewal)
            if self._has_ended:
                return
            heard = {channel: room.published for channel, room in self._rooms.items()}
            try:
                renewals = await self._renew()
            except Refused:
                continue  # the connection itself says what is wrong with it
            except RedisError as error:
                log.debug("the leases could not be renewed: %s", error)
                continue
            for channel, renewal in renewals.items():
                if not renewal.was_known or renewal.published < heard[channel]:
                    self._look(channel)
                elif renewal.had_lapsed or self._rooms[channel].head_count.differs_from(renewal.connections):
                    # Redis was away for long, or this process frozen: what was told meanwhile left it out. Or it was
                    # lost.
                    self._rooms[channel].head_count.tell_again()
                self._miss_nicknames(self._rooms[channel], renewal.nicknames)
            self._renewed_at = asyncio.get_running_loop().time()
            published = {channel: renewal.published for channel, renewal in renewals.items()}
            for channel in self._subscriber.compare(heard, published):
                await self._go_back(channel, published[channel])

    async def _go_back(self, channel: str, published: int) -> None:
        try:
            await self._subscriber.go_back(channel)
            await self._subscriber.skip_missing(channel, published)
        except (ConnectionError, Refused, RedisError) as error:
            log.warning("an outbox could not be looked at: %s", described(error), extra={"channel": channel})

    def _miss_nicknames(self, room: Room, registered: int) -> None:
        """Registers those again that Redis has lost; one look may come amid an exit, two do not."""
        here = sum(member.nickname is not None for member in room.connections.values())
        if here <= registered:
            self._short_of_nicknames.discard(room.channel)
        elif room.channel not in self._short_of_nicknames:
            self._short_of_nicknames.add(room.channel)
        else:
            self._short_of_nicknames.discard(room.channel)
            for member in room.connections.values():
                member.restore()

    async def end(self) -> None:
        """Gives the leases back; where that fails they run out by themselves."""
        self._has_ended = True
        with contextlib.suppress(Refused, RedisError, TimeoutError):
            async with asyncio.timeout(self._timings.lease_renewal):
                await asyncio.gather(*(self._gateway.resign(channel) for channel in self._rooms))

    async def _renew(self) -> dict[str, Renewal]:
        """The answers, but for channels that are damaged: there it waits for an operator, and is said."""
        answers = await asyncio.gather(*(self._renew_one(channel) for channel in self._rooms))
        if self.damaged:
            self._damage.make(TypeError(", ".join(key for keys in self.damaged.values() for key in keys)))
        else:
            self._damage.settle()
        return {channel: answer for channel, answer in zip(self._rooms, answers, strict=True) if answer is not None}

    async def _renew_one(self, channel: str) -> Renewal | None:
        damage = self._gateway.damage(channel)
        renewed = self._gateway.renew(channel, self._timings.lease)
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

    def _look(self, channel: str) -> None:
        """Renews a lease at once, and tells what Redis is known to have lost."""
        if channel not in self._looking and not self._has_ended:
            since = self._renewed_at - self._timings.redis_loss
            task = self._looking[channel] = asyncio.create_task(self._renew_and_tell(channel, since))
            task.add_done_callback(lambda _: self._looking.pop(channel))

    async def _renew_and_tell(self, channel: str, since: float) -> None:
        try:
            await self._gateway.renew(channel, self._timings.lease, is_forgotten=True)
            await self._subscriber.go_back(channel)
        except (ConnectionError, Refused, RedisError) as error:
            log.warning("what redis has lost could not be told again: %s", described(error), extra={"channel": channel})
        else:
            self._tell_again(self._rooms[channel], since)

    def _tell_again(self, room: Room, since: float) -> None:
        connections = len(room.connections)
        log.warning("redis had lost this front in a channel", extra={"channel": room.channel, "here": connections})
        room.begin_anew()
        self._turnstiles.repeat(room.channel, since)
        room.head_count.tell_again()
        for connection in room.connections.values():
            connection.restore()
        room.forgotten()
