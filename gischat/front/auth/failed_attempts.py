"""Counts, by address, the wrong secrets that somebody shows."""

import time
from collections import OrderedDict
from typing import NamedTuple

from gischat.front.auth.client_address import address_key

MAX_FAILURES = 10  # of one address, in a minute; then it has to wait until that is over
MAX_TRACKED_ADDRESSES = 10_000  # that are remembered


class Failures(NamedTuple):
    """How many wrong secrets came from an address since a time."""

    number: int
    since: float


class FailedAttempts:
    """Who has tried to guess."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: for which failures count, and an address has to wait that has too many.
        """
        self._seconds = seconds
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def retry_after(self, address: str) -> int:
        """Seconds until an address may try again; 0: it may."""
        failures = self._failures.get(address_key(address))
        if failures is None or failures.number < MAX_FAILURES:
            return 0
        return max(0, int(failures.since + self._seconds - time.monotonic() + 1))

    def record(self, address: str) -> None:
        """One more from there."""
        key, at = address_key(address), time.monotonic()
        before = self._failures.pop(key, None)
        if before is None or at - before.since > self._seconds:
            before = Failures(0, at)
        self._failures[key] = Failures(before.number + 1, before.since)
        if len(self._failures) > MAX_TRACKED_ADDRESSES:
            self._failures.popitem(last=False)
