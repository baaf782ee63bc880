"""Private channels: who hears and speaks there shows a token that the operator has given out."""

import logging
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest

from gischat import bearer
from gischat.front.auth.client_address import address_key
from gischat.protocol.messages import folded
from gischat.settings import Settings

log = logging.getLogger(__name__)

TOKEN_PARAMETER = "token"  # the query parameter


class AccessDenied(NamedTuple):
    """Why a request may not enter, in words for its user, and as `WWW-Authenticate` says it (RFC 6750 §3)."""

    reason: str
    challenge: str


class ChannelAuth:
    """Which channels are private, and whether a request shows the token of one."""

    def __init__(self, settings: Settings) -> None:
        self._digests: dict[str, list[bytes]] = {}
        for channel, token in settings.channel_tokens:
            self._digests.setdefault(channel, []).append(bearer.digest(token))

    def is_private(self, channel: str) -> bool:
        return channel in self._digests

    def sender(self, channel: str, request: HTTPServerRequest, author: str) -> str:
        """Who sends a message over HTTP, where there is no connection to know him by: the author, who shows the same
        token or speaks from the same network as before. What is secret does not show in it."""
        who = next((token for token in _tokens(request) if bearer.matches(token, self._digests.get(channel, ()))), b"")
        known = who or address_key(str(request.remote_ip)).encode()
        return f"http/{folded(author)}/{blake2b(known, digest_size=12).hexdigest()}"

    def denial(self, channel: str, request: HTTPServerRequest) -> AccessDenied | None:
        """Why a request may not enter a channel; None if it may."""
        digests = self._digests.get(channel)
        if digests is None:
            return None
        shown = list(_tokens(request))
        if any(bearer.matches(token, digests) for token in shown):
            return None
        if not shown:
            return AccessDenied(f"Channel '{channel}' is private: a token is needed.", 'Bearer realm="gischat"')
        log.warning("a wrong token", extra={"channel": channel, "address": request.remote_ip})
        challenge = 'Bearer realm="gischat", error="invalid_token"'
        return AccessDenied(f"Channel '{channel}' is private: this token is not valid.", challenge)


def _tokens(request: HTTPServerRequest) -> Iterator[bytes]:
    """What a request shows: as a bearer token, and in the query, for browsers can send a websocket's
    request no headers. One of each: who guesses shall need a request for every guess."""
    yield from filter(
        None, (bearer.from_headers(request.headers), *request.query_arguments.get(TOKEN_PARAMETER, [])[-1:])
    )
