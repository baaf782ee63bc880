"""GeoJSON checks: whatever QGIS cannot read is repaired, or refused with the feature, the fault and the remedy.

The measure is what readers accept, not RFC 7946 alone: a receiver's QGIS opens the layer with GDAL. The columns say
what QGIS' own exporter (3.22) writes and how GDAL reads it (2.4, 3.6, 3.9 and 3.12; "by version" where they differ).
"No geometry" means that a feature appears in the attribute table but not on the map.

====================================================  ===========  =======================  =====================
found                                                 QGIS writes  GDAL reads               the layer is
====================================================  ===========  =======================  =====================
null or empty geometry; empty line, ring, polygon     yes          nothing to show          passed
line of one vertex; ring open, or of 1 to 3 vertices  yes          as it is; QGIS closes    passed
extent nested, null or half null, or any other        yes          does not look at it      passed
null or negative id; foreign members ("crs", "name")  yes          yes                      passed
"properties" of the collection (ArcGIS); another      no           yes                      passed
type's members in any object (§7.1 forbids them)
vertices with and without height in one line          no           0 where there is none    passed
more numbers than x, y and height                     no           x, y, mostly the height  passed
null height, [x, y, null], and what follows it        yes          no geometry, lost part   repaired: cut off
empty part of a multipoint, [null, null] or []        yes          no geometry              repaired: dropped
whole number beyond 64 bits as a coordinate           no           as the largest of them   repaired: as a double
x or y null (NaN, infinite in QGIS) or missing        yes          no geometry, lost part   refused
x or y infinite                                       as null      so; QGIS fails on it     refused
coordinate that is no number                          no           no geometry              refused
null geometry in a collection, null part or ring      no           by version               refused
no "type", or another than the RFC's                  no           by version               refused
no "geometry" or "properties", odd id (§3.2)          no           yes; strict readers not  refused
no FeatureCollection, "features" that are no list     no           by version, or not       refused
number that no double holds                           no           no layer, by version     refused
properties nested deeply                              no           yes; strict readers not  refused
====================================================  ===========  =======================  =====================

Coordinates are in the layer's own CRS, so their only limit is the range of doubles, on which readers may rely
(RFC 8259 §6). QGIS writes null for an unknown height (NaN). Once cut off, it is read as 0 if another vertex of the line
has a height; GeoJSON cannot express it better.

Pure except for the repairs, which are made in place. Why not a library: for correct answers in words that a map maker
understands. On 500 features with 100 000 vertices (4 MB, 18 ms here), shapely takes twice as long and closes open rings
unasked; geojson-pydantic takes 2.7 times as long and accepts NaN and "2.35" as coordinates; geojson takes 10 times as
long and fails on a text among them; marshmallow takes 23 times as long. Typed msgspec structs take two thirds of the
time, but five times as long when their copy triggers the garbage collector, and accept NaN.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from itertools import chain, filterfalse
from math import isfinite
from types import NoneType
from typing import Any

from gischat.errors import Uncompliant
from gischat.protocol.wording import excerpt

MAX_COLLECTIONS = 8
"""Nesting of geometry collections; RFC 7946 §3.1.8 advises against more than one."""

MAX_DEPTH = 32
"""Nesting of lists and objects in a property. Together with the message around it, this is well below the limits of
common JSON readers: 64 in .NET, 1024 in Qt, about 1000 minus the current stack in Python."""

FIX = (
    "Remove this feature or fix its geometry (in QGIS: Vector > Geometry Tools > Check Validity),"
    " then send the layer again."
)
"""The remedy for faults that a drawn geometry can have."""

ANEW = "Export the layer anew as GeoJSON (in QGIS: Export > Save Features As) and send that."
"""The remedy for faults that no export of QGIS has."""

CHANGE = "Change or remove that value and send the layer again."
"""The remedy for a value that JSON readers cannot hold."""

Checker = Callable[[str, Any], None]
"""Takes a position in the feature, in words, and the value there; raises Uncompliant if readers could not read it.
May repair a list in place."""


def check(collection: object, *, max_features: int) -> None:
    """Raise Uncompliant unless `collection`, parsed JSON, is a FeatureCollection of at most `max_features`.

    What QGIS writes but GDAL cannot read is repaired in place. The number of features is checked first. Otherwise the
    reason names the first fault and its remedy: "Feature 12: polygon, ring 1, vertex 3 has no finite x. Remove this
    feature or …". Features are named by their id, if they have one. Numbers count from 1.
    """
    features = collection.get("features") if isinstance(collection, dict) else None
    if isinstance(features, list) and len(features) > max_features:
        raise Uncompliant(f"Too many geojson features : {len(features)} vs max {max_features} allowed")
    _check_collection("The layer", collection)


# The objects: RFC 7946 §3


def _check_collection(where: str, collection: object) -> None:
    if isinstance(collection, dict) and collection.get("type") in ["Feature", *_GEOMETRIES]:
        raise Uncompliant(
            f"{where} is a single {collection['type']}. Put it into a FeatureCollection and send that:"
            ' {"type": "FeatureCollection", "features": […]}.'
        )
    members = _object_of_type(["FeatureCollection"], where, collection)
    features = _list(f"{where}: features", _member(where, members, "features"))
    _check_other_members(where, members, known={"features"})
    for number, feature in enumerate(features, start=1):
        try:
            _check_feature(feature)
        except Uncompliant as fault:
            raise Uncompliant(f"Feature {_id_or_number(feature, number)}{fault.reason}") from None


def _id_or_number(feature: object, number: int) -> str:
    """The name of a feature in a reason: its id, which QGIS shows as $id, or else its number."""
    identifier: Any = feature.get("id") if isinstance(feature, dict) else None
    if isinstance(identifier, str) and identifier.strip():
        return f"{excerpt(identifier)} (its id)"
    if type(identifier) in _NUMBERS and -(2**63) <= identifier < 2**63:
        return f"{identifier} (its id)"
    return str(number)


def _check_feature(feature: object) -> None:
    """Check a feature. The reason lacks its beginning, "Feature 12", which is added only when it is needed."""
    members = _object_of_type(["Feature"], "", feature)
    geometry, properties = _member("", members, "geometry"), _member("", members, "properties")
    if geometry is not None:
        _check_geometry(":", geometry)
    if properties is not None:
        _check_values(": property", _object(": properties", properties))
    _check_id(": id", members.get("id"))
    _check_other_members("", members, known={"geometry", "properties"})


def _check_id(where: str, identifier: object) -> None:
    """Check an id (§3.2): a text or a number. QGIS writes null for a feature that it has not saved yet."""
    if isinstance(identifier, str | None):
        return
    if type(identifier) not in _NUMBERS:
        raise _must_be(where, "a text or a number", identifier)
    if not _are_finite([identifier]):
        raise _refusal(f"{where} is infinite or too large", CHANGE)


def _check_geometry(where: str, geometry: object) -> None:
    """Check a geometry; its type gives the words of the reason: "polygon, ring 1, vertex 3 has no finite x"."""
    members = _object_of_type(_GEOMETRIES, f"{where} geometry", geometry)
    word, name, check_content = _GEOMETRIES[members["type"]]
    where = f"{where} {word}"
    check_content(where, _member(where, members, name))
    _check_other_members(where, members, known={name})


def _check_other_members(where: str, members: Mapping[str, Any], *, known: Set[str]) -> None:
    """Check bbox (§5) and foreign members (§6.1), including other types': readers ignore them."""
    others = {name: value for name, value in members.items() if name not in known}
    _check_values(f"{where}: member", others)


