"""Bearer tokens: reading them from request headers (RFC 6750 §2.1), and constant-time comparison."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256


def from_headers(headers: Mapping[str, str]) -> bytes:
    """The bearer token in a request's headers, in the bytes received; empty if there is none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    # Tornado decodes headers as Latin-1.
    return token.strip().encode("latin-1", errors="replace") if scheme.lower() == "bearer" else b""


def digest(token: str) -> bytes:
    """The digest of a valid token, for `matches`."""
    return _digest(token.encode())


def matches(token: bytes, digests: Iterable[bytes]) -> bool:
    """Whether a token is valid. Comparing digests of equal length in constant time reveals nothing about a token."""
    given = _digest(token)
    return any(hmac.compare_digest(given, right) for right in digests)


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
