"""A client's address is that given by a trusted proxy, or the peer's: clients cannot choose it."""

from ipaddress import ip_network

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from gischat.front.auth.client_address import UNKNOWN_ADDRESS, TrustedProxies, address_key

PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("192.0.2.1"), ip_network("2001:db8:1::/48")])


def located(peer: str | None, *forwarded: str, **headers: str) -> HTTPServerRequest:
    """A request from a peer, with these X-Forwarded-For headers in order."""
    given = HTTPHeaders({"Host": "chat.example"} | {name.replace("_", "-"): value for name, value in headers.items()})
    for value in forwarded:
        given.add("X-Forwarded-For", value)
    request = HTTPServerRequest(start_line=RequestStartLine("GET", "/", "HTTP/1.1"), headers=given)
    request.remote_ip = peer
    key = PROXIES.key_of(peer or "", given)
    PROXIES.resolve_client(request)
    assert key == address_key(str(request.remote_ip))
    return request


@pytest.mark.parametrize("peer", ["198.51.100.7", "2001:db8:2::7"])
@pytest.mark.parametrize("forwarded", ["203.0.113.9", "::1, 203.0.113.9"])
def test_headers_of_untrusted_peers_are_ignored(peer: str, forwarded: str) -> None:
    request = located(peer, forwarded, X_Forwarded_Proto="https", X_Real_Ip="203.0.113.9")
    assert (request.remote_ip, request.protocol) == (peer, "http")


def test_the_requested_host_is_taken_only_from_a_trusted_proxy() -> None:
    asked = {"X_Forwarded_Host": "evil.example, chat.example.org:8443"}
    assert located("10.0.0.1", **asked).host == "chat.example.org:8443"
    assert located("198.51.100.7", **asked).host == "chat.example"
    assert located("10.0.0.1", X_Forwarded_Host="").host == "chat.example"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["2001:db8:2::9"], "2001:db8:2::9"),
        # The client's own entries are left of those that our proxy appended
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["10.0.0.9, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (["garbage, <script>, 203.0.113.9"], "203.0.113.9"),
        # A chain of trusted proxies
        (["198.51.100.1, 203.0.113.9, 192.0.2.1, 10.1.1.1"], "203.0.113.9"),
        (["203.0.113.9", "2001:db8:1::1"], "203.0.113.9"),
        # All entries are trusted: a probe by the first proxy
        (["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        # Other notations of some proxies
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8:2::9]:4711"], "2001:db8:2::9"),
        (["[2001:db8:2::9]"], "2001:db8:2::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["fe80::1%a lie"], "fe80::1"),
    ],
)
def test_a_trusted_proxy_gives_the_clients_address(forwarded: list[str], client: str) -> None:
    assert located("10.0.0.1", *forwarded).remote_ip == client


@pytest.mark.parametrize(
    "garbage",
    [
        *("", ",", ",,,,", "unknown", "_hidden", "203.0.113", "256.1.1.1", "203.0.113.9 evil", "203.0.113.9/8"),
        *("[", "]", "[]:1", "%", ":", "::g", "0x7f.1", "1" * 9999, "," * 30_000),
    ],
    ids=lambda garbage: garbage[:20],
)
def test_after_an_invalid_entry_the_last_known_address_is_used(garbage: str) -> None:
    assert located("10.0.0.1", garbage).remote_ip == "10.0.0.1"
    # Behind a second proxy, that is the last known address
    assert located("10.0.0.1", f"{garbage}, 10.7.7.7").remote_ip == "10.7.7.7"


def test_a_very_long_chain_is_not_followed() -> None:
    assert located("10.0.0.1", ", ".join(["203.0.113.9", *["10.0.0.2"] * 10_000])).remote_ip == "10.0.0.2"


@pytest.mark.parametrize("peer", [None, "", "/run/gischat.sock", "0.0.0.0"])
def test_a_peer_without_an_address_is_not_trusted(peer: str | None) -> None:
    assert located(peer, "203.0.113.9").remote_ip == UNKNOWN_ADDRESS


def test_a_trusted_proxy_is_recognised_by_its_ipv4_mapped_address() -> None:
    assert located("::ffff:10.0.0.1", "203.0.113.9").remote_ip == "203.0.113.9"
    assert located("::ffff:198.51.100.7", "203.0.113.9").remote_ip == "198.51.100.7"


@pytest.mark.parametrize(
    ("said", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("http, https", "https"), ("ftp", "http"), ("", "http")],
)
def test_a_trusted_proxy_gives_the_scheme(said: str, scheme: str) -> None:
    assert located("10.0.0.1", X_Forwarded_Proto=said).protocol == scheme


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:2:3:4:5:6:7", "2001:db8:2:3::/64"),
        ("2001:db8:2:3::1", "2001:db8:2:3::/64"),
        ("2001:db8:2:4::1", "2001:db8:2:4::/64"),
        ("::1", "::/64"),
        (UNKNOWN_ADDRESS, UNKNOWN_ADDRESS),
    ],
)
def test_limits_count_ipv4_addresses_and_ipv6_networks_of_64_bits(address: str, counted: str) -> None:
    assert address_key(address) == counted
