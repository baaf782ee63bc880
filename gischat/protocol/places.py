"""Places: messages on the map as GeoJSON features in WGS 84 (RFC 7946), stored by workers and served by fronts.

A place is stored beside its message, under the same id, as JSON: `[type, timestamp, [[bbox, feature], …]]`, where bbox
is west, south, east, north, or null for a feature without geometry. So a front selects features without decoding them.

A feature has the properties of the message (`MESSAGE_PROPERTIES`), and in a layer its own. If a layer has a property of
the same name as one of the message's, the latter gets a prefix in all features of the layer: `gischat_id` beside the
layer's `id`. Properties of a layer that already have such a prefixed name are dropped, so `gischat_id` if present, and
else `id`, is always the message's.

A feature's id (RFC 7946 §3.2) is the message's; in a layer, a dot and the feature's number, counted from 1, follow.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

MESSAGE_PROPERTIES = ("id", "type", "author", "timestamp", "layer_name", "crs_authid")
PREFIX = "gischat_"

MAX_PLACE_BYTES = 4 * 2**20
"""Maximum size of a message's place. A larger layer is shown with fewer vertices, then without its properties, then as
its extent. Places count towards MAX_STORED_BYTES, as messages do."""

WGS_84_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
    'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4326"]]'
)

Box = tuple[float, float, float, float]  # west, south, east, north


class Place(NamedTuple):
    """One message's place: its features with their boxes, each feature as JSON."""

    type: str
    timestamp: int
    features: Sequence[tuple[Box | None, msgspec.Raw]]


class Wanted(NamedTuple):
    """A filter of features; None means all. A box with west > east crosses the antimeridian."""

    types: frozenset[str] | None = None
    since: int | None = None
    box: Box | None = None


def encode(type: str, timestamp: int, features: Sequence[tuple[Box | None, dict[str, Any]]]) -> bytes:
    return msgspec.json.encode((type, timestamp, features))


_decoder = msgspec.json.Decoder(tuple[str, int, list[tuple[Box | None, msgspec.Raw]]])


def decode(stored: bytes) -> Place:
    """Decode a stored place; its features are views of `stored`, not copies."""
    return Place(*_decoder.decode(stored))


ALL = Wanted()


def collection(places: Iterable[Place], wanted: Wanted = ALL) -> bytes:
    """The selected features as a FeatureCollection."""
    features = b",".join(feature for place in places for feature in _chosen(place, wanted))
    return b'{"type":"FeatureCollection","features":[%b]}' % features


def _chosen(place: Place, wanted: Wanted) -> list[bytes]:
    if wanted.types is not None and place.type not in wanted.types:
        return []
    if wanted.since is not None and place.timestamp < wanted.since:
        return []
    if wanted.box is None:
        return [bytes(feature) for _, feature in place.features]
    return [bytes(feature) for box, feature in place.features if box is not None and _overlap(box, wanted.box)]


def _overlap(box: Box, wanted: Box) -> bool:
    west, south, east, north = wanted
    if box[1] > north or box[3] < south:
        return False
    if west > east:
        return box[2] >= west or box[0] <= east
    return box[0] <= east and box[2] >= west


def properties_of(message: dict[str, Any], own_names: Iterable[str] = ()) -> dict[str, Any]:
    """The message's properties for its features, prefixed where a layer has properties of the same name."""
    taken = set(own_names)
    return {PREFIX + name if name in taken else name: message.get(name) for name in MESSAGE_PROPERTIES}


RESERVED = frozenset(PREFIX + name for name in MESSAGE_PROPERTIES)
