"""Connections that are not in a channel have deadlines, and one of the address with most makes room for another."""

from gischat.front.limits.pending_connections import PendingConnections, State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(most: int, *addresses: str) -> PendingConnections[str]:
    """Connections named by their address and number, as in "jane 1"."""
    connections = PendingConnections[str](most, Clock())
    for number, address in enumerate(addresses, 1):
        assert connections.add(f"{address} {number}", address, 9) is None
    return connections


def test_the_address_with_most_connections_loses_its_oldest() -> None:
    connections = waiting(5, "jane", "attacker", "attacker", "john", "attacker")
    # Another client's connection that waits longest is not closed, nor the attacker's that handle a request before …
    connections.move("attacker 2", State.BUSY, 9)
    assert connections.add("attacker 6", "attacker", 9) == "attacker 3"
    # … any that wait for one
    assert connections.add("ada 7", "ada", 9) == "attacker 5"
    assert len(connections) == 5


def test_an_idle_connection_is_closed_first() -> None:
    connections = waiting(3, "jane", "john", "ada")
    for one in ("john 2", "ada 3"):
        connections.move(one, State.BUSY, 9)
        connections.move(one, State.IDLE, 9)
    assert connections.add("karl 4", "karl", 9) == "john 2"


def test_a_connection_counts_for_the_address_that_a_proxy_names() -> None:
    connections = waiting(4, "proxy", "proxy", "proxy", "jane")
    for one, address in (("proxy 1", "ada"), ("proxy 2", "jane"), ("proxy 3", "john"), ("gone", "john")):
        connections.set_address(one, address)
    assert connections.add("karl 5", "karl", 9) == "proxy 2"


def test_only_what_is_still_there_counts() -> None:
    connections = waiting(3, "jane", "jane", "john")
    connections.remove("jane 1")
    connections.remove("jane 1")
    assert connections.add("john 4", "john", 9) is None
    assert connections.add("john 5", "john", 9) == "john 3"


def test_without_a_limit_nobody_is_closed() -> None:
    assert len(waiting(0, *["jane"] * 50)) == 50


def test_each_state_has_a_deadline() -> None:
    clock = Clock()
    connections = PendingConnections[str](0, clock)
    for one in ("pending", "busy", "idle", "gone"):
        assert connections.add(one, "jane", 5) is None
    connections.move("busy", State.BUSY, 20)
    connections.move("idle", State.IDLE, 10)
    connections.remove("gone")
    connections.move("gone", State.IDLE, 1)
    assert connections.number_in(State.PENDING, State.BUSY) == 2
    left = {}
    for clock.now in (5, 6, 11, 21):
        left[clock.now] = connections.pop_late()
    assert left == {5: [], 6: [("pending", State.PENDING)], 11: [("idle", State.IDLE)], 21: [("busy", State.BUSY)]}
    assert len(connections) == 0
