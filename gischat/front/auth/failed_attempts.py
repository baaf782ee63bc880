"""Counts failed attempts (wrong tokens and keys) by address."""

import time
from collections import OrderedDict
from typing import NamedTuple

from gischat.front.auth.client_address import address_key

MAX_FAILURES = 10  # per address and minute; then the address is locked out until the minute is over
MAX_TRACKED_ADDRESSES = 10_000  # beyond that, the oldest is dropped


class Failures(NamedTuple):
    """The number of failed attempts of an address, and the time of the first one."""

    number: int
    since: float


class FailedAttempts:
    """The failed attempts of all addresses."""

    def __init__(self, seconds: float) -> None:
        """Create the counter; `seconds` is the window for counting, and the time of a lockout."""
        self._seconds = seconds
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def retry_after(self, address: str) -> int:
        """Seconds until an address may try again; 0 if it may now."""
        failures = self._failures.get(address_key(address))
        if failures is None or failures.number < MAX_FAILURES:
            return 0
        return max(0, int(failures.since + self._seconds - time.monotonic() + 1))

    def record(self, address: str) -> None:
        """Count a failed attempt."""
        key, at = address_key(address), time.monotonic()
        before = self._failures.pop(key, None)
        if before is None or at - before.since > self._seconds:
            before = Failures(0, at)
        self._failures[key] = Failures(before.number + 1, before.since)
        if len(self._failures) > MAX_TRACKED_ADDRESSES:
            self._failures.popitem(last=False)
