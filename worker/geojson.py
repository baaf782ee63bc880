"""Is a layer GeoJSON as RFC 7946 says? If not: which feature, and what is wrong with it.

Pure: a parsed JSON value goes in, nothing or Uncompliant comes out, and the value is left as it was. Where
RFC 7946 leaves a choice, or known clients differ from it, this is what holds:

- "geometry" and "properties" must be there, null or not (§3.2): QGIS writes both always, and strict readers
  refuse a feature that lacks one.
- An empty list stands for an empty geometry (§3.1), and inside one for an empty line, ring or polygon: QGIS may
  write, and older GDAL only reads, an empty polygon as a ring of nothing. In a list of positions none is empty.
- QGIS writes `"id": null` for features not saved yet and an extent of nulls for empty geometries: both pass.
- A member that marks another type, such as a Feature's own "coordinates", is refused (§7.1). Any other foreign
  member may stand anywhere (§6.1), the "crs" of older GeoJSON too.
- A number is right if a double can hold it, the range readers may count on (RFC 8259 §6). Coordinates are in
  the layer's own CRS, so there is no other limit to them, nor to how many a position has beyond two.

Our own rather than a library's, for right answers in words that a map maker understands. On 500 features with
100 000 vertices (4 MB, 18 ms here) shapely takes twice as long and closes open rings unasked, geojson-pydantic
takes 2.7 times as long and lets NaN and "2.35" pass for coordinates, geojson takes 10 times as long and fails on
a text among them, marshmallow 23 times. Typed msgspec structs need two thirds of the time, but five times ours
once their copy wakes the garbage collector, and let NaN pass.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from itertools import chain
from math import isfinite
from types import NoneType
from typing import Any

from gischat.errors import Uncompliant
from gischat.messages import excerpt

MAX_COLLECTIONS = 8
"""How many geometry collections a geometry may lie in; RFC 7946 §3.1.8 advises against more than one."""

MAX_DEPTH = 32
"""How many lists and objects a property may hold inside one another. With the message around it, that is well
below what common JSON readers stop at: 64 in .NET, 1024 in Qt, about 1000 less the stack in use in Python."""

Checker = Callable[[str, Any], None]
"""Takes a place in the document, in words, and the value found there; raises Uncompliant if that is wrong."""


def check(collection: object, *, max_features: int) -> None:
    """Raise Uncompliant unless `collection`, parsed JSON, is a FeatureCollection of at most `max_features`.

    The features are counted before anything else is looked at. After that the reason names the first thing
    found wrong: "feature 12: polygon ring 0 is not closed". All numbers count from 0, as the arrays do.
    """
    features = collection.get("features") if isinstance(collection, dict) else None
    if isinstance(features, list) and len(features) > max_features:
        raise Uncompliant(f"Too many geojson features : {len(features)} vs max {max_features} allowed")
    _check_collection("the geojson", collection)


# The objects: RFC 7946 §3


def _check_collection(where: str, collection: object) -> None:
    members = _object_of_type(["FeatureCollection"], where, collection)
    features = _list(f"{where}: features", _member(where, members, "features"))
    _check_other_members(
        where, members, known={"features"}, forbidden={"geometry", "properties", "coordinates", "geometries"}
    )
    for number, feature in enumerate(features):
        _check_feature(f"feature {number}", feature)


def _check_feature(where: str, feature: object) -> None:
    members = _object_of_type(["Feature"], where, feature)
    geometry, properties = _member(where, members, "geometry"), _member(where, members, "properties")
    if geometry is not None:
        _check_geometry(f"{where}: geometry", geometry)
    if properties is not None:
        _check_values(f"{where}: property", _object(f"{where}: properties", properties))
    _check_id(f"{where}: id", members.get("id"))
    _check_other_members(
        where, members, known={"geometry", "properties"}, forbidden={"features", "coordinates", "geometries"}
    )


def _check_id(where: str, identifier: object) -> None:
    """§3.2: a text or a number. QGIS writes null for a feature that it has not saved yet."""
    if not isinstance(identifier, str | None):
        _check_number(where, identifier, "a text or a number")


def _check_geometry(where: str, geometry: object) -> None:
    members = _object_of_type(_GEOMETRIES, where, geometry)
    name, check_content = _GEOMETRIES[members["type"]]
    # A feature's geometry goes by its type alone: "feature 12: polygon ring 0 is not closed".
    where = f"{where.removesuffix(' geometry')} {members['type'].lower()}"
    check_content(where, _member(where, members, name))
    _check_other_members(where, members, known={name}, forbidden={"features", "geometry", "properties"})


def _check_other_members(where: str, members: Mapping[str, Any], *, known: Set[str], forbidden: Set[str]) -> None:
    """What any object may have: a bbox (§5), foreign members (§6.1), but not what marks another type (§7.1)."""
    others = {name: value for name, value in members.items() if name not in known}
    if misplaced := sorted(forbidden & others.keys()):
        raise Uncompliant(f'{where} must not have "{misplaced[0]}"')
    if "bbox" in others:
        _check_bbox(f"{where}: bbox", others["bbox"])
    _check_values(f"{where}: member", others)


def _check_bbox(where: str, bbox: object) -> None:
    """§5: two corners of as many numbers each. For an empty geometry's extent QGIS writes nulls alone."""
    numbers = _list(where, bbox)
    if len(numbers) < 4 or len(numbers) % 2:
        raise Uncompliant(f"{where} has {_count(numbers, 'number')}, an even number of at least 4 is needed")
    if set(map(type, numbers)) != {NoneType}:
        _each("number", _check_number)(where, numbers)


