"""Private channels: who hears and speaks there shows a token that the operator has given out."""

import hmac
import logging
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest

from gischat.settings import Settings

log = logging.getLogger(__name__)

TOKEN = "token"  # the query parameter


class Denial(NamedTuple):
    """Why a request may not enter, in words for its user, and as `WWW-Authenticate` says it (RFC 6750 §3)."""

    reason: str
    challenge: str


class Access:
    """Which channels are private, and whether a request shows the token of one."""

    def __init__(self, settings: Settings) -> None:
        self._digests: dict[str, list[bytes]] = {}
        for channel, token in settings.channel_tokens:
            self._digests.setdefault(channel, []).append(_digest(token.encode()))

    def is_private(self, channel: str) -> bool:
        return channel in self._digests

    def denial(self, channel: str, request: HTTPServerRequest) -> Denial | None:
        """Why a request may not enter a channel; None if it may."""
        digests = self._digests.get(channel)
        if digests is None:
            return None
        shown = [_digest(token) for token in _tokens(request)]
        # Digests, for they are of one length: how long a comparison takes tells nothing of a token.
        if any(hmac.compare_digest(one, digest) for one in shown for digest in digests):
            return None
        if not shown:
            return Denial(f"Channel '{channel}' is private: a token is needed.", 'Bearer realm="gischat"')
        log.warning("a wrong token", extra={"channel": channel, "address": request.remote_ip})
        challenge = 'Bearer realm="gischat", error="invalid_token"'
        return Denial(f"Channel '{channel}' is private: this token is not valid.", challenge)


def _tokens(request: HTTPServerRequest) -> Iterator[bytes]:
    """What a request shows: as a bearer token (RFC 6750 §2.1), and in the query, for browsers can send a websocket's
    request no headers. One of each: who guesses shall need a request for every guess."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        yield token.strip().encode("latin-1")  # the bytes as they came: Tornado reads headers so
    yield from filter(None, request.query_arguments.get(TOKEN, [])[-1:])


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()
