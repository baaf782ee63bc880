"""Waits that grow, and are not all the same."""

from gischat.backoff import Backoff


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 10.0, draw=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.next() == 1
    # Two who failed together do not come back together, and what the other side asks for is kept
    assert Backoff(8.0, 60.0, draw=lambda: 0.0).next() == 4
    assert Backoff(1.0, 60.0, draw=lambda: 0.0).next(at_least=30) == 30
