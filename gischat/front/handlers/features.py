"""Messages on the map: all places of a channel's stored messages, and single messages as files for GIS programs.

Workers make the features; a front selects and serves them. A GeoPackage is made on request by a child process: see
`geopackages`.
"""

import re
from collections.abc import Callable
from math import isfinite
from typing import TypeVar
from urllib.parse import quote

import msgspec
from tornado.web import HTTPError

from gischat.errors import Unavailable
from gischat.front.channel.cache import CachedBody
from gischat.front.channel.geopackages import FAILED, Failed
from gischat.front.handlers.base import Problem
from gischat.front.handlers.rest import ChannelHandler
from gischat.protocol import places
from gischat.protocol.file_names import file_name
from gischat.protocol.places import Box, Wanted
from gischat.protocol.types import PLACED_TYPES

GEOJSON = "application/geo+json"  # RFC 7946 §12
GEOPACKAGE = "application/geopackage+sqlite3"
NOT_STORED = "There is no such message, or it is not stored any more."
NO_PLACE = "This message has no place on the map."
NO_LAYER = "This message has no geometries to make a GeoPackage of."
WITH_GEOMETRY = frozenset({"geojson", "bbox", "position"})

T = TypeVar("T")


class Features(ChannelHandler):
    """`/channel/{channel}/features.geojson`: the places of all stored messages, or of some (see `Wanted`)."""

    MEDIA_TYPE = GEOJSON

    async def get(self, _: str) -> None:
        wanted = Wanted(self._query("type", _types), self._query("since", _timestamp), self._query("bbox", _box))
        room = self.front.rooms[self.channel]
        if wanted == places.ALL:
            await self.answer_from(room.answers.features)
            return
        self.answer_with(await CachedBody.of(await self.redis(room.answers.chosen_features(wanted))))

    def _query(self, name: str, parse: Callable[[str], T]) -> T | None:
        """An optional parameter; if it is given several times, the last one counts."""
        given = self.get_query_argument(name, None)
        if given is None:
            return None
        try:
            return parse(given)
        except ValueError as error:
            fault = {"loc": ["query", name], "msg": str(error), "type": "value_error"}
            raise Problem(422, [fault]) from None


def _types(text: str) -> frozenset[str]:
    types = frozenset(text.split(","))
    if not types <= set(PLACED_TYPES):
        raise ValueError(f"One or more of {', '.join(PLACED_TYPES)}, separated by commas.")
    return types


def _timestamp(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError("Seconds since the epoch, as in a message's timestamp.")
    return int(text)


def _box(text: str) -> Box:
    """Parse a bounding box (RFC 7946 §5): west, south, east, north."""
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        west = south = east = north = float("nan")
    if not all(map(isfinite, (west, south, east, north))):
        raise ValueError("West, south, east and north in degrees of WGS 84, separated by commas.")
    return west, south, east, north


class StoredMessage(ChannelHandler):
    """The base of handlers that serve one stored message."""

    async def stored(self, id: str) -> CachedBody:
        """Read the message.

        Raises:
            HTTPError: the message is not stored.
        """
        found = await self.redis(self.front.rooms[self.channel].answers.message(id))
        if found is None:
            raise HTTPError(404, NOT_STORED)
        return found


class MessageAsJson(StoredMessage):
    """`/channel/{channel}/messages/{id}.json`: the message as sent to clients."""

    async def get(self, _: str, id: str) -> None:
        self.answer_with(await self.stored(id))


class MessageAsGeoJson(StoredMessage):
    """`/channel/{channel}/messages/{id}.geojson`: its place, in WGS 84."""

    MEDIA_TYPE = GEOJSON

    async def get(self, _: str, id: str) -> None:
        place = await self.redis(self.front.broker.history.place(self.channel, id))
        if place is None:
            await self.stored(id)
            raise HTTPError(404, NO_PLACE)
        self.answer_with(await CachedBody.of(places.collection([places.decode(place)])))


class MessageAsGeoPackage(StoredMessage):
    """`/channel/{channel}/messages/{id}.gpkg`: its layer, in the layer's own CRS."""

    async def get(self, _: str, id: str) -> None:
        message = await self.stored(id)
        kind = msgspec.json.decode(message.body, type=Described)
        if kind.type not in WITH_GEOMETRY:
            raise HTTPError(404, NO_LAYER)
        if self.is_known(message.etag):
            return
        try:
            made = await self.front.geopackages.get(message.etag, message.body)
        except Unavailable as refused:
            raise HTTPError(503, refused.reason) from None
        except Failed:
            raise HTTPError(500, FAILED) from None
        self.set_header("Content-Type", GEOPACKAGE)
        self.set_header("Content-Disposition", _attachment(f"{kind.layer_name or kind.type}.gpkg"))
        self.finish(made)


class Described(msgspec.Struct):
    """The keys of a message that determine its file."""

    type: str
    layer_name: str | None = None


def _attachment(name: str) -> str:
    """The header for downloading under that name, which may contain any characters (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(file_name(name), safe='')}"
