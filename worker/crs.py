"""Coordinate reference systems: their transformation to WGS 84 and their area of use, by PROJ (pyproj).

Parse WKT only in a sandbox: it may be crafted to take long, to exhaust memory, or to crash the parser. The result is a
`Crs`, short texts made by PROJ itself, from which any process creates its transformations in half a millisecond. PROJ's
network access is off: only installed grids are used.

Axis order is that of QGIS, x east and y north, whatever the authority says.
"""

import re
import warnings
from array import array
from functools import lru_cache
from math import inf, isfinite
from typing import NamedTuple

from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from pyproj.network import set_network_enabled  # type: ignore[attr-defined]  # documented, and not in its __all__
from pyproj.transformer import TransformerGroup

MAX_OPERATIONS = 64
"""Of a CRS, best first: most have one to four, an old continental datum (NAD27, ED50) has 35."""

STEPS = 10_000_000
"""Per degree: coordinates have seven decimals, a centimetre on the ground."""

_AUTHORITY_AND_CODE = re.compile(r"([A-Za-z_]+):([\w.-]+)\Z", re.ASCII)
_TRANSFORMERS = 128  # in the cache: some 20 kB each


class Box(NamedTuple):
    """A bounding box in degrees of WGS 84; west > east if it crosses the antimeridian (RFC 7946 §5.2)."""

    west: float
    south: float
    east: float
    north: float

    def contains(self, lon: float, lat: float) -> bool:
        if not self.south <= lat <= self.north:
            return False
        if self.west <= self.east:
            return self.west <= lon <= self.east
        return lon >= self.west or lon <= self.east


class Operation(NamedTuple):
    """A transformation from a CRS to WGS 84, as a PROJ pipeline from x and y to degrees.

    `area` is the area it is meant for; None is everywhere that no other operation covers.
    """

    definition: str
    area: Box | None


class Crs(NamedTuple):
    """A CRS' operations and its area of use, if known."""

    operations: tuple[Operation, ...]
    area: Box | None


@lru_cache(maxsize=128)
def find(wkt: str, authid: str) -> Crs | None:
    """Look up the CRS of a message by its `crs_wkt`, or if that cannot be parsed, by its `crs_authid`.

    None if neither can be parsed, or if the CRS has no position on the earth (a CRS of a building site, of heights).
    """
    set_network_enabled(False)
    crs = _read(wkt) or _named(authid)
    if crs is not None and crs.is_compound:  # the horizontal part; heights are not used
        crs = crs.sub_crs_list[0]
    if crs is None or crs.is_geocentric or crs.is_vertical or crs.is_engineering:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # that a missing grid would be more accurate
            ways = TransformerGroup(crs, "EPSG:4326", always_xy=True).transformers[:MAX_OPERATIONS]
    except (CRSError, ProjError):
        return None
    if not ways:
        return None
    # Among the operations for a place, PROJ prefers the most accurate, then the most local. Those of unknown accuracy
    # are used only if there are no others; the one with the widest area serves places that no operation covers.
    ways = sorted([way for way in ways if way.accuracy >= 0] or ways, key=lambda way: (way.accuracy, _size(way)))
    everywhere = Operation(max(ways, key=_size).definition, None)
    local = [Operation(way.definition, _box(way)) for way in ways] if len(ways) > 1 else []
    return Crs((*local, everywhere), _area(crs, authid))


def _size(way: Transformer) -> float:
    """The size of an operation's area in square degrees, for comparisons."""
    box = _box(way) or Box(-180, -90, 180, 90)
    return ((box.east - box.west) % 360 or 360) * (box.north - box.south)


def definition(authid: str) -> str:
    """The WKT of an authority's CRS; "" if it is unknown."""
    crs = _named(authid)
    return "" if crs is None else crs.to_wkt()


def _read(wkt: str) -> CRS | None:
    try:
        return CRS.from_wkt(wkt)
    except (CRSError, ProjError):
        return None


def _named(authid: str) -> CRS | None:
    found = _AUTHORITY_AND_CODE.match(authid.strip())
    try:
        return CRS.from_authority(*found.groups()) if found else None
    except (CRSError, ProjError):
        return None


def _area(crs: CRS, authid: str) -> Box | None:
    """The area of use. WKT 1, which QGIS usually writes, lacks it: then the authority's entry, if for the same CRS."""
    if crs.area_of_use is None:
        named = _named(authid)
        if named is None or not (named.name == crs.name or named.equals(crs, ignore_axis_order=True)):
            return None
        crs = named
    return _box(crs)


def _box(of: CRS | Transformer) -> Box | None:
    return None if of.area_of_use is None else Box(*of.area_of_use.bounds)


@lru_cache(maxsize=_TRANSFORMERS)
def _transformer(definition: str) -> Transformer:
    set_network_enabled(False)
    return Transformer.from_pipeline(definition)


# Adding this to a double leaves no decimals: so PROJ rounds, in a twentieth of the time that Python would take.
_NO_DECIMALS = 3 * 2**51


def _in_steps(definition: str) -> str:
    """The same pipeline with results in whole numbers of 1/STEPS degrees."""
    pipeline = definition if definition.startswith("proj=pipeline") else f"proj=pipeline step {definition}"
    there = f"step proj=affine s11={STEPS} s22={STEPS} xoff={_NO_DECIMALS} yoff={_NO_DECIMALS}"
    return f"{pipeline} {there} step proj=affine xoff=-{_NO_DECIMALS} yoff=-{_NO_DECIMALS}"


class Projector:
    """Transformation from a CRS to WGS 84, by the best operation at a place: the first whose area contains it."""

    def __init__(self, crs: Crs) -> None:
        self._operations = crs.operations

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Longitude and latitude in degrees; infinite outside the CRS."""
        return self._best(x, y)[1]

    def points(self, xs: "array[float]", ys: "array[float]", around: tuple[float, float]) -> None:
        """Transform to longitudes and latitudes in place, all by the operation that is best at the point `around`."""
        _transformer(self._best(*around)[0]).transform(xs, ys, inplace=True, errcheck=False)

    def steps(self, xs: "array[float]", ys: "array[float]", around: tuple[float, float]) -> None:
        """Like `points`, but rounded to whole numbers of 1/STEPS degrees."""
        _transformer(_in_steps(self._best(*around)[0])).transform(xs, ys, inplace=True, errcheck=False)

    def _best(self, x: float, y: float) -> tuple[str, tuple[float, float]]:
        for definition, area in self._operations:
            lon, lat = _transformer(definition).transform(x, y, errcheck=False)
            if isfinite(lon) and isfinite(lat) and (area is None or area.contains(lon, lat)):
                return definition, (lon, lat)
        return self._operations[-1].definition, (inf, inf)
