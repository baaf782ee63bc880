"""How often is too often.

A limit is so much in a minute, all at once if it comes so: a token bucket that a minute fills. Its whole state is the
time at which it is full again (the virtual scheduling of ITU-T I.371's generic cell rate algorithm), so that a
connection that says nothing costs nothing, and nothing has to be filled.
"""

import asyncio
import math

from gischat.errors import Cause, Refused
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

TOO_FAST = "You are sending too fast: this message was not sent."
TOO_HEAVY = "You are sending too many images and layers: this one was not sent."
TOO_MANY_HERE = "Too much is being sent from your network address: this message was not sent."
WENT_ON = "You went on sending too fast after you were told to wait."


class TooOften(Refused):
    """A limit is reached; the reason says for how long."""

    def __init__(self, cause: Cause, reason: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"{reason} {please_wait(self.seconds)}", cause)


def please_wait(seconds: int) -> str:
    """The same words wherever somebody is told when to go on."""
    return f"Please wait {seconds} second{'s' if seconds > 1 else ''}."


class Rate:
    """A limit of so many in a minute; 0 is none.

    It has no state: who is limited keeps the time at which its bucket is full again, which begins as 0.
    """

    __slots__ = ("_each", "_room")

    def __init__(self, per_minute: int) -> None:
        self._each = SECONDS / per_minute if per_minute else 0.0
        self._room = SECONDS - self._each + 1e-6  # floats do not add up to a minute

    def wait(self, full_at: float, now: float) -> float:
        """Seconds until another may come; 0 or less when it may come now."""
        return full_at - now - self._room

    def take(self, full_at: float, now: float, number: float = 1.0) -> float:
        """When the bucket is full again after so many are taken.

        More than there are may be taken: what is owed delays the next.
        """
        return max(full_at, now) + number * self._each


class Rates:
    """The limits of a front."""

    def __init__(self, settings: Settings) -> None:
        self.now = asyncio.get_running_loop().time
        self.messages = Rate(settings.max_messages_per_minute)
        self.heavy = Rate(settings.max_heavy_per_minute)
        self.refusals = Rate(REFUSALS_PER_MINUTE)
        self.address_refusals = Rate(ADDRESS_REFUSALS_PER_MINUTE)
        self.address_messages = Rate(settings.max_address_messages_per_minute)
        self.address_requests = Rate(settings.max_address_requests_per_minute)


class Visitors:
    """All who come from one address: connections, bots, browsers."""

    __slots__ = ("_messages", "_refusals", "_requests", "address", "connections", "rates")

    def __init__(self, address: str, rates: Rates) -> None:
        self.address = address
        self.rates = rates
        self.connections = 0
        self._messages = 0.0
        self._refusals = 0.0
        self._requests = 0.0

    def ask(self, cost: float = 1.0) -> float:
        """Takes a request, if one may come; returns the seconds to wait, 0 or less if it was taken.

        Args:
            cost: how many it counts as.
        """
        now, rate = self.rates.now(), self.rates.address_requests
        wait = rate.wait(self._requests, now)
        if wait <= 0:
            self._requests = rate.take(self._requests, now, cost)
        return wait

    def speak(self, size: int, now: float) -> None:
        """Takes a message of so many bytes.

        Raises:
            TooOften: it is one too many.
        """
        rate = self.rates.address_messages
        wait = rate.wait(self._messages, now)
        if wait > 0:
            raise TooOften(Cause.ADDRESS_TOO_FAST, TOO_MANY_HERE, wait)
        self._messages = rate.take(self._messages, now, 1 + size // UNIT_BYTES)

    def refuse(self) -> float:
        """Notes that something was refused; returns for how many seconds its connection is read no more, mostly 0."""
        now, rate = self.rates.now(), self.rates.address_refusals
        if rate.wait(self._refusals, now) > 0:
            return PAUSE_SECONDS
        self._refusals = rate.take(self._refusals, now)
        return 0.0

    def are_forgotten(self, now: float) -> bool:
        """Whether nothing is to be known of them any more."""
        return not self.connections and max(self._messages, self._refusals, self._requests) <= now


class Pace:
    """How fast one connection speaks."""

    __slots__ = ("_heavy", "_messages", "_rates", "_refusals", "_visitors")

    def __init__(self, visitors: Visitors) -> None:
        self._visitors = visitors
        self._rates = visitors.rates
        self._messages = 0.0
        self._heavy = 0.0
        self._refusals = 0.0

    @property
    def address_key(self) -> str:
        """The network that the connection's address counts as, one and the same text for all who come from there."""
        return self._visitors.address

    def speak(self, size: int) -> None:
        """Takes a frame of so many bytes (about: characters will do) before anybody looks into it.

        Raises:
            TooOften: it is one too many, of this connection or of its address.
        """
        rates = self._rates
        now = rates.now()
        wait = rates.messages.wait(self._messages, now)
        if wait > 0:
            raise TooOften(Cause.TOO_FAST, TOO_FAST, wait)
        self._visitors.speak(size, now)
        self._messages = rates.messages.take(self._messages, now, 1 + size // UNIT_BYTES)

    def speak_heavily(self) -> None:
        """Takes what the frame holds, when that is work for the heavy lane.

        Raises:
            TooOften: it is one too many.
        """
        now, rate = self._rates.now(), self._rates.heavy
        wait = rate.wait(self._heavy, now)
        if wait > 0:
            raise TooOften(Cause.TOO_HEAVY, TOO_HEAVY, wait)
        self._heavy = rate.take(self._heavy, now)

    def refuse(self) -> float:
        """See `Visitors.refuse`."""
        return self._visitors.refuse()

    def goes_on(self) -> bool:
        """Notes that something was refused for being too often; whether that has been said often enough."""
        now, rate = self._rates.now(), self._rates.refusals
        if rate.wait(self._refusals, now) > 0:
            return True
        self._refusals = rate.take(self._refusals, now)
        return False
