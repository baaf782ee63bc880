"""Whose request it is, and what it asked for: the client's address, scheme and host, as far as somebody trustworthy
says them.

A proxy of ours appends the address of whoever spoke to it to X-Forwarded-For; what stands left of that, anybody may
have written. So the list is walked from the right, and only from one trusted proxy to the next (RFC 7239 §7.4 and §8.1
say the same of Forwarded).
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from tornado.httputil import HTTPHeaders, HTTPServerRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNKNOWN_ADDRESS = "0.0.0.0"  # the address of a peer that has none
MAX_FORWARDED_HOPS = 20  # proxies behind each other; a longer list is somebody's game
IPV6_KEY_BITS = 64


class TrustedProxies:
    """The networks whose word is taken for where a request came from."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def resolve_client(self, request: HTTPServerRequest) -> bool:
        """Puts the client's own address and scheme, and the host that it asked for, in place of those of the proxy that
        handed its request on.

        Returns whether there was one that we trust.
        """
        peer = parse_address(request.remote_ip or "")
        request.remote_ip = UNKNOWN_ADDRESS if peer is None else str(peer)
        if peer is None or not self._trusts(peer):
            return False
        request.remote_ip = str(self._client(peer, request.headers))
        request.protocol = _scheme(request.headers) or request.protocol
        request.host = _host(request.headers) or request.host
        return True

    def key_of(self, remote_ip: str, headers: HTTPHeaders) -> str:
        """What a request counts as that has come from there with these headers, before it is located."""
        peer = parse_address(remote_ip)
        if peer is None:
            return UNKNOWN_ADDRESS
        return address_key(str(self._client(peer, headers) if self._trusts(peer) else peer))

    def _client(self, peer: Address, headers: HTTPHeaders) -> Address:
        """The last in the chain whom nobody trustworthy vouches for; where the chain breaks, who was known before."""
        client = peer
        # Tornado joins repeated headers in their order, as RFC 9110 §5.3 has it.
        for word in reversed(headers.get("X-Forwarded-For", "").rsplit(",", MAX_FORWARDED_HOPS)):
            said = parse_address(word)
            if said is None:
                break
            client = said
            if not self._trusts(client):
                break
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def parse_address(word: str) -> Address | None:
    """An address as proxies write it: `192.0.2.7`, `2001:db8::7`, with a port as `192.0.2.7:80` or `[2001:db8::7]:80`.

    An IPv4 address in IPv6 clothes (a dual-stack socket sees ::ffff:192.0.2.7) is the IPv4 address; a zone
    (fe80::1%eth0) is dropped, for a client may write into it what it likes. None for all else.
    """
    host = word.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def address_key(address: str) -> str:
    """What limits per address count as one: an IPv4 address, or the first 64 bits of an IPv6 address.

    The smallest network that anybody is given in IPv6 is a /64 (RFC 6177, RFC 4291 §2.5.1), and its owner may speak
    from any of its 2^64 addresses.
    """
    parsed = parse_address(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return f"{IPv6Address(int(parsed) >> IPV6_KEY_BITS << IPV6_KEY_BITS)}/{IPV6_KEY_BITS}"


def _scheme(headers: HTTPHeaders) -> str | None:
    """The scheme that our own proxy names, which is the last where one has added to another's."""
    scheme = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return scheme if scheme in ("http", "https") else None


def _host(headers: HTTPHeaders) -> str:
    """The host that a proxy of ours was asked for, where it says so; it, too, is the last."""
    return headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
