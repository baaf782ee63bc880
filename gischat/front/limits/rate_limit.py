"""Rate limits: token buckets of n per minute with a burst of n, as GCRA.

The state of a bucket is one number, the time at which it is full again (virtual scheduling, ITU-T I.371's generic cell
rate algorithm). So idle connections cost nothing, and no timer refills buckets.
"""

import asyncio
import math

from gischat.errors import RefusalReason, Unavailable
from gischat.settings import Settings

SECONDS = 60.0
UNIT_BYTES = 2**17  # of a frame count as one more message: large frames cost more, whatever they contain
REFUSALS_PER_MINUTE = 100  # answered per connection; a connection that exceeds it is closed
# Refusals of all connections of an address before they are read more slowly. A refusal costs as much as a text, and an
# attacker may have thousands of connections. But an office or a conference hall is one address, too: the limit allows a
# hundred people one invalid message per second each, or two thousand people three per minute. Beyond it, each further
# one delays its sender by a second, which does no harm.
ADDRESS_REFUSALS_PER_MINUTE = 6000
PAUSE_SECONDS = 1.0

TOO_MANY_MESSAGES = "You are sending too fast: this message was not sent."
TOO_MANY_HEAVY_MESSAGES = "You are sending too many images and layers: this one was not sent."
TOO_MANY_FROM_ADDRESS = "Too much is being sent from your network address: this message was not sent."
LIMIT_EXCEEDED_REPEATEDLY = "You went on sending too fast after you were told to wait."


class RateLimitExceeded(Unavailable):
    """A rate limit is exceeded; the reason says how long to wait."""

    def __init__(self, cause: RefusalReason, reason: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"{reason} {wait_advice(self.seconds)}", cause)


def wait_advice(seconds: int) -> str:
    """The sentence that tells a user how long to wait."""
    return f"Please wait {seconds} second{'s' if seconds > 1 else ''}."


class TokenBucket:
    """A limit per minute; 0 is no limit.

    It is stateless: each limited client keeps the time at which its bucket is full again, initially 0.
    """

    __slots__ = ("_each", "_room")

    def __init__(self, per_minute: int) -> None:
        self._each = SECONDS / per_minute if per_minute else 0.0
        self._room = SECONDS - self._each + 1e-6  # tolerance for rounding errors

    def delay(self, full_at: float, now: float) -> float:
        """Seconds until the next one is allowed; 0 or less if it is allowed now."""
        return full_at - now - self._room

    def acquire(self, full_at: float, now: float, number: float = 1.0) -> float:
        """The new `full_at` after taking `number` tokens. Taking more than available delays the next one."""
        return max(full_at, now) + number * self._each


class RateLimits:
    """The rate limits of a front."""

    def __init__(self, settings: Settings) -> None:
        self.now = asyncio.get_running_loop().time
        self.messages = TokenBucket(settings.max_messages_per_minute)
        self.heavy = TokenBucket(settings.max_heavy_per_minute)
        self.refusals = TokenBucket(REFUSALS_PER_MINUTE)
        self.address_refusals = TokenBucket(ADDRESS_REFUSALS_PER_MINUTE)
        self.address_messages = TokenBucket(settings.max_address_messages_per_minute)
        self.address_requests = TokenBucket(settings.max_address_requests_per_minute)
        self.hooks = TokenBucket(settings.max_hook_messages_per_minute)


class AddressState:
    """The state of one address: the number of its connections, and its rate limits."""

    __slots__ = ("_messages", "_refusals", "_requests", "address", "connections", "limits")

    def __init__(self, address: str, rates: RateLimits) -> None:
        self.address = address
        self.limits = rates
        self.connections = 0
        self._messages = 0.0
        self._refusals = 0.0
        self._requests = 0.0

    def allow_request(self, cost: float = 1.0) -> float:
        """Count a request if the limit allows it; returns the seconds to wait, 0 or less if it was allowed.

        Args:
            cost: how many requests it counts as.
        """
        now, rate = self.limits.now(), self.limits.address_requests
        wait = rate.delay(self._requests, now)
        if wait <= 0:
            self._requests = rate.acquire(self._requests, now, cost)
        return wait

    def acquire_message(self, size: int, now: float) -> None:
        """Count a message of `size` bytes.

        Raises:
            RateLimitExceeded: the address exceeds its limit.
        """
        rate = self.limits.address_messages
        wait = rate.delay(self._messages, now)
        if wait > 0:
            raise RateLimitExceeded(RefusalReason.ADDRESS_RATE_LIMIT, TOO_MANY_FROM_ADDRESS, wait)
        self._messages = rate.acquire(self._messages, now, 1 + size // UNIT_BYTES)

    def record_refusal(self) -> float:
        """Count a refusal; returns the seconds for which reading from its connection must pause, mostly 0."""
        now, rate = self.limits.now(), self.limits.address_refusals
        if rate.delay(self._refusals, now) > 0:
            return PAUSE_SECONDS
        self._refusals = rate.acquire(self._refusals, now)
        return 0.0

    def is_idle(self, now: float) -> bool:
        """Whether the address has no connections and full buckets, so that its state can be dropped."""
        return not self.connections and max(self._messages, self._refusals, self._requests) <= now


class ConnectionRateLimiter:
    """The rate limits of one connection."""

    __slots__ = ("_address_state", "_heavy", "_limits", "_messages", "_refusals")

    def __init__(self, visitors: AddressState) -> None:
        self._address_state = visitors
        self._limits = visitors.limits
        self._messages = 0.0
        self._heavy = 0.0
        self._refusals = 0.0

    @property
    def address_key(self) -> str:
        """The key under which the connection's address is counted; one string object for all its connections."""
        return self._address_state.address

    def acquire_message(self, size: int) -> None:
        """Count a frame of about `size` bytes (characters will do) before it is parsed.

        Raises:
            RateLimitExceeded: the connection or its address exceeds its limit.
        """
        rates = self._limits
        now = rates.now()
        wait = rates.messages.delay(self._messages, now)
        if wait > 0:
            raise RateLimitExceeded(RefusalReason.RATE_LIMIT, TOO_MANY_MESSAGES, wait)
        self._address_state.acquire_message(size, now)
        self._messages = rates.messages.acquire(self._messages, now, 1 + size // UNIT_BYTES)

    def acquire_heavy(self) -> None:
        """Count a message of the heavy lane, in addition to its frame.

        Raises:
            RateLimitExceeded: the connection exceeds its limit.
        """
        now, rate = self._limits.now(), self._limits.heavy
        wait = rate.delay(self._heavy, now)
        if wait > 0:
            raise RateLimitExceeded(RefusalReason.HEAVY_RATE_LIMIT, TOO_MANY_HEAVY_MESSAGES, wait)
        self._heavy = rate.acquire(self._heavy, now)

    def record_refusal(self) -> float:
        """See `AddressState.record_refusal`."""
        return self._address_state.record_refusal()

    def limit_exceeded_repeatedly(self) -> bool:
        """Count a refusal for the rate limit; returns whether there were too many, so that the connection is closed."""
        now, rate = self._limits.now(), self._limits.refusals
        if rate.delay(self._refusals, now) > 0:
            return True
        self._refusals = rate.acquire(self._refusals, now)
        return False
