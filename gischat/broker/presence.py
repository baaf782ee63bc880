"""Presence: leases of fronts, user counts, registered nicknames; the reaping of dead fronts."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.keys import ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import WRONG_TYPE, ResponseError
from gischat.identity import identity, is_gone
from gischat.protocol.messages import new_id


class Renewal(NamedTuple):
    """The answer to the renewal of a lease."""

    was_known: bool  # False: Redis has lost the front's state
    offset: int  # of the channel's newest publication
    had_expired: bool = False  # the lease had run out, so user counts did not include the front
    connections: int = 0  # of the front, as stored in Redis
    nicknames: int = 0  # likewise
    is_broken: bool = False  # somebody has found a damaged key

    @classmethod
    def decode(
        cls, known: int, offset: int, had_expired: int, connections: int, nicknames: int, broken: int
    ) -> "Renewal":
        return cls(bool(known), offset, bool(had_expired), connections, nicknames, bool(broken))


class Presence:
    """The presence of an instance, for one participant; `front` is its id and has the lease. (Workers have none.)"""

    def __init__(self, namespace: Namespace, front: str, redis: Redis) -> None:
        self._namespace = namespace
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._front = front
        self._redis = redis

    @cached_property
    def _process(self) -> str:
        return identity()

    async def renew_lease(self, channel: str, lease: float, *, is_state_lost: bool = False) -> Renewal:
        """Extend this front's lease to `lease` seconds from now.

        Args:
            is_state_lost: Redis has lost this front's state; the front sends it again after this call.

        Raises:
            ResponseError: also if a key of the channel has a wrong type.
        """
        renewal = (await self.renew_leases([channel], lease, is_state_lost=is_state_lost))[channel]
        if renewal is None:
            raise ResponseError(f"{WRONG_TYPE} of a key of the channel")
        return renewal

    async def renew_leases(
        self, channels: Iterable[str], lease: float, *, is_state_lost: bool = False
    ) -> dict[str, Renewal | None]:
        """Like `renew_lease`, in many channels; None for one with a damaged key."""
        arguments = (self._front, int(lease * 1000), int(is_state_lost), self._process)
        answers = await self._namespace.run_batched(
            self._redis, self._scripts.renew_lease, channels, ChannelKeys.for_presence, arguments
        )
        return {channel: answer and Renewal.decode(*answer) for channel, answer in answers.items()}

    async def release_lease(self, channel: str) -> None:
        """End this front's lease, after it has reported the end of all its connections."""
        await self._redis.run(self._scripts.release_lease, self._keys[channel].for_presence(), (self._front,))

    async def release_leases_of_dead_fronts(self, channel: str) -> int:
        """End the leases of fronts whose process ran on this machine and has ended; returns their number.

        Their nicknames become free at once; a worker reaps the rest soon.
        """
        keys = self._keys[channel]
        known = await self._redis.call("HGETALL", keys.processes, key=keys.processes)
        gone = [front for front, process in zip(known[::2], known[1::2], strict=True) if is_gone(process.decode())]
        for front in gone:
            await self._redis.call("ZADD", keys.fronts, "XX", 0, front, key=keys.fronts)
        return len(gone)

    async def user_counts(self, channels: Sequence[str]) -> list[int]:
        """Count the connections in each channel, over all living fronts."""
        pending = [self._redis.run(self._scripts.user_count, self._keys[name].for_script(), ()) for name in channels]
        return list(await asyncio.gather(*pending))

    async def nicknames(self, channel: str) -> list[str]:
        """Read the registered nicknames as their holders spell them, unordered."""
        key = self._keys[channel].nicknames_by_connection
        held = await self._redis.call("HGETALL", key, key=key)
        return [nickname.decode().rpartition(" ")[2] for nickname in held[1::2]]

    async def expired_fronts(self, channel: str) -> list[str]:
        """Find fronts whose lease has expired."""
        keys = self._keys[channel].for_script()
        return [front.decode() for front in await self._redis.run(self._scripts.dead_fronts, keys, ())]

    async def reap(self, channel: str, front: str) -> bool:
        """Remove a dead front's connections and publish that; False if it is alive, or was removed before."""
        keys = self._keys[channel].for_presence()
        return bool(await self._redis.run(self._scripts.reap, keys, (front, new_id())))

    async def repair_nicknames(self, channel: str, lease: float, *, is_thorough: bool) -> bool:
        """Repair the nicknames after a key was lost; returns whether something was wrong.

        Args:
            lease: seconds that a front without a lease has to renew it before it is reaped.
            is_thorough: compare the keys' contents; if False, only their sizes, and more if these differ.
        """
        keys = self._keys[channel].for_presence()
        return bool(await self._redis.run(self._scripts.repair_nicknames, keys, (int(lease * 1000), int(is_thorough))))
