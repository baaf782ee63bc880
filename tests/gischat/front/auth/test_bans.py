"""Lookups of bans."""

import json
import time
from typing import Any

import pytest

from gischat.broker.moderation import Ban
from gischat.front.auth.bans import Bans, ban_subject, network_of
from gischat.protocol.messages import Message
from gischat.protocol.parsing import MessageParser
from tests.support.contract import sample
from tests.support.settings import settings


def ban(subject: str, *, seconds: int = 60, reason: str = "") -> Ban:
    now = int(time.time())
    kind = "address" if "." in subject or ":" in subject else "nickname"
    return Ban(kind, subject, now, now + seconds, "anna", reason, True)


@pytest.mark.parametrize(
    ("banned", "addresses", "others"),
    [
        ("203.0.113.7", ["203.0.113.7", "::ffff:203.0.113.7"], ["203.0.113.8", "203.0.113.70", "2001:db8::7"]),
        ("203.0.113.0/24", ["203.0.113.0", "203.0.113.255"], ["203.0.112.255", "203.0.114.0"]),
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
        ("2001:db8::/64", ["2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"], ["2001:db8:0:1::", "203.0.113.7"]),
        ("2001:db8::1/128", ["2001:db8::1"], ["2001:db8::2"]),
    ],
)
def test_addresses_in_a_banned_network_are_banned(banned: str, addresses: list[str], others: list[str]) -> None:
    # Given a ban among others with other prefix lengths
    bans = Bans([ban("192.0.2.1"), ban("198.51.100.0/25"), ban(banned), ban("2001:db8:ffff::/48"), ban("jane")])
    # Then only addresses in the network are banned
    assert [found.subject for found in map(bans.of_address, addresses) if found] == [banned] * len(addresses)
    assert [bans.of_address(other) for other in others] == [None] * len(others)
    assert [bans.of_address(invalid) for invalid in ("", "unknown", "/run/socket", "203.0.113.7.8")] == [None] * 4


def message(type_: str, **content: Any) -> Message:
    return MessageParser(settings()).parse(json.dumps(sample(type_, **content)))


@pytest.mark.parametrize(("type_", "content"), [("like", {"liker_author": "john"}), ("exiter", {})])
def test_a_banned_nickname_may_be_liked_and_released(type_: str, content: dict[str, str]) -> None:
    Bans([ban("jane")]).check(message(type_, **content))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("203.0.113.7/32", "203.0.113.7"),
        ("2001:DB8::7", "2001:db8::/64"),
        ("2001:db8::7/128", "2001:db8::7"),
        ("2001:db8::7/32", "2001:db8::/32"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7/120", "203.0.113.0/24"),
    ],
)
def test_a_moderators_input_is_normalised(written: str, meant: str) -> None:
    assert ban_subject(network_of(written)) == meant


@pytest.mark.parametrize(
    "written", ["", "jane", "203.0.113", "1.2.3.4/7", "::/0", "2001::/18", "::ffff:1.2.3.4/103", "/24"]
)
def test_an_invalid_or_too_large_network_is_refused_with_a_reason(written: str) -> None:
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$"):
        network_of(written)


def test_different_subjects_have_different_ids() -> None:
    subjects = ["10-24", "10.0.0.0/24", "10.0.0.0", "2001:db8::/64", "2001:db8::", "jane", "jane-64"]
    assert len({ban(subject).id for subject in subjects}) == len(subjects)
    assert ban("Jane").id == ban("jane").id
    assert not any("/" in ban(subject).id for subject in subjects)
