"""Connection limiter: limits of requests and connections, per address and in total, with the HTTP status of each."""

import math
from http import HTTPStatus
from ipaddress import ip_address
from typing import NamedTuple

from gischat.front.auth.client_address import address_key
from gischat.front.limits.rate_limit import (
    AddressState,
    ConnectionRateLimiter,
    RateLimitExceeded,
    RateLimits,
    wait_advice,
)
from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import RejectReason
from gischat.settings import Settings
from gischat.timings import Timings

SERVER_FULL = "The server is full at the moment. Please try again later."
ADDRESS_FULL = "There are too many connections from your network address. Please try again later."
TOO_MANY_REQUESTS = "There are too many requests from your network address."
MAX_TRACKED_ADDRESSES = 4096  # beyond that, idle ones are evicted


class Rejection(NamedTuple):
    """Why a request or connection is rejected, for the HTTP response."""

    status: HTTPStatus
    reason: str
    retry_after: int  # seconds


class ConnectionLimiter:
    """Counts a front's connections and limits requests, connections and messages, per address and in total."""

    def __init__(self, settings: Settings, rejections: RejectionLog, timings: Timings = Timings()) -> None:
        self._retry_after = round(timings.retry_after)
        self._max_connections = settings.max_connections
        self._max_per_address = settings.max_connections_per_address
        self._rejections = rejections
        self._rates = RateLimits(settings)
        self._states: dict[str, AddressState] = {}
        self._evict_at = MAX_TRACKED_ADDRESSES
        self.connections = 0

    def check_request(self, address: str, cost: float = 1.0) -> Rejection | None:
        """Count a request from an address; returns a Rejection if it exceeds the limit.

        Args:
            cost: how many requests it counts as.
        """
        visitors = self._state_of(address)
        wait = visitors.allow_request(cost)
        if wait <= 0:
            return None
        what = "too many requests from %s%s"
        self._rejections.record(RejectReason.ADDRESS_REQUESTS, what, visitors.address, _proxy_hint(address))
        seconds = math.ceil(wait)
        return Rejection(HTTPStatus.TOO_MANY_REQUESTS, f"{TOO_MANY_REQUESTS} {wait_advice(seconds)}", seconds)

    def check_connection(self, address: str) -> Rejection | None:
        """Why a connection from an address must be rejected; None if it may `acquire` a permit."""
        if 0 < self._max_connections <= self.connections:
            self._rejections.record(RejectReason.CONNECTIONS, "MAX_CONNECTIONS (%d) reached", self._max_connections)
            return Rejection(HTTPStatus.SERVICE_UNAVAILABLE, SERVER_FULL, self._retry_after)
        visitors = self._state_of(address)
        if 0 < self._max_per_address <= visitors.connections:
            what = "MAX_CONNECTIONS_PER_ADDRESS (%d) reached by %s%s"
            known = (self._max_per_address, visitors.address, _proxy_hint(address))
            self._rejections.record(RejectReason.ADDRESS_CONNECTIONS, what, *known)
            return Rejection(HTTPStatus.TOO_MANY_REQUESTS, ADDRESS_FULL, self._retry_after)
        return None

    def acquire(self, address: str) -> "ConnectionPermit":
        """Count a new connection; its permit must be released when it ends."""
        visitors = self._state_of(address)
        visitors.connections += 1
        self.connections += 1
        return ConnectionPermit(self, visitors)

    def key_of(self, address: str) -> str:
        """The key under which an address is counted; the same string object for all its connections."""
        return self._state_of(address).address

    def release(self, visitors: AddressState) -> None:
        """Uncount a connection of an address; called by its permit."""
        visitors.connections -= 1
        self.connections -= 1

    def check_message(self, address: str, size: int) -> None:
        """Count a message that an address sent without a websocket (by PUT).

        Raises:
            RateLimitExceeded: the address exceeds its limit.
        """
        try:
            self._state_of(address).acquire_message(size, self._rates.now())
        except RateLimitExceeded as refusal:
            self._rejections.record(
                refusal.cause, "too many messages from %s%s", address_key(address), _proxy_hint(address)
            )
            raise

    def _state_of(self, address: str) -> AddressState:
        key = address_key(address)
        visitors = self._states.get(key)
        if visitors is None:
            if len(self._states) >= self._evict_at:
                self._evict_idle()
            visitors = self._states[key] = AddressState(key, self._rates)
        return visitors

    def _evict_idle(self) -> None:
        """Drop idle addresses. The threshold is at least doubled each time, so that a flood of addresses does not cause
        a scan of all of them for each new one."""
        now = self._rates.now()
        self._states = {key: one for key, one in self._states.items() if not one.is_idle(now)}
        self._evict_at = max(MAX_TRACKED_ADDRESSES, 2 * len(self._states))


class ConnectionPermit:
    """A connection's slot in the limiter; `release` is idempotent."""

    __slots__ = ("_limiter", "_state", "rate_limiter")

    def __init__(self, admission: ConnectionLimiter, visitors: AddressState) -> None:
        self._limiter: ConnectionLimiter | None = admission
        self._state = visitors
        self.rate_limiter = ConnectionRateLimiter(visitors)

    def release(self) -> None:
        """Give back the slot when the connection has ended."""
        if self._limiter is not None:
            self._limiter.release(self._state)
            self._limiter = None


def _proxy_hint(address: str) -> str:
    """A hint for the operator's log: with an untrusted proxy, all clients seem to have its private address."""
    return "; if that is a proxy of yours, name it in TRUSTED_PROXIES" if ip_address(address).is_private else ""
