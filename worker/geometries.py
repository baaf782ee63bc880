"""GeoJSON geometries of a message, transformed to WGS 84. Pure except for PROJ."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from gischat.protocol.places import Box
from worker import footprints
from worker.antimeridian import Path, Point, Polygon, is_right_handed
from worker.crs import STEPS, Crs, Projector
from worker.footprints import normal_point

Coordinates = list[Any]
Geometry = dict[str, Any]
Located = tuple[Geometry | None, Box | None]


def located(geometries: Sequence[Geometry | None], crs: Crs) -> list[Located]:
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
            return found, box_of(found)
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
            return joined("Point", self._next_points([coordinates] if coordinates else []))
        if kind == "MultiPoint":
            points = self._next_points(coordinates)
            return {"type": kind, "coordinates": points} if points else None
        if kind in ("LineString", "MultiLineString"):
            lines = [coordinates] if kind == "LineString" else coordinates
            return joined("LineString", chain.from_iterable(map(self._next_lines, lines)))
        polygons = [coordinates] if kind == "Polygon" else coordinates
        return joined("Polygon", chain.from_iterable(map(self._next_polygons, polygons)))

    def _next_points(self, positions: Coordinates) -> Path:
        start, end = self._step(positions)
        if self._is_plain:
            return self._points[start:end]
        return list(filter(None, (normal_point(*point) for point in self._points[start:end])))

    def _next_lines(self, positions: Coordinates) -> list[Path]:
        start, end = self._step(positions)
        if self._is_plain:
            return [self._points[start:end]] if end - start > 1 else []
        return list(map(rounded, footprints.line(self._vertices(start, end), self._project)))

    def _next_polygons(self, rings: Coordinates) -> list[Polygon]:
        places = list(map(self._step, rings))
        if not self._is_plain:
            pieces = footprints.polygon([self._vertices(*place) for place in places], self._project)
            return [list(map(rounded, piece)) for piece in pieces]
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


def rounded(points: Iterable[Point]) -> Path:
    return [(round(lon * STEPS) / STEPS, round(lat * STEPS) / STEPS) for lon, lat in points]


def joined(kind: str, parts: Iterable[Any]) -> Geometry | None:
    """One geometry, single or multi, of one or more parts; None if there are none."""
    found = list(parts)
    if not found:
        return None
    return (
        {"type": kind, "coordinates": found[0]} if len(found) == 1 else {"type": f"Multi{kind}", "coordinates": found}
    )


def surface(polygons: Iterable[Polygon]) -> Geometry | None:
    return joined("Polygon", [list(map(rounded, piece)) for piece in polygons])


def box_of(geometry: Geometry | None) -> Box | None:
    lons, lats = [], []
    for path in _paths(geometry):
        if path:
            along, up = zip(*path, strict=True)
            lons += [min(along), max(along)]
            lats += [min(up), max(up)]
    return _extremes(lons, lats)
