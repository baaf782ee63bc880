"""Waits that grow, and are not all the same."""

from gischat.backoff import Backoff


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 10.0, draw=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.next() == 1


def test_two_who_failed_together_do_not_come_back_together() -> None:
    soon, late = Backoff(8.0, 60.0, draw=lambda: 0.0), Backoff(8.0, 60.0, draw=lambda: 1.0)
    assert (soon.next(), late.next()) == (4, 8)


def test_what_the_other_side_asks_for_is_kept() -> None:
    assert Backoff(1.0, 60.0, draw=lambda: 0.0).next(at_least=30) == 30
