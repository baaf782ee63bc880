"""Web origins (RFC 6454): the scheme, host and port of the page that makes a request."""

import ipaddress
import re
from typing import NamedTuple, Self

DEFAULT_PORTS = {"http": 80, "https": 443}

# What browsers send, stricter than RFC 6454 §6.2. The host may be empty, as in file://
_FORM = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._~-]*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)


class Origin(NamedTuple):
    """A web origin; equal to another if scheme, host and port are (RFC 6454 §5).

    `port` is None if the scheme has no default port.
    """

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse an `Origin` header or an entry of ALLOWED_ORIGINS; None if it is no origin."""
        if text == "null":
            return cls("null", "", None)  # a page without an origin: loaded from a file, or sandboxed
        found = _FORM.fullmatch(text.lower())
        if found is None:
            return None
        scheme, host, port = found.groups()
        number = int(port) if port else DEFAULT_PORTS.get(scheme)
        if number is not None and not 0 < number <= 65535:
            return None
        try:
            return cls(scheme, _canonical(host), number)
        except ValueError:
            return None


def _canonical(host: str) -> str:
    return f"[{ipaddress.IPv6Address(host[1:-1])}]" if host.startswith("[") else host
