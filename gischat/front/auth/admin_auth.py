"""Who may moderate: whoever has the token. A wrong one is answered slowly, and an address that tries many is not heard
for a while: not even with the right one, or guessing would cost nothing.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from gischat import bearer
from gischat.front.auth.client_address import address_key
from gischat.timings import Timings

MAX_DELAYED_REJECTIONS = 50  # wrong tokens whose answers wait at the same time; beyond, the answer comes at once
MAX_FAILURES = 10  # of one address, in a minute; then it has to wait until that is over
MAX_TRACKED_ADDRESSES = 10_000  # that are remembered


class Failures(NamedTuple):
    """How many wrong tokens came from an address since a time."""

    number: int
    since: float


class AdminAuth:
    """Knows the token, and who has tried to guess it. Without a token it admits nobody."""

    def __init__(self, token: str, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._digests = [bearer.digest(token)] if token else []
        self._delayed = 0
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        """Whether a request's headers bear the token."""
        return bearer.matches(bearer.from_headers(headers), self._digests)

    def retry_after(self, address: str) -> int:
        """How long nothing is heard from an address; 0: it is heard."""
        attempts = self._failures.get(address_key(address))
        if attempts is None or attempts.number < MAX_FAILURES:
            return 0
        return max(0, int(attempts.since + self._timings.wrong_tokens - time.monotonic() + 1))

    async def record_failure(self, address: str) -> None:
        """Counts a wrong token, and lets its sender wait."""
        self._count(address_key(address))
        if self._delayed >= MAX_DELAYED_REJECTIONS:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(self._timings.wrong_token)
        finally:
            self._delayed -= 1

    def _count(self, address: str) -> None:
        at = time.monotonic()
        before = self._failures.pop(address, None)
        if before is None or at - before.since > self._timings.wrong_tokens:
            before = Failures(0, at)
        self._failures[address] = Failures(before.number + 1, before.since)
        if len(self._failures) > MAX_TRACKED_ADDRESSES:
            self._failures.popitem(last=False)