# The coordinates: RFC 7946 §3.1


def _each(noun: str, check_item: Checker) -> Checker:
    """The checker of a list whose every item `check_item` takes; `noun` and a number tell an item's place."""

    def check_items(where: str, items: object) -> None:
        for number, item in enumerate(_list(where, items)):
            check_item(f"{where} {noun} {number}", item)

    return check_items


def _check_positions(where: str, positions: object, at_least: int = 0) -> None:
    """An empty list passes whatever `at_least` says: it is an empty geometry, or an empty part of one."""
    found = _list(where, positions)
    if not _are_positions(found):
        _check_each_position(where, found)
    if 0 < len(found) < at_least:
        raise Uncompliant(f"{where} has {_count(found, 'position')}, at least {at_least} are needed")


def _are_positions(found: list[Any]) -> bool:
    """Whether `_check_position` would take every item: one verdict for all, by loops that run in C."""
    if set(map(type, found)) != {list} or min(map(len, found)) < 2:
        return False
    numbers = list(chain.from_iterable(found))
    return set(map(type, numbers)) <= _NUMBERS and _are_finite(numbers)


def _check_position(where: str, position: object) -> None:
    """§3.1.1: two numbers or more, whatever the range: the coordinates are in the layer's own CRS."""
    numbers = _list(where, position)
    if len(numbers) < 2:
        raise Uncompliant(f"{where} has {_count(numbers, 'coordinate')}, at least 2 are needed")
    for number, coordinate in enumerate(numbers):
        _check_number(f"{where} coordinate {number}", coordinate)


_check_each_position = _each("position", _check_position)


def _check_point(where: str, position: object) -> None:
    if _list(where, position):
        _check_position(where, position)


def _check_line(where: str, positions: object) -> None:
    _check_positions(where, positions, at_least=2)


def _check_ring(where: str, positions: Any) -> None:
    """§3.1.6, which also asks readers to take rings that turn the wrong way."""
    _check_positions(where, positions, at_least=4)
    if positions and positions[0] != positions[-1]:
        raise Uncompliant(f"{where} is not closed")


