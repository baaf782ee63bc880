"""Origins, as RFC 6454 writes and compares them."""

import pytest

from gischat.origin import Origin

SAME = [
    ("http://example.org", "http://example.org:80"),
    ("https://example.org", "https://example.org:443"),
    ("https://example.org", "HTTPS://Example.ORG"),
    ("http://[::1]:8000", "http://[0:0::1]:8000"),
    ("null", "null"),
    ("moz-extension://0b1d8a3b", "moz-extension://0b1d8a3b"),
]
DIFFERENT = [
    ("http://example.org", "https://example.org"),
    ("http://example.org", "http://example.org:8000"),
    ("http://example.org:443", "https://example.org"),
    ("http://example.org", "http://www.example.org"),
    ("http://example.org", "http://example.org.evil.example"),
    ("http://example.org", "null"),
    ("file://", "null"),
]
NONE = [
    "", " ", "*", "NULL", "example.org", "//example.org", "http:example.org", "http://example.org/",
    "http://example.org/chat", "http://example.org?", "http://jane@example.org", "http://[", "http://[::1", "http://[]",
    *(f"http://example.org:{port}" for port in ("", "0", "65536", "8e3", "-1", "٨٠")), "http://[::zz]",
    "http://[1.2.3.4]", "http://[::1%25eth0]", "http://exämple.org", "http://example.org http://example.com",
    "http://example.org,http://example.com", "http://example.org\n", "http://example.org\x00", "http://\ud800",
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_origin_may_be_written_in_several_ways(one: str, other: str) -> None:
    assert Origin.parse(one) is not None
    assert Origin.parse(one) == Origin.parse(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_scheme_host_and_port_make_the_difference(one: str, other: str) -> None:
    assert None not in (Origin.parse(one), Origin.parse(other))
    assert Origin.parse(one) != Origin.parse(other)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_origin_is_none(text: str) -> None:
    assert Origin.parse(text) is None
