"""A channel's bans, checked for every handshake and every message."""

import time
from collections.abc import Iterable
from ipaddress import IPv6Network, ip_network

from gischat.broker.moderation import Ban
from gischat.errors import RefusalReason, Unavailable
from gischat.front.auth.client_address import IPV6_KEY_BITS, Address, Network, parse_address
from gischat.protocol.messages import Message, folded, nickname_of
from gischat.protocol.wording import excerpt

MAPPED_BITS = 96  # the prefix of an IPv4-mapped IPv6 address, ::ffff:203.0.113.7

# Wider networks are whole providers and countries, most likely a typing error.
MIN_PREFIX = {4: 8, 6: 19}


class Bans:
    """A channel's bans, by address and by nickname; expired ones have no effect."""

    def __init__(self, bans: Iterable[Ban] = (), *, reserved: str = "") -> None:
        """Index the bans; `reserved` is the instance's own nickname, which nobody may use."""
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
        """The ban of an address, if there is one; `address` may be any text."""
        if not self._networks:
            return None
        parsed = parse_address(address)
        if parsed is None:
            return None
        found = (self._networks.get(_prefix(parsed, length)) for length in self._lengths[parsed.version])
        return next((ban for ban in found if ban is not None and ban.until > time.time()), None)

    def check(self, message: Message) -> None:
        """Check a message's author, or the nickname that it registers.

        Raises:
            Unavailable: the nickname is banned or reserved.
        """
        nickname = message.author or (nickname_of(message) if message.type == "newcomer" else "")
        reason = self.ban_reason(nickname) if nickname else None
        if reason is not None:
            raise Unavailable(reason, RefusalReason.BANNED)

    def ban_reason(self, nickname: str) -> str | None:
        """Why a nickname must not be used, worded for its user; None if it may. Case does not matter."""
        known = folded(nickname)
        if known == self._reserved:
            return f"The nickname {excerpt(nickname)} is the server's own."
        ban = self._nicknames.get(known)
        return ban.user_message if ban is not None and ban.until > time.time() else None


def network_of(text: str) -> Network:
    """The network that a moderator names by an address or a network; a single IPv6 address stands for its /64.

    Raises:
        ValueError: the text is no network, or the network too wide; worded for moderators.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError("Not an address or network: write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/64.") from None
    if isinstance(network, IPv6Network):
        if (mapped := network.network_address.ipv4_mapped) and network.prefixlen >= MAPPED_BITS:
            network = ip_network(f"{mapped}/{network.prefixlen - MAPPED_BITS}")
        elif "/" not in text:
            # One client has all addresses of a /64: banning a single one would have no effect.
            network = network.supernet(new_prefix=IPV6_KEY_BITS)
    if network.prefixlen < MIN_PREFIX[network.version]:
        raise ValueError(f"Too wide: /{MIN_PREFIX[network.version]} is the widest network that can be banned.")
    return network


def ban_subject(network: Network) -> str:
    """The text for a network; for a single address, without the prefix length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _prefix(address: Address, length: int) -> tuple[int, int, int]:
    return address.version, length, int(address) >> (address.max_prefixlen - length)