def _check_geometries(where: str, geometries: object) -> None:
    """The nesting is bounded before it is followed, so that no document exhausts the stack."""
    level = _list(where, geometries)
    for _ in range(MAX_COLLECTIONS):
        level = list(chain.from_iterable(map(_inner_geometries, level)))
    if level:
        raise Uncompliant(f"{where} holds geometries more than {MAX_COLLECTIONS} collections deep")
    _each("geometry", _check_geometry)(where, geometries)


def _inner_geometries(geometry: object) -> list[Any]:
    inner = geometry.get("geometries") if isinstance(geometry, dict) else None
    return inner if isinstance(inner, list) else []


_check_polygon = _each("ring", _check_ring)

_GEOMETRIES: dict[str, tuple[str, Checker]] = {
    "Point": ("coordinates", _check_point),
    "MultiPoint": ("coordinates", _check_positions),
    "LineString": ("coordinates", _check_line),
    "MultiLineString": ("coordinates", _each("line", _check_line)),
    "Polygon": ("coordinates", _check_polygon),
    "MultiPolygon": ("coordinates", _each("polygon", _check_polygon)),
    "GeometryCollection": ("geometries", _check_geometries),
}
"""type -> the member that holds its content, and the checker of that (§3.1.2 to §3.1.8)."""


# Any JSON: properties and foreign members


def _check_values(where: str, values: Mapping[str, Any]) -> None:
    """Values of any kind, but such that every client's JSON reader takes them."""
    if _json_fault(values.values()):
        for name, value in values.items():
            if fault := _json_fault([value]):
                raise Uncompliant(f"{where} {excerpt(name)} {fault}")


def _json_fault(values: Iterable[Any]) -> str | None:
    """What is wrong with any of `values`; level by level, since a recursion would fail on what it looks for."""
    level = list(values)
    for _ in range(MAX_DEPTH + 1):
        if not _are_finite(value for value in level if type(value) in _NUMBERS):
            return "holds a number that is not finite in double precision"
        containers = [value for value in level if type(value) in _CONTAINERS]
        if not containers:
            return None
        level = list(chain.from_iterable(v.values() if isinstance(v, dict) else v for v in containers))
    return f"is nested more than {MAX_DEPTH} levels deep"


# Single values, and the words for them

_NUMBERS = {int, float}  # compared with the exact type: a bool is an int to Python, not to JSON
_CONTAINERS = {list, dict}
_KINDS = {
    dict: "an object",
    list: "a list",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    NoneType: "null",
}


def _object_of_type(types: Collection[str], where: str, value: object) -> dict[str, Any]:
    """`value` as an object whose `type` is one of `types`; upper and lower case count (RFC 7946 §1.4)."""
    members = _object(where, value)
    kind = _member(where, members, "type")
    if not isinstance(kind, str) or kind not in types:
        raise _must_be(f"{where} type", ", ".join(types), kind)
    return members


def _member(where: str, members: Mapping[str, Any], name: str) -> Any:
    if name not in members:
        raise Uncompliant(f'{where} has no "{name}"')
    return members[name]


def _object(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _must_be(where, "an object", value)
    return value


def _list(where: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _must_be(where, "a list", value)
    return value


def _check_number(where: str, value: object, needed: str = "a number") -> None:
    if type(value) not in _NUMBERS:
        raise _must_be(where, needed, value)
    if not _are_finite([value]):
        raise Uncompliant(f"{where} is not finite in double precision")


def _are_finite(numbers: Iterable[Any]) -> bool:
    """Whether all are finite in double precision, the range that RFC 8259 §6 lets readers count on."""
    try:
        return all(map(isfinite, numbers))
    except OverflowError:  # an integer beyond it, which JSON text can spell
        return False


def _must_be(where: str, needed: str, found: object) -> Uncompliant:
    shown = excerpt(found) if isinstance(found, str) else _KINDS[type(found)]
    return Uncompliant(f"{where} must be {needed}, not {shown}")


def _count(items: list[Any], noun: str) -> str:
    return f"{len(items)} {noun}" if len(items) == 1 else f"{len(items)} {noun}s"
