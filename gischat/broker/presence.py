"""Who is in a channel: leases of fronts, user counts, registered nicknames; and the removal of dead fronts."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.namespace import Namespace
from gischat.identity import identity, is_gone
from gischat.protocol.messages import new_id


class Renewal(NamedTuple):
    """What Redis answers to a front that renews its lease."""

    was_known: bool  # if not, Redis has lost what the front had told it
    offset: int  # how many publications the channel has seen
    had_expired: bool = False  # the lease had run out: meanwhile the front did not count
    connections: int = 0  # that the front has, as Redis knows
    nicknames: int = 0  # so


class Presence:
    """The presence of an instance, for the participant `front`, whose lease it renews. (A worker has none.)"""

    def __init__(self, namespace: Namespace, front: str, redis: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._front = front
        self._redis = redis

    @cached_property
    def _process(self) -> str:
        return identity()

    async def renew_lease(self, channel: str, lease: float, *, is_forgotten: bool = False) -> Renewal:
        """Shows that this front is alive, for `lease` seconds.

        Args:
            is_forgotten: Redis has lost what this front has said or heard; it says it again now.
        """
        keys = self._keys[channel].for_presence()
        arguments = (self._front, int(lease * 1000), int(is_forgotten), self._process)
        known, offset, had_expired, connections, nicknames = await self._redis.run(
            self._scripts.renew_lease, keys, arguments
        )
        return Renewal(bool(known), offset, bool(had_expired), connections, nicknames)

    async def release_lease(self, channel: str) -> None:
        """Ends this front's lease: it has told that all of its connections are gone."""
        await self._redis.run(self._scripts.release_lease, self._keys[channel].for_presence(), (self._front,))

    async def release_leases_of_dead_fronts(self, channel: str) -> int:
        """Ends the leases of fronts that ran on this machine and run no more; returns how many there were.

        Their nicknames are free from then on, and a worker removes the rest of them soon.
        """
        keys = self._keys[channel]
        known = await self._redis.call("HGETALL", keys.processes, key=keys.processes)
        gone = [front for front, process in zip(known[::2], known[1::2], strict=True) if is_gone(process.decode())]
        for front in gone:
            await self._redis.call("ZADD", keys.fronts, "XX", 0, front, key=keys.fronts)
        return len(gone)

    async def user_counts(self, channels: Sequence[str]) -> list[int]:
        """Connections in each channel, over all living fronts."""
        asked = [self._redis.run(self._scripts.user_count, self._keys[name].for_script(), ()) for name in channels]
        return list(await asyncio.gather(*asked))

    async def nicknames(self, channel: str) -> list[str]:
        """The registered nicknames as their holders write them, in no order."""
        key = self._keys[channel].nicknames_by_connection
        held = await self._redis.call("HGETALL", key, key=key)
        return [nickname.decode().rpartition(" ")[2] for nickname in held[1::2]]

    async def expired_fronts(self, channel: str) -> list[str]:
        """Fronts whose lease has run out."""
        keys = self._keys[channel].for_script()
        return [front.decode() for front in await self._redis.run(self._scripts.dead_fronts, keys, ())]

    async def reap(self, channel: str, front: str) -> bool:
        """Removes a dead front's connections and tells the channel; False when it is alive, or was removed before."""
        keys = self._keys[channel].for_presence()
        return bool(await self._redis.run(self._scripts.reap, keys, (front, new_id())))

    async def repair_nicknames(self, channel: str, lease: float, *, is_thorough: bool) -> bool:
        """Repairs who has which nickname where a key of a channel was lost; whether something was wrong."""
        keys = self._keys[channel].for_presence()
        return bool(await self._redis.run(self._scripts.repair_nicknames, keys, (int(lease * 1000), int(is_thorough))))