# The coordinates: RFC 7946 §3.1


def _each(noun: str, check_item: Checker) -> Checker:
    """Make a checker of lists that applies `check_item` to each item; `noun` and a number give the item's position."""

    def check_items(where: str, items: object) -> None:
        for number, item in enumerate(_list(where, items), start=1):
            check_item(f"{where}, {noun} {number}", item)

    return check_items


def _check_vertices(where: str, vertices: object) -> None:
    """Check the vertices of a line or a ring: any number, closed or not."""
    found = _list(where, vertices)
    if not _are_positions(found):
        _cut_null_heights(found)
        if not _are_positions(found):
            _check_each_vertex(where, found)


def _are_positions(found: list[Any]) -> bool:
    """True only if `_check_position` would accept every item unchanged; a fast check, whose loops run in C."""
    if set(map(type, found)) != {list} or min(map(len, found)) < 2:
        return False
    numbers = list(chain.from_iterable(found))
    return set(map(type, numbers)) <= _NUMBERS and _is_sum_within_64_bits(numbers)


def _is_sum_within_64_bits(numbers: Iterable[float]) -> bool:
    """Whether the sum of absolute values is within 64 bits: then each number is, and is finite."""
    try:
        return sum(map(abs, numbers)) <= _MOST_INT
    except OverflowError:  # a double plus an integer beyond the doubles
        return False


def _cut_null_heights(positions: list[Any]) -> None:
    """Cut each position before the first null after x and y; values after a height cannot replace it."""
    for position in positions:
        if isinstance(position, list) and None in position[2:]:
            del position[position.index(None, 2) :]


def _check_position(where: str, position: object) -> None:
    """Check a position (§3.1.1): x, y, and perhaps more, in the layer's CRS. Makes integers beyond 64 bits doubles."""
    numbers = _list(where, position)
    for number, coordinate in enumerate(numbers):
        axis = _AXES[min(number, 3)]
        if coordinate is not None and type(coordinate) not in _NUMBERS:
            raise _must_be(f"{where}: {axis}", "a number", coordinate)
        if coordinate is None or not _are_finite([coordinate]):
            raise _refusal(f"{where} has no finite {axis}", FIX)
        if not _LEAST_INT <= coordinate <= _MOST_INT:
            numbers[number] = float(coordinate)
    if len(numbers) < 2:
        raise _refusal(f"{where} has no finite {_AXES[len(numbers)]}", FIX)


_check_each_vertex = _each("vertex", _check_position)


def _check_point(where: str, position: object) -> None:
    if _list(where, position):
        _cut_null_heights([position])
        _check_position(where, position)


