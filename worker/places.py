"""Places: the features of a message in WGS 84, stored beside it for the map. Pure except for PROJ.

position  a point
bbox      a polygon, whose sides bend as in its CRS
geojson   its features, without heights and without vertices that are not on the earth
crs       the CRS' area of use

A message that cannot be placed is published without a place.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from gischat.protocol.places import MAX_PLACE_BYTES, RESERVED, Box, encode, properties_of
from worker import footprints
from worker.antimeridian import Polygon
from worker.crs import Crs, Projector, find
from worker.footprints import normal_point
from worker.geometries import Geometry, Located, box_of, joined, located, rounded, surface

_BENT = 1e-4  # of an extent: tolerance of its sides, a tenth of a pixel if the extent fills a screen
_THINNED = 1 / 8192  # of a layer's extent: distance below which vertices are dropped first, if there are too many
_THINNINGS = 4

Feature = tuple[Box | None, dict[str, Any]]


class Placed(msgspec.Struct):
    """The keys of a light message that its place is made of."""

    type: str
    id: str
    timestamp: int
    author: str
    crs_wkt: str
    crs_authid: str
    x: float = 0.0
    y: float = 0.0
    xmin: float = 0.0
    ymin: float = 0.0
    xmax: float = 0.0
    ymax: float = 0.0


_placed = msgspec.json.Decoder(Placed)


def read(body: bytes) -> Placed:
    return _placed.decode(body)


def of_light(message: Placed, crs: Crs | None) -> bytes:
    """The encoded place of a position, an extent or a CRS; empty if it has none."""
    geometry = _LIGHT[message.type](message, crs) if crs is not None else None
    if geometry is None:
        return b""
    return _encoded(msgspec.structs.asdict(message), [(geometry, box_of(geometry))], [None])


def _position(message: Placed, crs: Crs) -> Geometry | None:
    point = normal_point(*Projector(crs).point(message.x, message.y))
    return None if point is None else joined("Point", rounded([point]))


def _extent(message: Placed, crs: Crs) -> Geometry | None:
    corners = message.xmin, message.ymin, message.xmax, message.ymax
    middle = (message.xmin + message.xmax) / 2, (message.ymin + message.ymax) / 2
    project = partial(Projector(crs).points, around=middle)
    return surface([_straightened(piece) for piece in footprints.extent(*corners, project)])


def _straightened(piece: Polygon) -> Polygon:
    lons, lats = zip(*piece[0], strict=True)
    tolerance = _BENT * max(max(lons) - min(lons), max(lats) - min(lats))
    return [footprints.straightened(ring, tolerance) for ring in piece]


def _area(message: Placed, crs: Crs) -> Geometry | None:
    return None if crs.area is None else surface(footprints.box(*crs.area))


_LIGHT: Mapping[str, Callable[[Placed, Crs], Geometry | None]] = {
    "position": _position,
    "bbox": _extent,
    "crs": _area,
}


def of_layer(message: dict[str, Any]) -> bytes:
    """The encoded place of a checked layer; empty if its CRS is unknown, or no part of it is on the earth."""
    crs = find(message["crs_wkt"], message["crs_authid"])
    if crs is None:
        return b""
    features = message["geojson"]["features"]
    found = located([feature["geometry"] for feature in features], crs)
    if not any(geometry for geometry, _ in found):
        return b""
    return _encoded(message, found, [feature["properties"] for feature in features])


Properties = dict[str, Any] | None


def _encoded(message: dict[str, Any], found: Sequence[Located], own: Sequence[Properties]) -> bytes:
    """Encode the features with the message's properties, thinned out to at most MAX_PLACE_BYTES."""
    encoded = _encoded_features(message, found, own)
    if len(encoded) <= MAX_PLACE_BYTES:
        return encoded
    boxes = [box for _, box in found if box]
    west, south, east, north = (
        extreme(side) for extreme, side in zip(_EXTREMES, zip(*boxes, strict=True), strict=True)
    )
    nothing: list[Located] = [(None, None)] * len(found)
    for properties in (own, [None] * len(own)):
        if len(_encoded_features(message, nothing, properties)) > MAX_PLACE_BYTES:
            continue  # too long even without vertices
        distance, thinned = _THINNED * max(east - west, north - south), found
        for _ in range(_THINNINGS):
            thinned = [(_thinned(geometry, distance), box) for geometry, box in thinned]
            encoded = _encoded_features(message, thinned, properties)
            if len(encoded) <= MAX_PLACE_BYTES:
                return encoded
            distance *= 8
    extent = surface(footprints.box(west, south, east, north))
    return _encoded_features(message, [(extent, box_of(extent))], [None])


_EXTREMES = (min, min, max, max)


def _encoded_features(message: dict[str, Any], found: Sequence[Located], own: Sequence[Properties]) -> bytes:
    head = properties_of(message, set(chain.from_iterable(filter(None, own))))
    features: list[Feature] = []
    for number, ((geometry, box), properties) in enumerate(zip(found, own, strict=True), start=1):
        shown = head | {name: value for name, value in (properties or {}).items() if name not in RESERVED}
        id = f"{message['id']}.{number}" if message["type"] == "geojson" else message["id"]
        features.append((box, {"type": "Feature", "id": id, "geometry": geometry, "properties": shown}))
    return encode(message["type"], message["timestamp"], features)


def _thinned(geometry: Geometry | None, distance: float) -> Geometry | None:
    if geometry is None:
        return None
    kind = geometry["type"]
    if kind == "GeometryCollection":
        return {"type": kind, "geometries": [_thinned(part, distance) for part in geometry["geometries"]]}
    return {"type": kind, "coordinates": _thinned_parts(geometry["coordinates"], _PATH_DEPTHS[kind], distance)}


_PATH_DEPTHS = {"Point": -1, "MultiPoint": 0, "LineString": 0, "MultiLineString": 1, "Polygon": 1, "MultiPolygon": 2}
"""Geometry type -> depth of the lists around a path."""


def _thinned_parts(parts: Any, depth: int, distance: float) -> Any:
    if depth < 0:
        return parts
    if depth:
        return [_thinned_parts(part, depth - 1, distance) for part in parts]
    return footprints.thinned(parts, distance, at_least=4)
