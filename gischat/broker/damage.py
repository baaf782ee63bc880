"""Damage: keys of a wrong type, or with a number that is none. gischat did not write that; an operator repairs it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from gischat.broker.client import Redis
from gischat.broker.keys import ChannelKeys, charges_key
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.namespace import Namespace
from gischat.timings import Timings

DAMAGED = "keys in redis are damaged: remove or restore them"
TURNS = 5  # checks in which each channel has its turn once


async def find_damage(redis: Redis, namespace: Namespace, channels: Iterable[str]) -> dict[str, list[str]]:
    """Find damaged keys, with the field that is no number; returns them by damaged channel, which accepts nothing."""
    kinds = tuple(next(iter(namespace.keys.values())).types.values())
    found = await namespace.run_batched(redis, namespace.scripts.find_damage, channels, _keys, kinds)
    return {channel: [key.decode(errors="replace") for key in keys] for channel, keys in found.items() if keys}


async def find_damaged_extras(redis: Redis, namespace: Namespace) -> list[str]:
    """Find keys of a wrong type that messages do without: streams of live positions, and of the heavy lane's work."""
    keys = [charges_key(namespace.settings.instance_id), *(keys.live for keys in namespace.keys.values())]
    types = await asyncio.gather(*(redis.call("TYPE", key, key=key) for key in keys))
    return [key for key, type in zip(keys, types, strict=True) if type not in (b"none", b"stream")]


def _keys(keys: ChannelKeys) -> Iterable[str]:
    return keys.types


class DamageWatch:
    """Checks the keys of channels, a part of the channels each time; `damaged` are the damaged keys by channel.

    Every process checks them, and marks a damaged channel in Redis, so that all others suspect it at once.
    """

    def __init__(
        self,
        find: Callable[[Iterable[str]], Awaitable[dict[str, list[str]]]],
        channels: Sequence[str],
        message: str,
        timings: Timings,
    ) -> None:
        self._find = find
        self._channels = channels
        self._log = LogThrottle(message, timings, patience=0.0)
        self._turn: int | None = None  # None: nothing has been checked yet
        self.damaged: Mapping[str, list[str]] = {}

    async def check(self, suspects: Iterable[str]) -> None:
        """Check suspected and damaged channels, and those whose turn it is; the first check covers all."""
        turn = self._channels if self._turn is None else self._channels[self._turn :: TURNS]
        await self._check({*suspects, *self.damaged, *turn})
        self._turn = 0 if self._turn is None else (self._turn + 1) % TURNS

    async def check_all(self) -> None:
        """Check all channels."""
        await self._check(self._channels)

    async def _check(self, channels: Iterable[str]) -> None:
        self.damaged = await self._find(channels)
        if self.damaged:
            self._log.report(TypeError(", ".join(key for keys in self.damaged.values() for key in keys)))
        else:
            self._log.resolve()
