"""Who may moderate: whoever has the token. A wrong one is answered slowly, and an address that tries many is not heard
for a while: not even with the right one, or guessing would cost nothing.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from gischat import bearer
from gischat.front.door.addresses import counted_as
from gischat.timings import Timings

WRONG_AT_ONCE = 50  # wrong tokens whose answers wait at the same time; beyond, the answer comes at once
WRONG_TOKENS = 10  # of one address, in a minute; then it has to wait until that is over
ADDRESSES = 10_000  # that are remembered


class Attempts(NamedTuple):
    """How many wrong tokens came from an address since a time."""

    number: int
    since: float


class Doorkeeper:
    """Knows the token, and who has tried to guess it. Without a token it admits nobody."""

    def __init__(self, token: str, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._digests = [bearer.digest(token)] if token else []
        self._waiting = 0
        self._attempts: OrderedDict[str, Attempts] = OrderedDict()

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request's headers bear the token."""
        return bearer.is_one(bearer.shown(headers), self._digests)

    def seconds_to_wait(self, address: str) -> int:
        """How long nothing is heard from an address; 0: it is heard."""
        attempts = self._attempts.get(counted_as(address))
        if attempts is None or attempts.number < WRONG_TOKENS:
            return 0
        return max(0, int(attempts.since + self._timings.wrong_tokens - time.monotonic() + 1))

    async def turn_away(self, address: str) -> None:
        """Counts a wrong token, and lets its sender wait."""
        self._count(counted_as(address))
        if self._waiting >= WRONG_AT_ONCE:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(self._timings.wrong_token)
        finally:
            self._waiting -= 1

    def _count(self, address: str) -> None:
        at = time.monotonic()
        before = self._attempts.pop(address, None)
        if before is None or at - before.since > self._timings.wrong_tokens:
            before = Attempts(0, at)
        self._attempts[address] = Attempts(before.number + 1, before.since)
        if len(self._attempts) > ADDRESSES:
            self._attempts.popitem(last=False)
