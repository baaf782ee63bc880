"""Bearer tokens: how a request shows one (RFC 6750 §2.1), and how it is compared."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256


def from_headers(headers: Mapping[str, str]) -> bytes:
    """The token that a request's headers bear, in the bytes as they came; empty where there is none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    # Tornado reads headers as Latin-1.
    return token.strip().encode("latin-1", errors="replace") if scheme.lower() == "bearer" else b""


def digest(token: str) -> bytes:
    """What a right token is kept as, to be compared with."""
    return _digest(token.encode())


def matches(token: bytes, digests: Iterable[bytes]) -> bool:
    """Whether a token is one of the right ones.

    Digests are of one length: how long it takes tells nothing of a token.
    """
    given = _digest(token)
    return any(hmac.compare_digest(given, right) for right in digests)


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
