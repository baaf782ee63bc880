"""Access to private channels, by an operator's token or a moderator's key."""

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
    """Why a request is denied, worded for its user and as `WWW-Authenticate` (RFC 6750 §3)."""

    reason: str
    challenge: str
    advice: str = "Ask the people who run it for one."  # for clients that show their users only a text


class ChannelAuth:
    """Knows which channels are private, and checks the tokens and keys of requests."""

    def __init__(self, settings: Settings) -> None:
        self.keys = AccessKeys()
        self._digests: dict[str, list[bytes]] = {}
        for channel, token in settings.channel_tokens:
            self._digests.setdefault(channel, []).append(bearer.digest(token))

    def is_private(self, channel: str) -> bool:
        return channel in self._digests

    def listed(self, channels: Iterable[str], request: HTTPServerRequest) -> list[str]:
        """The channels to list for a request. With a key: public ones, and those that the key opens, because a client
        that needs a key has no field for the token that the others require. Without a key: all."""
        key = key_of(request)
        return [name for name in channels if key is None or not self.is_private(name) or self.keys.opens(name, key)]

    def admits(self, channel: str, key: AccessKey) -> bool:
        """Whether a connection that was opened with a key may stay in a channel."""
        return self.keys.opens(channel, key) if self.is_private(channel) else self.keys.holds(key)

    def sender(self, channel: str, request: HTTPServerRequest, author: str) -> str:
        """Identify the sender of a message over HTTP, which has no connection: by the author, and by the token, key or
        network of the request. The result does not reveal the token or key."""
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
    """The tokens of a request: the bearer token, and the query parameter, since browsers cannot set headers for
    websockets. One of each at most, so that guessing takes a request for each guess."""
    yield from filter(
        None, (bearer.from_headers(request.headers), *request.query_arguments.get(TOKEN_PARAMETER, [])[-1:])
    )
