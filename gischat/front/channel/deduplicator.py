"""Deduplication: remembers the messages that a room has delivered. Pure; times are passed in, in seconds.

After Redis lost its last second, workers publish messages again that everyone has received.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from gischat.broker.entries import Publication
from gischat.protocol.messages import folded

MAX_SEEN_IDS = 4096  # more than a channel publishes in the second that a Redis may lose
PRESENCE_TYPES = frozenset({"newcomer", "exiter"})

K = TypeVar("K")
V = TypeVar("V")


class _Nickname(msgspec.Struct):
    newcomer: str = ""
    exiter: str = ""


class Deduplicator:
    """Remembers the newest ids, and for each nickname whether it last joined or left."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: for which a delivered id is not delivered again: as long as Redis remembers it.
        """
        self._seconds = seconds
        self._seen: OrderedDict[bytes, float] = OrderedDict()  # id -> time
        self._presence: OrderedDict[str, str] = OrderedDict()  # nickname -> type

    def __contains__(self, id: bytes) -> bool:
        """Whether a message with this id is remembered, however long ago it was delivered."""
        return id in self._seen

    def has_seen(self, id: bytes, now: float) -> bool:
        """Whether a message with this id was delivered recently."""
        return now - self._seen.get(id, -math.inf) < self._seconds

    def seed(self, ages: Mapping[bytes, float], now: float) -> None:
        """Record messages as delivered, each so many seconds ago."""
        self._seen.update({id: now - age for id, age in ages.items()})

    def record(self, id: bytes, now: float) -> None:
        """Record a message as delivered, unless it is."""
        if not self.has_seen(id, now):
            _remember(self._seen, id, now)

    def is_duplicate(self, publication: Publication, now: float) -> bool:
        """Whether this message was delivered before; if not, record it as delivered.

        A repeated newcomer or exiter is delivered if it contradicts the last one: after a loss, jobs may be repeated in
        another order, and a present user whose exiter came last would seem gone forever.
        """
        id = publication.id
        if not id:
            return False
        if self.has_seen(id, now) and not self.changes_presence(publication):
            return True
        _remember(self._seen, id, now)
        return False

    def changes_presence(self, publication: Publication) -> bool:
        """Whether a newcomer or exiter contradicts the last one of its nickname."""
        if publication.type not in PRESENCE_TYPES or not publication.body:
            return False
        return self._presence.get(_nickname_in(publication), publication.type) != publication.type

    def record_presence(self, publication: Publication) -> None:
        """Record a delivered newcomer or exiter."""
        if publication.type in PRESENCE_TYPES:
            _remember(self._presence, _nickname_in(publication), publication.type)


def _remember(known: "OrderedDict[K, V]", key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MAX_SEEN_IDS:
        known.popitem(last=False)


def _nickname_in(publication: Publication) -> str:
    """The nickname of a `newcomer` or an `exiter`, folded for comparison."""
    named = msgspec.json.decode(publication.body, type=_Nickname)
    return folded(named.newcomer or named.exiter)
