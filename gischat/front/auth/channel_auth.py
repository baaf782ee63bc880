"""Private channels: who hears and speaks there shows a token of the operator's, or a key of the moderators'."""

import logging
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest

from gischat import bearer
from gischat.broker.access_keys import AccessKey
from gischat.front.auth.access_keys import AccessKeys, has_wrong_key, key_of
from gischat.front.auth.client_address import address_key
from gischat.protocol.messages import folded
from gischat.settings import Settings

log = logging.getLogger(__name__)

TOKEN_PARAMETER = "token"  # the query parameter
WRONG_KEY = "The key in this address is not valid, or not any more: ask the people who gave it to you for a new one."
NO_TOKEN = "Channel '{}' is private: a token is needed."
WRONG_TOKEN = "Channel '{}' is private: this token is not valid."
OTHER_KEY = "Channel '{}' is private: your key is not for it."
INVALID_TOKEN = 'Bearer realm="gischat", error="invalid_token"'


class AccessDenied(NamedTuple):
    """Why a request may not enter, in words for its user, and as `WWW-Authenticate` says it (RFC 6750 §3)."""

    reason: str
    challenge: str
    advice: str = "Ask the people who run it for one."  # for those who see nothing but words


class ChannelAuth:
    """Which channels are private, and whether a request shows the token of one, or a key for it."""

    def __init__(self, settings: Settings) -> None:
        self.keys = AccessKeys()
        self._digests: dict[str, list[bytes]] = {}
        for channel, token in settings.channel_tokens:
            self._digests.setdefault(channel, []).append(bearer.digest(token))

    def is_private(self, channel: str) -> bool:
        return channel in self._digests

    def listed(self, channels: Iterable[str], request: HTTPServerRequest) -> list[str]:
        """The channels that a request is told of. Under a key: the public ones, and those that the key opens; others
        would only ask for a token, for which whoever needs a key has no field. Without a key: all."""
        key = key_of(request)
        return [name for name in channels if key is None or not self.is_private(name) or self.keys.opens(name, key)]

    def admits(self, channel: str, key: AccessKey) -> bool:
        """Whether who came by a key may stay in a channel."""
        return self.keys.opens(channel, key) if self.is_private(channel) else self.keys.holds(key)

    def sender(self, channel: str, request: HTTPServerRequest, author: str) -> str:
        """Who sends a message over HTTP, where there is no connection to know him by: the author, who shows the same
        token or speaks from the same network as before. What is secret does not show in it."""
        who = next((token for token in _tokens(request) if bearer.matches(token, self._digests.get(channel, ()))), b"")
        if not who and (key := key_of(request)) is not None:
            who = key.digest.encode()
        known = who or address_key(str(request.remote_ip)).encode()
        return f"http/{folded(author)}/{blake2b(known, digest_size=12).hexdigest()}"

    def denial(self, channel: str, request: HTTPServerRequest) -> AccessDenied | None:
        """Why a request may not enter a channel; None if it may."""
        if has_wrong_key(request):
            return AccessDenied(WRONG_KEY, INVALID_TOKEN, advice="")
        digests, key = self._digests.get(channel), key_of(request)
        if digests is None or (key is not None and self.keys.opens(channel, key)):
            return None
        shown = list(_tokens(request))
        if any(bearer.matches(token, digests) for token in shown):
            return None
        if key is not None and not shown:
            return AccessDenied(OTHER_KEY.format(channel), INVALID_TOKEN)
        if not shown:
            return AccessDenied(NO_TOKEN.format(channel), 'Bearer realm="gischat"')
        log.warning("a wrong token", extra={"channel": channel, "address": request.remote_ip})
        return AccessDenied(WRONG_TOKEN.format(channel), INVALID_TOKEN)


def _tokens(request: HTTPServerRequest) -> Iterator[bytes]:
    """What a request shows: as a bearer token, and in the query, for browsers can send a websocket's
    request no headers. One of each: who guesses shall need a request for every guess."""
    yield from filter(
        None, (bearer.from_headers(request.headers), *request.query_arguments.get(TOKEN_PARAMETER, [])[-1:])
    )
