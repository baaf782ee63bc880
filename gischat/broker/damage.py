"""Damage: keys of a wrong type, which gischat did not write. An operator has to remove or restore them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from gischat.broker.client import Redis
from gischat.broker.keys import ChannelKeys
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.namespace import Namespace
from gischat.timings import Timings

TURNS = 5  # checks in which each channel has its turn once


async def find_damage(redis: Redis, namespace: Namespace, channels: Iterable[str]) -> dict[str, list[str]]:
    """Find keys of a wrong type; returns them by damaged channel. Until they are removed, it accepts nothing."""
    kinds = tuple(next(iter(namespace.keys.values())).types.values())
    found = await namespace.run_batched(redis, namespace.scripts.find_damage, channels, _keys, kinds)
    return {channel: [key.decode() for key in keys] for channel, keys in found.items() if keys}


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
