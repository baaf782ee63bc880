"""Who may come in: bounds on requests and connections, by address and in all, each with its HTTP status."""

import math
from http import HTTPStatus
from ipaddress import ip_address
from typing import NamedTuple

from gischat.front.door.addresses import counted_as
from gischat.front.door.rates import Pace, Rates, TooOften, Visitors, please_wait
from gischat.front.sockets.drops import Drops
from gischat.metrics import Unwelcome
from gischat.settings import Settings
from gischat.timings import Timings

FULL = "The server is full at the moment. Please try again later."
FULL_HERE = "There are too many connections from your network address. Please try again later."
TOO_MANY_REQUESTS = "There are too many requests from your network address."
KNOWN_ADDRESSES = 4096  # more, and those that need not be known are forgotten


class Refusal(NamedTuple):
    """Why somebody may not come in, for HTTP."""

    status: HTTPStatus
    reason: str
    seconds: int  # after which it is worth another try


class Admission:
    """Who is here, by address."""

    def __init__(self, settings: Settings, drops: Drops, timings: Timings = Timings()) -> None:
        self._come_back = round(timings.come_back)
        self._most = settings.max_connections
        self._most_per_address = settings.max_connections_per_address
        self._drops = drops
        self._rates = Rates(settings)
        self._visitors: dict[str, Visitors] = {}
        self._forget_at = KNOWN_ADDRESSES
        self.connections = 0

    def ask(self, address: str, cost: float = 1.0) -> Refusal | None:
        """Takes a request from an address, unless it is one too many.

        Args:
            cost: how many it counts as.
        """
        visitors = self._from(address)
        wait = visitors.ask(cost)
        if wait <= 0:
            return None
        what = "too many requests from %s%s"
        self._drops.count(Unwelcome.ADDRESS_REQUESTS, what, visitors.address, _hint(address))
        seconds = math.ceil(wait)
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"{TOO_MANY_REQUESTS} {please_wait(seconds)}", seconds)

    def refusal(self, address: str) -> Refusal | None:
        """Why a connection from an address may not `enter` now; None if it may."""
        if 0 < self._most <= self.connections:
            self._drops.count(Unwelcome.CONNECTIONS, "MAX_CONNECTIONS (%d) are open", self._most)
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, FULL, self._come_back)
        visitors = self._from(address)
        if 0 < self._most_per_address <= visitors.connections:
            what = "MAX_CONNECTIONS_PER_ADDRESS (%d) are open from %s%s"
            known = (self._most_per_address, visitors.address, _hint(address))
            self._drops.count(Unwelcome.ADDRESS_CONNECTIONS, what, *known)
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, FULL_HERE, self._come_back)
        return None

    def enter(self, address: str) -> "Entry":
        """A connection has come in; it must leave."""
        visitors = self._from(address)
        visitors.connections += 1
        self.connections += 1
        return Entry(self, visitors)

    def key_of(self, address: str) -> str:
        """What an address counts as, one and the same text for all who come from there."""
        return self._from(address).address

    def leave(self, visitors: Visitors) -> None:
        """One of their connections has ended."""
        visitors.connections -= 1
        self.connections -= 1

    def speak(self, address: str, size: int) -> None:
        """Takes a message that comes from an address without a connection.

        Raises:
            TooOften: it is one too many.
        """
        try:
            self._from(address).speak(size, self._rates.now())
        except TooOften as refusal:
            self._drops.count(refusal.cause, "too many messages from %s%s", counted_as(address), _hint(address))
            raise

    def _from(self, address: str) -> Visitors:
        key = counted_as(address)
        visitors = self._visitors.get(key)
        if visitors is None:
            if len(self._visitors) >= self._forget_at:
                self._forget()
            visitors = self._visitors[key] = Visitors(key, self._rates)
        return visitors

    def _forget(self) -> None:
        """Forgets whom nothing is to be known of. Each time it takes twice as many to do it again, at the least, so
        that a flood of addresses does not make us walk through all of them for each."""
        now = self._rates.now()
        self._visitors = {key: one for key, one in self._visitors.items() if not one.are_forgotten(now)}
        self._forget_at = max(KNOWN_ADDRESSES, 2 * len(self._visitors))


class Entry:
    """A connection's place; it is given back once, however often it leaves."""

    __slots__ = ("_admission", "_visitors", "pace")

    def __init__(self, admission: Admission, visitors: Visitors) -> None:
        self._admission: Admission | None = admission
        self._visitors = visitors
        self.pace = Pace(visitors)

    def leave(self) -> None:
        """The connection has ended."""
        if self._admission is not None:
            self._admission.leave(self._visitors)
            self._admission = None


def _hint(address: str) -> str:
    """What an operator may have forgotten: everybody seems to come from a proxy that is not trusted."""
    return "; if that is a proxy of yours, name it in TRUSTED_PROXIES" if ip_address(address).is_private else ""
