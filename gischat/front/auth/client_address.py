"""The client's address, scheme and host of a request, as far as trusted proxies report them.

A trusted proxy appends the address of its peer to X-Forwarded-For; anybody may have written what precedes it. So the
list is read from the right, and only from one trusted proxy to the next (RFC 7239 §7.4 and §8.1 say the same of
Forwarded).
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from tornado.httputil import HTTPHeaders, HTTPServerRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNKNOWN_ADDRESS = "0.0.0.0"  # of a peer without an address
MAX_FORWARDED_HOPS = 20  # consecutive proxies; longer lists are forged
IPV6_KEY_BITS = 64


class TrustedProxies:
    """The networks whose `X-Forwarded-*` headers are honoured."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def resolve_client(self, request: HTTPServerRequest) -> bool:
        """Replace a request's address, scheme and host, which are a trusted proxy's, by those of the client.

        Returns whether the request came from a trusted proxy.
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
        """The network that limits are applied to, for a request before `resolve_client`."""
        peer = parse_address(remote_ip)
        if peer is None:
            return UNKNOWN_ADDRESS
        return address_key(str(self._client(peer, headers) if self._trusts(peer) else peer))

    def _client(self, peer: Address, headers: HTTPHeaders) -> Address:
        """The last address in the chain that is no trusted proxy's; if the chain breaks, the last valid one."""
        client = peer
        # Tornado joins repeated headers in order, according to RFC 9110 §5.3.
        for word in reversed(headers.get("X-Forwarded-For", "").rsplit(",", MAX_FORWARDED_HOPS)):
            address = parse_address(word)
            if address is None:
                break
            client = address
            if not self._trusts(client):
                break
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def parse_address(word: str) -> Address | None:
    """Parse an address as proxies write it: `192.0.2.7`, `2001:db8::7`, `192.0.2.7:80` or `[2001:db8::7]:80`.

    An IPv4-mapped IPv6 address (a dual-stack socket sees ::ffff:192.0.2.7) becomes the IPv4 address; a zone
    (fe80::1%eth0) is dropped, because a client may choose it freely. None for all other texts.
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
    """The network that limits per address are applied to: an IPv4 address, or the /64 of an IPv6 address.

    In IPv6 a /64 is the smallest network that is assigned (RFC 6177, RFC 4291 §2.5.1), and its owner may use any of its
    2^64 addresses.
    """
    parsed = parse_address(address)
    if not isinstance(parsed, IPv6Address):
        return address
    return f"{IPv6Address(int(parsed) >> IPV6_KEY_BITS << IPV6_KEY_BITS)}/{IPV6_KEY_BITS}"


def _scheme(headers: HTTPHeaders) -> str | None:
    """The scheme that our own proxy reports: the last one, if several proxies have added theirs."""
    scheme = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return scheme if scheme in ("http", "https") else None


def _host(headers: HTTPHeaders) -> str:
    """The host that was requested from our own proxy, if it reports that: the last one."""
    return headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
