"""People of other chats are called as the contract allows, and no two alike."""

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gischat.bridges.nicknames import candidates


def best(person: str, longest: int = 32) -> str:
    return next(candidates(person, shortest=3, longest=longest))


@pytest.mark.parametrize(
    ("person", "nickname"),
    [
        ("alice:example.org", "alice-example-org"),
        ("a_1:matrix.org", "a_1-matrix-org"),
        # Where something is lost, a digest of the whole follows
        ("Alice:example.org", "Alice-example-org-8c93"),
        ("jürgen.müller:matrix.org", "jurgen-muller-matrix-org-0b3a"),
        ("averyveryverylongname:matrix.example.org", "averyveryverylongname-matri-5126"),
    ],
)
def test_a_nickname_tells_who_and_where_somebody_is(person: str, nickname: str) -> None:
    assert best(person) == nickname


@given(st.text(), st.integers(3, 12), st.integers(12, 64))
def test_every_nickname_is_allowed_by_the_contract(person: str, shortest: int, longest: int) -> None:
    for nickname in candidates(person, shortest=shortest, longest=longest):
        assert re.fullmatch(rf"[A-Za-z0-9_-]{{{shortest},{longest}}}", nickname)


ALIKE = [
    ("a-b:c.org", "a:b-c.org"),
    ("a.b:c.org", "a:b.c.org"),
    ("alice:example.org", "Alice:example.org"),
    ("alice:example-org", "alice:example.org"),
    ("日本:x.org", "中国:x.org"),
    ("x" * 40 + "1:x.org", "x" * 40 + "2:x.org"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_two_people_are_never_called_the_same(one: str, other: str) -> None:
    assert best(one).casefold() != best(other).casefold()


def test_another_nickname_is_there_for_when_the_best_is_taken() -> None:
    first, second, third = islice(candidates("alice:example.org", shortest=3, longest=32), 3)
    assert len({first, second, third}) == 3
    assert second.startswith(first)
