"""Places: the features of a message in WGS 84, stored beside it for the map. Pure except for PROJ.

position  a point
bbox      a polygon, whose sides bend as in its CRS
geojson   its features, without heights and without vertices that are not on the earth
crs       the CRS' area of use

A message that cannot be placed is published without a place.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from gischat.protocol.places import MAX_PLACE_BYTES, RESERVED, Box, encode, properties_of
from worker import footprints
from worker.crs import STEPS, Crs, Projector, find
from worker.footprints import Path, Point, Polygon, is_right_handed, normal_point

_BENT = 1e-4  # of an extent: tolerance of its sides, a tenth of a pixel if the extent fills a screen
_THINNED = 1 / 8192  # of a layer's extent: distance below which vertices are dropped first, if there are too many
_THINNINGS = 4

Coordinates = list[Any]
Geometry = dict[str, Any]
Located = tuple[Geometry | None, Box | None]
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
    return _encoded(msgspec.structs.asdict(message), [(geometry, _box(geometry))], [None])


def _position(message: Placed, crs: Crs) -> Geometry | None:
    point = normal_point(*Projector(crs).point(message.x, message.y))
    return None if point is None else _joined("Point", _rounded([point]))


def _extent(message: Placed, crs: Crs) -> Geometry | None:
    corners = message.xmin, message.ymin, message.xmax, message.ymax
    middle = (message.xmin + message.xmax) / 2, (message.ymin + message.ymax) / 2
    project = partial(Projector(crs).points, around=middle)
    return _surface([_straightened(piece) for piece in footprints.extent(*corners, project)])


def _straightened(piece: Polygon) -> Polygon:
    lons, lats = zip(*piece[0], strict=True)
    tolerance = _BENT * max(max(lons) - min(lons), max(lats) - min(lats))
    return [footprints.straightened(ring, tolerance) for ring in piece]


def _area(message: Placed, crs: Crs) -> Geometry | None:
    return None if crs.area is None else _surface(footprints.box(*crs.area))


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
    found = _located([feature["geometry"] for feature in features], crs)
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
    extent = _surface(footprints.box(west, south, east, north))
    return _encoded_features(message, [(extent, _box(extent))], [None])


_EXTREMES = (min, min, max, max)


def _encoded_features(message: dict[str, Any], found: Sequence[Located], own: Sequence[Properties]) -> bytes:
    head = properties_of(message, set(chain.from_iterable(filter(None, own))))
    features: list[Feature] = []
    for number, ((geometry, box), properties) in enumerate(zip(found, own, strict=True), start=1):
        shown = head | {name: value for name, value in (properties or {}).items() if name not in RESERVED}
        id = f"{message['id']}.{number}" if message["type"] == "geojson" else message["id"]
        features.append((box, {"type": "Feature", "id": id, "geometry": geometry, "properties": shown}))
    return encode(message["type"], message["timestamp"], features)


# Geometries


def _located(geometries: Sequence[Geometry | None], crs: Crs) -> list[Located]:
    """Transform geometries to WGS 84, without parts that are not on the earth; all vertices in one call to PROJ."""
    positions = list(chain.from_iterable(chain.from_iterable(map(_paths, geometries))))
    if not positions:
        return [(None, None)] * len(geometries)
    layer = _Layer(*_coordinates(positions), crs)
    return list(map(layer.located, geometries))


def _paths(geometry: Geometry | None) -> Iterator[Coordinates]:
    """Yield the lists of positions of a geometry."""
    if geometry is None:
        return
    kind = geometry["type"]
    if kind == "GeometryCollection":
        yield from chain.from_iterable(map(_paths, geometry["geometries"]))
        return
    coordinates = geometry["coordinates"]
    if kind == "Point":
        yield [coordinates] if coordinates else []
    elif kind in ("MultiPoint", "LineString"):
        yield coordinates
    elif kind in ("Polygon", "MultiLineString"):
        yield from coordinates
    else:
        yield from chain.from_iterable(coordinates)


def _coordinates(positions: Sequence[Coordinates]) -> "tuple[array[float], array[float]]":
    numbers = list(chain.from_iterable(positions))
    if len(numbers) == 2 * len(positions):  # none has fewer than two
        flat = array("d", numbers)
        return flat[0::2], flat[1::2]
    return array("d", [position[0] for position in positions]), array("d", [position[1] for position in positions])


class _Layer:
    """All vertices of a layer, in its CRS and in WGS 84; returns them geometry by geometry.

    Geometries that are clearly on one side of the earth are taken as transformed. Others (near the antimeridian or a
    pole, or partly not on the earth) are processed vertex by vertex: see `footprints`.
    """

    def __init__(self, xs: "array[float]", ys: "array[float]", crs: Crs) -> None:
        self._xs, self._ys = xs, ys
        middle = xs[len(xs) // 2], ys[len(ys) // 2]
        projector = Projector(crs)
        self._project = partial(projector.points, around=middle)
        lons, lats = xs[:], ys[:]
        projector.steps(lons, lats, middle)
        self._lons, self._lats = lons.tolist(), lats.tolist()
        self._at = 0
        self._is_plain = True
        self._points = [(lon / STEPS, lat / STEPS) for lon, lat in zip(self._lons, self._lats, strict=True)]

    def located(self, geometry: Geometry | None) -> Located:
        """The transformed `geometry`, which must be the next one, and its box; None if nothing is left of it."""
        if geometry is None:
            return None, None
        start, end = self._at, self._at + sum(map(len, _paths(geometry)))
        box = _extremes(self._lons[start:end], self._lats[start:end])
        self._is_plain = _are_plain(box)
        found = self.next(geometry)
        if found is None or box is None:
            return None, None
        if not self._is_plain:
            return found, _box(found)
        west, south, east, north = box
        return found, (west / STEPS, south / STEPS, east / STEPS, north / STEPS)

    def next(self, geometry: Geometry) -> Geometry | None:
        """The transformed `geometry`, which must be the next one; None if nothing is left of it."""
        kind = geometry["type"]
        if kind == "GeometryCollection":
            parts = list(filter(None, map(self.next, geometry["geometries"])))
            return {"type": kind, "geometries": parts} if parts else None
        coordinates = geometry["coordinates"]
        if kind == "Point":
            return _joined("Point", self._next_points([coordinates] if coordinates else []))
        if kind == "MultiPoint":
            points = self._next_points(coordinates)
            return {"type": kind, "coordinates": points} if points else None
        if kind in ("LineString", "MultiLineString"):
            lines = [coordinates] if kind == "LineString" else coordinates
            return _joined("LineString", chain.from_iterable(map(self._next_lines, lines)))
        polygons = [coordinates] if kind == "Polygon" else coordinates
        return _joined("Polygon", chain.from_iterable(map(self._next_polygons, polygons)))

    def _next_points(self, positions: Coordinates) -> Path:
        start, end = self._step(positions)
        if self._is_plain:
            return self._points[start:end]
        return list(filter(None, (normal_point(*point) for point in self._points[start:end])))

    def _next_lines(self, positions: Coordinates) -> list[Path]:
        start, end = self._step(positions)
        if self._is_plain:
            return [self._points[start:end]] if end - start > 1 else []
        return list(map(_rounded, footprints.line(self._vertices(start, end), self._project)))

    def _next_polygons(self, rings: Coordinates) -> list[Polygon]:
        places = list(map(self._step, rings))
        if not self._is_plain:
            pieces = footprints.polygon([self._vertices(*place) for place in places], self._project)
            return [list(map(_rounded, piece)) for piece in pieces]
        found = [self._ring(*place, is_outer=not number) for number, place in enumerate(places)]
        return [list(filter(None, found))] if found and found[0] else []

    def _ring(self, start: int, end: int, *, is_outer: bool) -> Path:
        """A closed ring, oriented by RFC 7946 §3.1.6 (outer ones counter-clockwise); [] if below four points."""
        points = self._points[start:end]
        if points and points[0] != points[-1]:
            points.append(points[0])
        if len(points) < 4:
            return []
        lons = self._lons[start:end]
        return points if is_right_handed(points, lons.index(min(lons))) == is_outer else points[::-1]

    def _step(self, positions: Coordinates) -> tuple[int, int]:
        start, self._at = self._at, self._at + len(positions)
        return start, self._at

    def _vertices(self, start: int, end: int) -> Path:
        return list(zip(self._xs[start:end], self._ys[start:end], strict=True))


def _extremes(lons: Sequence[float], lats: Sequence[float]) -> Box | None:
    return (min(lons), min(lats), max(lons), max(lats)) if lons else None


def _are_plain(box: Box | None) -> bool:
    """Whether a box (in 1/STEPS degrees) is entirely on the earth, and less than 180° wide."""
    if box is None:
        return True
    west, south, east, north = box
    side = 180 * STEPS
    return east - west < side and -side <= west and east <= side and -side / 2 <= south and north <= side / 2


def _rounded(points: Iterable[Point]) -> Path:
    return [(round(lon * STEPS) / STEPS, round(lat * STEPS) / STEPS) for lon, lat in points]


def _joined(kind: str, parts: Iterable[Any]) -> Geometry | None:
    """One geometry, single or multi, of one or more parts; None if there are none."""
    found = list(parts)
    if not found:
        return None
    return (
        {"type": kind, "coordinates": found[0]} if len(found) == 1 else {"type": f"Multi{kind}", "coordinates": found}
    )


def _surface(polygons: Iterable[Polygon]) -> Geometry | None:
    return _joined("Polygon", [list(map(_rounded, piece)) for piece in polygons])


def _box(geometry: Geometry | None) -> Box | None:
    lons, lats = [], []
    for path in _paths(geometry):
        if path:
            along, up = zip(*path, strict=True)
            lons += [min(along), max(along)]
            lats += [min(up), max(up)]
    return (min(lons), min(lats), max(lons), max(lats)) if lons else None


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
