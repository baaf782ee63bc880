"""The deduplicator, as a table of publications in order."""

import pytest

from gischat.broker.entries import Outcome, Publication
from gischat.front.channel.deduplicator import MAX_SEEN_IDS, Deduplicator

SECONDS = 100.0


def text(id: str) -> Publication:
    return Publication(1, None, Outcome.PUBLISHED, "", "text", id.encode(), b"{}")


def presence(id: str, type: str, nickname: str = "jane") -> Publication:
    return Publication(
        1, None, Outcome.PUBLISHED, "", type, id.encode(), b'{"%s":"%s"}' % (type.encode(), nickname.encode())
    )


CAME, WENT = presence("1", "newcomer"), presence("2", "exiter")


@pytest.mark.parametrize(
    ("published", "delivered"),
    [
        ([text("a"), text("b")], [True, True]),
        ([text("a"), text("a")], [True, False]),
        ([text(""), text("")], [True, True]),  # messages without ids are never duplicates
        ([CAME, WENT, WENT], [True, True, False]),
        ([CAME, WENT, CAME], [True, True, True]),  # otherwise she would remain absent
        ([CAME, presence("2", "exiter", "JANE"), CAME], [True, True, True]),
        ([CAME, presence("2", "exiter", "john"), CAME], [True, True, False]),
    ],
)
def test_a_message_is_delivered_once(published: list[Publication], delivered: list[bool]) -> None:
    deduplicator = Deduplicator(SECONDS)
    found = []
    for one in published:
        found.append(not deduplicator.is_duplicate(one, 0.0))
        if found[-1]:
            deduplicator.record_presence(one)
    assert found == delivered


def test_delivered_ids_are_bounded_in_age_and_number() -> None:
    deduplicator = Deduplicator(SECONDS)
    deduplicator.seed({b"old": SECONDS - 1}, now=0.0)
    assert deduplicator.has_seen(b"old", 0.5)
    assert not deduplicator.has_seen(b"old", 1.0)
    for number in range(MAX_SEEN_IDS):
        assert not deduplicator.is_duplicate(text(str(number)), 0.0)
    assert b"old" not in deduplicator
    assert b"0" in deduplicator
