"""Access keys in URLs: with `/k/<key>/` before its path, a request may enter the private channels of the key.

QGIS and QField have no field for a token, but prefix all paths with an instance's address. The key is removed from a
request's path before anything else reads it, and stored on the request together with what it opens.

Fronts keep all keys in memory; `gischat.front.moderation` updates them.
"""

import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest

from gischat.broker.access_keys import AccessKey, digest_of

PREFIX = "/k/"
REDACTED = "/k/…"  # its replacement in logs
MAX_SECRET_LENGTH = 200  # characters; longer texts are not hashed, because they cannot be keys

_KEYED = re.compile(r"/k/+([^/]+)(/.*)?", re.DOTALL)
_SHOWN = "shown_key"


class ShownKey(NamedTuple):
    """The key in a request's URL."""

    secret: str
    key: AccessKey | None  # None: it is not valid, or not any more


class AccessKeys:
    """All keys, by channel."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, AccessKey]] = {}  # by channel and digest

    def replace(self, channel: str, keys: Iterable[AccessKey]) -> bool:
        """Replace a channel's keys; returns whether they differ."""
        known, self._keys[channel] = self._keys.get(channel, {}), {key.digest: key for key in keys}
        return known != self._keys[channel]

    def find(self, secret: str) -> AccessKey | None:
        """Look up a key; None if it is not valid.

        The lookup is by hash: its duration may reveal something about the hash, which reveals nothing about the key.
        """
        if len(secret) > MAX_SECRET_LENGTH:
            return None
        digest, now = digest_of(secret), time.time()
        found = (keys[digest] for keys in self._keys.values() if digest in keys)
        return next((key for key in found if key.until > now), None)

    def holds(self, key: AccessKey) -> bool:
        """Whether a key opens any channel."""
        return any(self.opens(channel, key) for channel in self._keys)

    def opens(self, channel: str, key: AccessKey) -> bool:
        known = self._keys.get(channel, {}).get(key.digest)
        return known is not None and known.until > time.time()

    @property
    def next_end(self) -> float | None:
        """The end of the next key that ends, in seconds since the epoch; None if there is none."""
        now = time.time()
        ends = (key.until for keys in self._keys.values() for key in keys.values() if key.until > now)
        return min(ends, default=None)


def take_from_path(request: HTTPServerRequest, keys: AccessKeys) -> bool:
    """Move a key from a request's path to an attribute of the request; returns whether there was one.

    From then on the request's path, which is logged, contains no key.
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
    """The key that was in a request's path; None if there was none."""
    shown: ShownKey | None = getattr(request, _SHOWN, None)
    return shown


def has_wrong_key(request: HTTPServerRequest) -> bool:
    """Whether a request's URL contains a key that is not valid."""
    shown = shown_key(request)
    return shown is not None and shown.key is None


def key_of(request: HTTPServerRequest) -> AccessKey | None:
    """The valid key in a request's URL, if there is one."""
    shown = shown_key(request)
    return shown.key if shown is not None else None


def forget_secret(request: HTTPServerRequest) -> None:
    """Remove the secret, but not what it opens, from a request that lives as long as its websocket."""
    shown = shown_key(request)
    if shown is not None:
        setattr(request, _SHOWN, ShownKey("", shown.key))
