"""Which messages a room has delivered: nothing is delivered twice. Pure; times are handed in, in seconds.

A Redis that lost its last second makes workers publish again what everyone has heard.
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
    """Remembers the newest ids, and of each nickname whether it came or went last."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: for which an id that was delivered is not delivered again: as long as Redis knows it.
        """
        self._seconds = seconds
        self._seen: OrderedDict[bytes, float] = OrderedDict()  # when, by id
        self._presence: OrderedDict[str, str] = OrderedDict()  # the type, by nickname

    def __contains__(self, id: bytes) -> bool:
        """Whether a message of this id is remembered, however long ago it was delivered."""
        return id in self._seen

    def has_seen(self, id: bytes, now: float) -> bool:
        """Whether a message of this id was delivered lately."""
        return now - self._seen.get(id, -math.inf) < self._seconds

    def seed(self, ages: Mapping[bytes, float], now: float) -> None:
        """These messages count as delivered, each so many seconds ago."""
        self._seen.update({id: now - age for id, age in ages.items()})

    def is_duplicate(self, publication: Publication, now: float) -> bool:
        """Whether this message was delivered before; one that was not counts as delivered from now on.

        Who comes and goes is told again where the room was told the contrary since: what was lost may be done again in
        another order, and whoever was said to be gone last, and is there, would be gone for ever.
        """
        id = publication.id
        if not id:
            return False
        if self.has_seen(id, now) and not self.changes_presence(publication):
            return True
        _remember(self._seen, id, now)
        return False

    def changes_presence(self, publication: Publication) -> bool:
        """Whether somebody comes who was said to have gone last, or the other way round."""
        if publication.type not in PRESENCE_TYPES or not publication.body:
            return False
        return self._presence.get(_nickname_in(publication), publication.type) != publication.type

    def record_presence(self, publication: Publication) -> None:
        """Everyone is told who came or went."""
        if publication.type in PRESENCE_TYPES:
            _remember(self._presence, _nickname_in(publication), publication.type)


def _remember(known: "OrderedDict[K, V]", key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MAX_SEEN_IDS:
        known.popitem(last=False)


def _nickname_in(publication: Publication) -> str:
    """Of a `newcomer` or an `exiter`, as nicknames are compared."""
    named = msgspec.json.decode(publication.body, type=_Nickname)
    return folded(named.newcomer or named.exiter)
