"""A channel's bans, looked up for every handshake and every message."""

import time
from collections.abc import Iterable
from ipaddress import IPv6Network, ip_network

from gischat.broker.moderation import Ban
from gischat.errors import RefusalReason, Unavailable
from gischat.front.auth.client_address import IPV6_KEY_BITS, Address, Network, parse_address
from gischat.protocol.messages import Message, folded, nickname_of
from gischat.protocol.wording import excerpt

MAPPED_BITS = 96  # before an IPv4 address in IPv6 clothes, ::ffff:203.0.113.7

# Wider networks are whole providers and countries: as a rule, somebody mistyped.
MIN_PREFIX = {4: 8, 6: 19}


class Bans:
    """A channel's bans, found by address and by nickname; a ban that has run out holds no more."""

    def __init__(self, bans: Iterable[Ban] = (), *, reserved: str = "") -> None:
        """
        Args:
            reserved: the instance's own nickname, which is nobody else's.
        """
        self._nicknames: dict[str, Ban] = {}
        self._networks: dict[tuple[int, int, int], Ban] = {}  # by version, length of the prefix, and the prefix
        self._reserved = folded(reserved)
        for ban in bans:
            if ban.kind == "nickname":
                self._nicknames[folded(ban.subject)] = ban
            else:
                network = ip_network(ban.subject)
                self._networks[_prefix(network.network_address, network.prefixlen)] = ban
        self._lengths = {version: {key[1] for key in self._networks if key[0] == version} for version in (4, 6)}
        self.concern_nicknames = bool(self._nicknames or reserved)

    def of_address(self, address: str) -> Ban | None:
        """The ban that keeps an address away, if there is one; `address` may be anything."""
        if not self._networks:
            return None
        parsed = parse_address(address)
        if parsed is None:
            return None
        found = (self._networks.get(_prefix(parsed, length)) for length in self._lengths[parsed.version])
        return next((ban for ban in found if ban is not None and ban.until > time.time()), None)

    def check(self, message: Message) -> None:
        """Sees to it that nobody speaks, or registers, under a name that may not be borne.

        Raises:
            Unavailable: somebody does.
        """
        nickname = message.author or (nickname_of(message) if message.type == "newcomer" else "")
        reason = self.ban_reason(nickname) if nickname else None
        if reason is not None:
            raise Unavailable(reason, RefusalReason.BANNED)

    def ban_reason(self, nickname: str) -> str | None:
        """Why a nickname may not be borne, in words for who would; None if it may. Capitals make no other name."""
        known = folded(nickname)
        if known == self._reserved:
            return f"The nickname {excerpt(nickname)} is the server's own."
        ban = self._nicknames.get(known)
        return ban.user_message if ban is not None and ban.until > time.time() else None


def network_of(text: str) -> Network:
    """What a moderator means by an address: it alone, or the network that is written; of IPv6, at least a /64.

    Raises:
        ValueError: in words for a moderator.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError("Not an address or network: write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/64.") from None
    if isinstance(network, IPv6Network):
        if (mapped := network.network_address.ipv4_mapped) and network.prefixlen >= MAPPED_BITS:
            network = ip_network(f"{mapped}/{network.prefixlen - MAPPED_BITS}")
        elif "/" not in text:
            # Its owner has all of them: a ban of one address would stop nobody.
            network = network.supernet(new_prefix=IPV6_KEY_BITS)
    if network.prefixlen < MIN_PREFIX[network.version]:
        raise ValueError(f"Too wide: /{MIN_PREFIX[network.version]} is the widest network that can be banned.")
    return network


def ban_subject(network: Network) -> str:
    """A network as it is shown: a single address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _prefix(address: Address, length: int) -> tuple[int, int, int]:
    return address.version, length, int(address) >> (address.max_prefixlen - length)
