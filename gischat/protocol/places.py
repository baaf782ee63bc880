"""Where messages are on the map: features of GeoJSON in WGS 84 (RFC 7946), as workers store them and fronts hand them
out.

A place is stored beside its message, under the same id, as JSON: `[type, timestamp, [[bbox, feature], …]]`, where a
bbox is west, south, east, north of a feature, or null where it has no geometry. So a front chooses among features and
hands them on without reading them.

A feature's properties are those of the message (`MESSAGE_PROPERTIES`) and, of a layer, its own under their own names.
Where a layer has a property of its own of such a name, the message's bears a prefix in all features of that layer:
`gischat_id` beside an `id` of the layer's. A layer's own property whose name is one of those with a prefix is left
out, so whoever reads `gischat_id` where there is one, and else `id`, has the message's.

The feature's own id (RFC 7946 §3.2) is that of the message; of a layer with its number, which counts from 1, behind a
dot.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

MESSAGE_PROPERTIES = ("id", "type", "author", "timestamp", "layer_name", "crs_authid")
PREFIX = "gischat_"

MAX_PLACE_BYTES = 4 * 2**20
"""Of one message's place. A layer that needs more is shown with fewer vertices, then without its properties, then as
its extent. What is stored counts towards MAX_STORED_BYTES, as the message itself."""

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
    """Which features are asked for; None is all. A box whose west is greater than its east crosses the antimeridian."""

    types: frozenset[str] | None = None
    since: int | None = None
    box: Box | None = None


def encode(type: str, timestamp: int, features: Sequence[tuple[Box | None, dict[str, Any]]]) -> bytes:
    return msgspec.json.encode((type, timestamp, features))


_decoder = msgspec.json.Decoder(tuple[str, int, list[tuple[Box | None, msgspec.Raw]]])


def decode(stored: bytes) -> Place:
    """What was stored; the features are parts of it, and not copied."""
    return Place(*_decoder.decode(stored))


ALL = Wanted()


def collection(places: Iterable[Place], wanted: Wanted = ALL) -> bytes:
    """The features that are asked for as a FeatureCollection."""
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
    """The message's properties in its features, under the names that they bear beside a layer's own."""
    taken = set(own_names)
    return {PREFIX + name if name in taken else name: message.get(name) for name in MESSAGE_PROPERTIES}


RESERVED = frozenset(PREFIX + name for name in MESSAGE_PROPERTIES)
