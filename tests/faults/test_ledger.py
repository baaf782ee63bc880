"""The ledger detects the faults that it is made for."""

from tests.support.ledger import Ledger, Names


def _ledger(*messages: str) -> Ledger:
    ledger = Ledger()
    for name in ("ann", "ben"):
        ledger.join(name)
    for id in messages:
        ledger.send(id, "ann", "text")
    return ledger


def _hear(ledger: Ledger, receiver: str, *messages: str) -> None:
    for id in messages:
        ledger.hear(receiver, id)


def test_a_run_without_faults_balances() -> None:
    ledger = _ledger("a", "b", "c")
    for name in ("ann", "ben"):
        _hear(ledger, name, "a", "c")
    ledger.refuse("b")

    balance = ledger.balance()

    assert (balance.sent, balance.delivered, balance.refused, balance.lost) == (3, 2, 1, 0)
    assert ledger.faults() == []


def test_a_message_that_one_receiver_misses_is_lost() -> None:
    ledger = _ledger("a", "b")
    _hear(ledger, "ann", "a", "b")
    _hear(ledger, "ben", "b")

    assert ledger.balance().lost == 1


def test_a_message_neither_delivered_nor_refused_is_lost() -> None:
    assert _ledger("a").balance().lost == 1


def test_after_a_gap_later_messages_must_arrive() -> None:
    ledger = _ledger("a")
    ledger.tell_of_gap("ben")
    ledger.send("b", "ann", "text")
    _hear(ledger, "ann", "a", "b")

    balance = ledger.balance()

    assert (balance.gaps, balance.lost) == (1, 1)


def test_duplicates_are_found_except_in_an_overlapping_history() -> None:
    ledger = _ledger("a", "b")
    for name in ("ann", "ben"):
        _hear(ledger, name, "a", "b")
    ledger.hear("ben", "a", may_repeat=True)
    assert ledger.balance().duplicated == 0

    ledger.hear("ben", "a")
    assert ledger.balance().duplicated == 1


def test_only_messages_that_fill_a_gap_may_arrive_late() -> None:
    ledger = _ledger("a")
    _hear(ledger, "ann", "a")
    _hear(ledger, "ben", "a")
    ledger.tell_of_gap("ben")
    ledger.hear("ben", "a", fills_gap=True)
    ledger.send("b", "ann", "text")
    _hear(ledger, "ann", "b")
    _hear(ledger, "ben", "b")
    assert ledger.balance().duplicated == 0

    # A message sent after he was told, and one that arrives at a client that was not told
    ledger.hear("ben", "b", fills_gap=True)
    ledger.hear("ann", "a", fills_gap=True)
    assert ledger.balance().duplicated == 2


def test_messages_out_of_order_are_found() -> None:
    ledger = _ledger("a", "b")
    _hear(ledger, "ann", "a", "b")
    _hear(ledger, "ben", "b", "a")

    assert ledger.balance().out_of_order == 1


def test_refused_messages_that_arrive_are_found() -> None:
    ledger = _ledger("a")
    ledger.refuse("a")
    _hear(ledger, "ann", "a")

    assert ledger.balance().contradicted == 1


def test_an_echo_of_a_resent_message_is_no_duplicate() -> None:
    ledger = Ledger()
    for name in ("anna", "ben"):
        ledger.join(name)
    ledger.send("1", "anna", "text")
    ledger.send_again("1")
    for _ in range(2):
        ledger.hear("anna", "1")
        ledger.hear("ben", "1")
    assert ledger.duplicated() == [("ben", "1")]
    ledger.hear("anna", "1")
    assert sorted(ledger.duplicated()) == [("anna", "1"), ("ben", "1")]


def test_only_refused_and_resent_messages_may_follow_later_ones() -> None:
    ledger = _ledger("1", "2", "3")
    ledger.send_again("1", was_refused=True)
    ledger.send_again("2")
    _hear(ledger, "ben", "3", "1", "2")
    assert ledger.out_of_order() == [("ben", "2")]


def test_a_list_of_users_is_compared_with_the_connected_clients() -> None:
    assert Names.compare(["ann", "ben"], ["ann", "ben"]).are_right
    for told, wrong in (
        (["ann"], Names(registered=2, missing=1, strange=0, doubled=0)),
        (["ann", "ben", "cid"], Names(registered=2, missing=0, strange=1, doubled=0)),
        (["ann", "ben", "ben"], Names(registered=2, missing=0, strange=0, doubled=1)),
    ):
        assert Names.compare(["ann", "ben"], told) == wrong
        assert not wrong.are_right
