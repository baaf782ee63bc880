"""Degradations: what an operator has to repair although a front accepts clients."""

import contextlib
from collections.abc import Sequence

from gischat.broker.broker import Broker
from gischat.broker.damage import DAMAGED
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.subscription.lease import LeaseKeeper
from gischat.protocol.messages import Lane
from gischat.timings import Timings

NO_HEAVY_WORKER = "pictures and layers wait: is a heavy worker running?"


class Degradations:
    """The degradations of an instance, as one front sees them."""

    def __init__(self, broker: Broker, leases: LeaseKeeper, timings: Timings = Timings()) -> None:
        self._broker = broker
        self._leases = leases
        self._timings = timings
        self._lacks_heavy_worker = False
        self._extras: Sequence[str] = ()  # damaged ones: see `find_damaged_extras`
        self._log = LogThrottle(DAMAGED, timings, patience=0.0)

    async def look(self) -> None:
        """Look for all but damaged channels, which the renewals of the leases reveal."""
        with contextlib.suppress(Unavailable, RedisError):
            await self._look_for_heavy_worker()
            self._extras = await self._broker.inbox.find_damaged_extras()
            if self._extras:
                self._log.report(TypeError(", ".join(self._extras)))
            else:
                self._log.resolve()

    async def _look_for_heavy_worker(self) -> None:
        """Check whether jobs wait in the heavy lane and no worker of it is alive.

        A living worker takes a waiting job of any channel at once, and renews its claim often enough.
        """
        backlogs = await self._broker.inbox.backlogs([Lane.HEAVY])
        patience = self._timings.reclaim_heavy
        self._lacks_heavy_worker = (
            max(one.age for one in backlogs) > patience and min(one.idle for one in backlogs) > patience
        )

    def named(self) -> list[str]:
        """The degradations found, in words for operators."""
        channels = self._leases.damaged.items()
        words = [f"channel {name}: in redis, these keys are damaged: {', '.join(keys)}" for name, keys in channels]
        if self._extras:
            words.append(f"in redis, these keys are damaged, which messages do without: {', '.join(self._extras)}")
        return words + [NO_HEAVY_WORKER] * self._lacks_heavy_worker
