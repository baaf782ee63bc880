"""Geometries of a GeoPackage: its own header, then well-known binary."""

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

_TYPES = {
    "Point": 1,
    "LineString": 2,
    "Polygon": 3,
    "MultiPoint": 4,
    "MultiLineString": 5,
    "MultiPolygon": 6,
    "GeometryCollection": 7,
}
"""Geometry type -> its number in well-known binary (OGC 06-103r4 §8.2.8)."""

Geometry = dict[str, Any]


def blob(geometry: Geometry | None, srs_id: int) -> bytes | None:
    """A geometry as a GeoPackage blob (§2.1.3): little-endian, with its envelope; None if it is empty."""
    found = list(positions(geometry))
    if geometry is None or not found:
        return None
    envelope = struct.pack("<4d", *extent(found))
    has_height = any(len(position) > 2 for position in found)
    return b"GP" + struct.pack("<BBi", 0, 0b11, srs_id) + envelope + _wkb(geometry, has_height)


def positions(geometry: Geometry | None) -> Iterator[Sequence[float]]:
    if geometry is None:
        return
    if geometry["type"] == "GeometryCollection":
        yield from chain.from_iterable(map(positions, geometry["geometries"]))
        return
    level = [geometry["coordinates"]]
    while level and not _is_position(level[0]):
        level = [item for item in chain.from_iterable(level) if item]
    yield from filter(None, level)


def _is_position(item: Sequence[Any]) -> bool:
    return bool(item) and not isinstance(item[0], list)


def extent(positions: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Minimum and maximum of x, then of y."""
    xs, ys = [position[0] for position in positions], [position[1] for position in positions]
    return min(xs), max(xs), min(ys), max(ys)


def _wkb(geometry: Geometry, has_height: bool) -> bytes:
    kind = geometry["type"]
    head = struct.pack("<BI", 1, _TYPES[kind] + 1000 * has_height)
    if kind == "GeometryCollection":
        parts = [part for part in geometry["geometries"] if any(True for _ in positions(part))]
        return head + struct.pack("<I", len(parts)) + b"".join(_wkb(part, has_height) for part in parts)
    coordinates = geometry["coordinates"]
    if kind == "Point":
        return head + _vertices([coordinates], has_height)
    if kind == "LineString":
        return head + _counted(coordinates, has_height)
    if kind == "Polygon":
        rings = [_closed(ring) for ring in coordinates if ring]
        return head + struct.pack("<I", len(rings)) + b"".join(_counted(ring, has_height) for ring in rings)
    single = kind.removeprefix("Multi")
    parts = [{"type": single, "coordinates": part} for part in coordinates if part]
    return head + struct.pack("<I", len(parts)) + b"".join(_wkb(part, has_height) for part in parts)


def _closed(ring: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    return ring if ring[0] == ring[-1] else [*ring, ring[0]]


def _counted(positions: Sequence[Sequence[float]], has_height: bool) -> bytes:
    return struct.pack("<I", len(positions)) + _vertices(positions, has_height)


def _vertices(positions: Sequence[Sequence[float]], has_height: bool) -> bytes:
    size = 2 + has_height
    numbers = list(chain.from_iterable((*position, 0.0)[:size] for position in positions))
    return struct.pack(f"<{len(numbers)}d", *numbers)


def with_one_type(geometries: Sequence[Geometry | None]) -> tuple[str, list[Geometry | None]]:
    """The table's geometry type, and the geometries; if single and multi geometries are mixed, all become multi."""
    kinds = {geometry["type"] for geometry in geometries if geometry}
    if len(kinds) == 1:
        return kinds.pop().upper(), list(geometries)
    bases = {kind.removeprefix("Multi") for kind in kinds}
    if len(bases) != 1:
        return "GEOMETRY", list(geometries)
    multiple = f"Multi{bases.pop()}"
    return multiple.upper(), [
        {"type": multiple, "coordinates": [geometry["coordinates"]] if geometry["coordinates"] else []}
        if geometry and geometry["type"] != multiple
        else geometry
        for geometry in geometries
    ]
