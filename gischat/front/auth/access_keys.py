"""Keys in the address: `/k/<key>/` before any path opens the private channels that the key is for.

QGIS and QField have no field for a token, but put an instance's address before every path that they ask for. A key is
taken off a request's path before anything looks at it, and what it is worth is written on the request.

The fronts know all keys from memory: `gischat.front.moderation` tells of every change.
"""

import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest

from gischat.broker.access_keys import AccessKey, digest_of

PREFIX = "/k/"
REDACTED = "/k/…"  # what logs show of it
MAX_SECRET_LENGTH = 200  # characters; more is no key of ours, and costs no hash

_KEYED = re.compile(r"/k/+([^/]+)(/.*)?", re.DOTALL)
_SHOWN = "shown_key"


class ShownKey(NamedTuple):
    """What a request's address has before its path."""

    secret: str
    key: AccessKey | None  # None: it is no key, or not any more


class AccessKeys:
    """All keys, by channel, and whether one holds still."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, AccessKey]] = {}  # by channel and digest

    def replace(self, channel: str, keys: Iterable[AccessKey]) -> bool:
        """A channel's keys are these now; whether they were others."""
        known, self._keys[channel] = self._keys.get(channel, {}), {key.digest: key for key in keys}
        return known != self._keys[channel]

    def find(self, secret: str) -> AccessKey | None:
        """The key, if it holds.

        It is looked up by its hash: how long that takes tells of the hash, which says nothing of the key.
        """
        if len(secret) > MAX_SECRET_LENGTH:
            return None
        digest, now = digest_of(secret), time.time()
        found = (keys[digest] for keys in self._keys.values() if digest in keys)
        return next((key for key in found if key.until > now), None)

    def holds(self, key: AccessKey) -> bool:
        """Whether it opens some channel."""
        return any(self.opens(channel, key) for channel in self._keys)

    def opens(self, channel: str, key: AccessKey) -> bool:
        known = self._keys.get(channel, {}).get(key.digest)
        return known is not None and known.until > time.time()

    @property
    def next_end(self) -> float | None:
        """When the next key ends, in seconds since the epoch."""
        now = time.time()
        ends = (key.until for keys in self._keys.values() for key in keys.values() if key.until > now)
        return min(ends, default=None)


def take_from_path(request: HTTPServerRequest, keys: AccessKeys) -> bool:
    """Takes a key off a request's path, if one is there, and writes on the request what it is worth.

    Whatever is done with the request from here on, logged too, knows no key in its path.
    """
    found = _KEYED.fullmatch(request.path)
    if found is None:
        return False
    secret, below = found[1], "/" + (found[2] or "").lstrip("/")
    setattr(request, _SHOWN, ShownKey(secret, keys.find(secret)))
    request.path = below
    request.uri = f"{below}?{request.query}" if request.query else below
    return True


def shown_key(request: HTTPServerRequest) -> ShownKey | None:
    """What was taken off a request's path."""
    shown: ShownKey | None = getattr(request, _SHOWN, None)
    return shown


def has_wrong_key(request: HTTPServerRequest) -> bool:
    """Whether a request's address has something for a key that opens nothing."""
    shown = shown_key(request)
    return shown is not None and shown.key is None


def key_of(request: HTTPServerRequest) -> AccessKey | None:
    """The key in a request's address, if it has one that holds."""
    shown = shown_key(request)
    return shown.key if shown is not None else None


def forget_secret(request: HTTPServerRequest) -> None:
    """Keeps of the key what it is worth, for a request that stays as long as its websocket does."""
    shown = shown_key(request)
    if shown is not None:
        setattr(request, _SHOWN, ShownKey("", shown.key))