def _check_multipoint(where: str, parts: object) -> None:
    """Check a multipoint; drops empty parts, which QGIS writes as [null, null] or with a height [null, null, 0.0]."""
    found = _list(where, parts)
    if not _are_positions(found):
        _cut_null_heights(found)
        kept = list(filterfalse(_is_empty_point, found))
        if not _are_positions(kept):
            for number, part in enumerate(found, start=1):
                if not _is_empty_point(part):
                    _check_position(f"{where}, part {number}", part)
        found[:] = kept


def _is_empty_point(position: object) -> bool:
    return isinstance(position, list) and position[:2] in ([], [None, None])


def _check_geometries(where: str, geometries: object) -> None:
    """Check a geometry collection. Its depth is limited first, so that the recursion cannot exhaust the stack."""
    level = _list(where, geometries)
    for _ in range(MAX_COLLECTIONS):
        level = list(chain.from_iterable(map(_inner_geometries, level)))
    if level:
        raise _refusal(
            f"{where} holds geometries more than {MAX_COLLECTIONS} collections deep",
            "Split it into single parts (in QGIS: Vector > Geometry Tools > Multipart to Singleparts),"
            " then send the layer again.",
        )
    _check_each_geometry(where, geometries)


def _inner_geometries(geometry: object) -> list[Any]:
    inner = geometry.get("geometries") if isinstance(geometry, dict) else None
    return inner if isinstance(inner, list) else []


_check_each_geometry = _each("part", lambda where, geometry: _check_geometry(f"{where},", geometry))
_check_polygon = _each("ring", _check_vertices)

_GEOMETRIES: dict[str, tuple[str, str, Checker]] = {
    "Point": ("point", "coordinates", _check_point),
    "MultiPoint": ("multipoint", "coordinates", _check_multipoint),
    "LineString": ("line", "coordinates", _check_vertices),
    "MultiLineString": ("multiline", "coordinates", _each("part", _check_vertices)),
    "Polygon": ("polygon", "coordinates", _check_polygon),
    "MultiPolygon": ("multipolygon", "coordinates", _each("part", _check_polygon)),
    "GeometryCollection": ("geometry collection", "geometries", _check_geometries),
}
"""Geometry type -> its word, the member with its content, and the checker of that (§3.1.2 to §3.1.8)."""


# Any JSON: properties and foreign members


def _check_values(where: str, values: Mapping[str, Any]) -> None:
    """Check that every client's JSON reader accepts these values, which may be of any type."""
    if _json_fault(values.values()):
        for name, value in values.items():
            if fault := _json_fault([value]):
                raise _refusal(f"{where} {excerpt(name)} {fault}", CHANGE)


def _json_fault(values: Iterable[Any]) -> str | None:
    """The first fault in `values`, or None. Goes level by level: a recursion would fail on deep nesting itself."""
    level = list(values)
    for _ in range(MAX_DEPTH + 1):
        if not _are_finite(value for value in level if type(value) in _NUMBERS):
            return "holds an infinite or too large number"
        containers = [value for value in level if type(value) in _CONTAINERS]
        if not containers:
            return None
        level = list(chain.from_iterable(v.values() if isinstance(v, dict) else v for v in containers))
    return f"is nested more than {MAX_DEPTH} levels deep"


# Single values, and words for them

_NUMBERS = {int, float}  # compared with the exact type: a bool is an int to Python, not to JSON
_CONTAINERS = {list, dict}
_LEAST_INT, _MOST_INT = -(2**63), 2**63 - 1  # GDAL clamps coordinates to these
_AXES = ("x", "y", "height", "measure")
_KINDS = {
    dict: "an object",
    list: "a list",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    NoneType: "null",
}


def _object_of_type(types: Collection[str], where: str, value: object) -> dict[str, Any]:
    """Check that `value` is an object whose `type` is one of `types`, case-sensitively (RFC 7946 §1.4)."""
    members = _object(where, value)
    kind = _member(where, members, "type")
    if not isinstance(kind, str) or kind not in types:
        raise _must_be(f"{where} type", ", ".join(types), kind)
    return members


def _member(where: str, members: Mapping[str, Any], name: str) -> Any:
    if name not in members:
        raise _refusal(f'{where} has no "{name}"')
    return members[name]


def _object(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _must_be(where, "an object", value)
    return value


def _list(where: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _must_be(where, "a list", value)
    return value


def _are_finite(numbers: Iterable[Any]) -> bool:
    """Whether all are finite in double precision, the range on which readers may rely (RFC 8259 §6)."""
    try:
        return all(map(isfinite, numbers))
    except OverflowError:  # an integer beyond that range, which JSON allows
        return False


def _must_be(where: str, needed: str, found: object) -> Uncompliant:
    shown = excerpt(found) if isinstance(found, str) else _KINDS[type(found)]
    return _refusal(f"{where} must be {needed}, not {shown}")


def _refusal(fault: str, remedy: str = ANEW) -> Uncompliant:
    return Uncompliant(f"{fault}. {remedy}")
