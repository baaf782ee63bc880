"""The connections of a front that are not in a channel, bounded in time and in number.

Such a connection waits for the headers of its first request, handles a request, or is idle after one (keep-alive). Each
of these states has a deadline. Where there are too many connections, an address that has most of them loses one, so
that connections which an attacker holds open (slowloris) end, and those of other people do not.
"""

from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class State(Enum):
    """What a connection does. The first state is evicted first: idle connections may be closed (RFC 9112 §9.5)."""

    IDLE = "idle"  # after a request
    PENDING = "pending"  # before the headers of a first request
    BUSY = "busy"  # during a request


class PendingConnections(Generic[Connection]):
    """Connections by state, each until a deadline."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        """Create an empty collection.

        Args:
            most: maximum number of connections; 0: no limit.
            now: the time in seconds, on the clock of the deadlines.
        """
        self._most = most
        self._now = now
        self._deadlines: dict[State, dict[Connection, float]] = {state: {} for state in State}  # the oldest first
        self._addresses: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._addresses

    def number_in(self, *states: State) -> int:
        """The number of connections in these states."""
        return sum(len(self._deadlines[state]) for state in states)

    def add(self, connection: Connection, address: str, seconds: float) -> Connection | None:
        """Add a pending connection; returns the one that must be closed for it, which is removed, or None."""
        evicted = self._oldest_of_most() if 0 < self._most <= len(self) else None
        if evicted is not None:
            self.remove(evicted)
        self._deadlines[State.PENDING][connection] = self._now() + seconds
        self._addresses[connection] = address
        self._counts[address] += 1
        return evicted

    def set_address(self, connection: Connection, address: str) -> None:
        """Count a connection for another address: a trusted proxy has named the client's."""
        if connection in self._addresses:
            self._subtract(self._addresses[connection])
            self._addresses[connection] = address
            self._counts[address] += 1

    def move(self, connection: Connection, state: State, seconds: float) -> None:
        """Set a connection's state and deadline."""
        if connection in self._addresses:
            for group in self._deadlines.values():
                group.pop(connection, None)
            self._deadlines[state][connection] = self._now() + seconds

    def remove(self, connection: Connection) -> None:
        """Remove a connection; idempotent."""
        if (address := self._addresses.pop(connection, None)) is not None:
            self._subtract(address)
            for group in self._deadlines.values():
                group.pop(connection, None)

    def pop_late(self) -> list[tuple[Connection, State]]:
        """Remove the connections whose deadline is over, and return them."""
        now = self._now()
        late = [
            (connection, state)
            for state, group in self._deadlines.items()
            for connection, deadline in group.items()
            if deadline < now
        ]
        for connection, _ in late:
            self.remove(connection)
        return late

    def _oldest_of_most(self) -> Connection:
        """Of all addresses with the most connections: the oldest one in the first state."""
        most = max(self._counts.values())
        return next(
            connection
            for group in self._deadlines.values()
            for connection in group
            if self._counts[self._addresses[connection]] == most
        )

    def _subtract(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]
