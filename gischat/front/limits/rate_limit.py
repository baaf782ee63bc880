"""How often is too often.

A limit is so much in a minute, all at once if it comes so: a token bucket that a minute fills. Its whole state is the
time at which it is full again (the virtual scheduling of ITU-T I.371's generic cell rate algorithm), so that a
connection that says nothing costs nothing, and nothing has to be filled.
"""

import asyncio
import math

from gischat.errors import RefusalReason, Unavailable
from gischat.settings import Settings

SECONDS = 60.0
UNIT_BYTES = 2**17  # of a frame are another message's worth: large ones cost more, whatever is in them
REFUSALS_PER_MINUTE = 100  # of one connection, each of them answered; who goes on after so many is closed
# Of all connections of an address, for whatever reason, before they are read more slowly. A refusal costs as much as a
# text, and an attacker has thousands of connections. But an office or a conference hall is one address, too: a hundred
# people who are wrong once a second, all the time, or two thousand three times a minute, are within it. And more than
# that delays whoever is wrong by a second, which is no harm.
ADDRESS_REFUSALS_PER_MINUTE = 6000
PAUSE_SECONDS = 1.0

TOO_MANY_MESSAGES = "You are sending too fast: this message was not sent."
TOO_MANY_HEAVY_MESSAGES = "You are sending too many images and layers: this one was not sent."
TOO_MANY_FROM_ADDRESS = "Too much is being sent from your network address: this message was not sent."
LIMIT_EXCEEDED_REPEATEDLY = "You went on sending too fast after you were told to wait."


class RateLimitExceeded(Unavailable):
    """A limit is reached; the reason says for how long."""

    def __init__(self, cause: RefusalReason, reason: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"{reason} {wait_advice(self.seconds)}", cause)


def wait_advice(seconds: int) -> str:
    """The same words wherever somebody is told when to go on."""
    return f"Please wait {seconds} second{'s' if seconds > 1 else ''}."


class TokenBucket:
    """A limit of so many in a minute; 0 is none.

    It has no state: who is limited keeps the time at which its bucket is full again, which begins as 0.
    """

    __slots__ = ("_each", "_room")

    def __init__(self, per_minute: int) -> None:
        self._each = SECONDS / per_minute if per_minute else 0.0
        self._room = SECONDS - self._each + 1e-6  # floats do not add up to a minute

    def delay(self, full_at: float, now: float) -> float:
        """Seconds until another may come; 0 or less when it may come now."""
        return full_at - now - self._room

    def acquire(self, full_at: float, now: float, number: float = 1.0) -> float:
        """When the bucket is full again after so many are taken.

        More than there are may be taken: what is owed delays the next.
        """
        return max(full_at, now) + number * self._each


class RateLimits:
    """The limits of a front."""

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
    """All who come from one address: connections, bots, browsers."""

    __slots__ = ("_messages", "_refusals", "_requests", "address", "connections", "limits")

    def __init__(self, address: str, rates: RateLimits) -> None:
        self.address = address
        self.limits = rates
        self.connections = 0
        self._messages = 0.0
        self._refusals = 0.0
        self._requests = 0.0

    def allow_request(self, cost: float = 1.0) -> float:
        """Takes a request, if one may come; returns the seconds to wait, 0 or less if it was taken.

        Args:
            cost: how many it counts as.
        """
        now, rate = self.limits.now(), self.limits.address_requests
        wait = rate.delay(self._requests, now)
        if wait <= 0:
            self._requests = rate.acquire(self._requests, now, cost)
        return wait

    def acquire_message(self, size: int, now: float) -> None:
        """Takes a message of so many bytes.

        Raises:
            RateLimitExceeded: it is one too many.
        """
        rate = self.limits.address_messages
        wait = rate.delay(self._messages, now)
        if wait > 0:
            raise RateLimitExceeded(RefusalReason.ADDRESS_RATE_LIMIT, TOO_MANY_FROM_ADDRESS, wait)
        self._messages = rate.acquire(self._messages, now, 1 + size // UNIT_BYTES)

    def record_refusal(self) -> float:
        """Notes that something was refused; returns for how many seconds its connection is read no more, mostly 0."""
        now, rate = self.limits.now(), self.limits.address_refusals
        if rate.delay(self._refusals, now) > 0:
            return PAUSE_SECONDS
        self._refusals = rate.acquire(self._refusals, now)
        return 0.0

    def is_idle(self, now: float) -> bool:
        """Whether nothing is to be known of them any more."""
        return not self.connections and max(self._messages, self._refusals, self._requests) <= now


class ConnectionRateLimiter:
    """How fast one connection speaks."""

    __slots__ = ("_address_state", "_heavy", "_limits", "_messages", "_refusals")

    def __init__(self, visitors: AddressState) -> None:
        self._address_state = visitors
        self._limits = visitors.limits
        self._messages = 0.0
        self._heavy = 0.0
        self._refusals = 0.0

    @property
    def address_key(self) -> str:
        """The network that the connection's address counts as, one and the same text for all who come from there."""
        return self._address_state.address

    def acquire_message(self, size: int) -> None:
        """Takes a frame of so many bytes (about: characters will do) before anybody looks into it.

        Raises:
            RateLimitExceeded: it is one too many, of this connection or of its address.
        """
        rates = self._limits
        now = rates.now()
        wait = rates.messages.delay(self._messages, now)
        if wait > 0:
            raise RateLimitExceeded(RefusalReason.RATE_LIMIT, TOO_MANY_MESSAGES, wait)
        self._address_state.acquire_message(size, now)
        self._messages = rates.messages.acquire(self._messages, now, 1 + size // UNIT_BYTES)

    def acquire_heavy(self) -> None:
        """Takes what the frame holds, when that is work for the heavy lane.

        Raises:
            RateLimitExceeded: it is one too many.
        """
        now, rate = self._limits.now(), self._limits.heavy
        wait = rate.delay(self._heavy, now)
        if wait > 0:
            raise RateLimitExceeded(RefusalReason.HEAVY_RATE_LIMIT, TOO_MANY_HEAVY_MESSAGES, wait)
        self._heavy = rate.acquire(self._heavy, now)

    def record_refusal(self) -> float:
        """See `AddressState.refuse`."""
        return self._address_state.record_refusal()

    def limit_exceeded_repeatedly(self) -> bool:
        """Notes that something was refused for being too often; whether that has been said often enough."""
        now, rate = self._limits.now(), self._limits.refusals
        if rate.delay(self._refusals, now) > 0:
            return True
        self._refusals = rate.acquire(self._refusals, now)
        return False
