"""What is taken for a GeoJSON layer, and the words in which everything else is refused."""

import random
from copy import deepcopy
from math import inf, nan
from typing import Any

import msgspec
import pytest

from gischat.errors import Uncompliant
from tests.support.layers import feature, geometry, layer
from worker import geojson

RING = [[0, 0], [4, 0], [4, 4], [0, 0]]
HOLE = [[1.0, 1.0], [2.0, 2.0], [2.0, 1.0], [1.0, 1.0]]
POINT = geometry("Point", [2.35, 48.85])

LARGEST_DOUBLE = int(1.7976931348623157e308)
TOO_LARGE = 10**309
UNWRITABLE = 10**5000  # more digits than Python agrees to write out


def geometries(*parts: Any) -> dict[str, Any]:
    return {"type": "GeometryCollection", "geometries": list(parts)}


def within_collections(number: int, inner: Any) -> Any:
    for _ in range(number):
        inner = geometries(inner)
    return inner


def within_lists(number: int, inner: Any = 0) -> Any:
    for _ in range(number):
        inner = [inner]
    return inner


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def named(table: dict[str, Any]) -> list[Any]:
    return [pytest.param(value, id=name) for name, value in table.items()]


def verdict(document: Any, max_features: int = 500) -> str | None:
    """The reason for which `document` is refused, or None."""
    try:
        geojson.check(document, max_features=max_features)
    except Uncompliant as fault:
        return fault.reason
    return None


# What is taken

GEOMETRIES = {
    "a point": POINT,
    "a point with a height": geometry("Point", [2.35, 48.85, 35.0]),
    "a point with a height and a measure": geometry("Point", [2.35, 48.85, 35.0, 7.5]),
    "a point in whole numbers": geometry("Point", [652000, 6862000]),
    "a point far outside longitudes and latitudes": geometry("Point", [-1e7, 1e300]),
    "a point at the end of the doubles": geometry("Point", [LARGEST_DOUBLE, -LARGEST_DOUBLE]),
    "points": geometry("MultiPoint", [[0, 0], [1.5, 1.5, 9]]),
    "a line": geometry("LineString", [[0.0, 0.0], [1.0, 1.0]]),
    "a line that stands still": geometry("LineString", [[3, 3], [3, 3]]),
    "lines": geometry("MultiLineString", [[[0, 0], [1, 1]], [[5, 5], [6, 6], [7, 7]]]),
    "a polygon": geometry("Polygon", [RING]),
    "a polygon with a hole": geometry("Polygon", [RING, HOLE]),
    "a polygon that turns the other way": geometry("Polygon", [RING[::-1]]),
    "a ring that begins at 0 and ends at 0.0": geometry("Polygon", [[*RING[:3], [0.0, -0.0]]]),
    "polygons": geometry("MultiPolygon", [[RING, HOLE], [RING]]),
    "a collection": geometries(geometry("LineString", [[0, 0], [1, 1]]), geometry("Polygon", [RING])),
    "a collection in a collection": geometries(geometries(POINT), POINT),
    "an empty point": geometry("Point", []),
    "no points": geometry("MultiPoint", []),
    "an empty line": geometry("LineString", []),
    "no lines": geometry("MultiLineString", []),
    "an empty polygon": geometry("Polygon", []),
    "no polygons": geometry("MultiPolygon", []),
    "an empty collection": geometries(),
    "lines, one of them empty": geometry("MultiLineString", [[], [[0, 0], [1, 1]]]),
    "an empty polygon as an empty ring": geometry("Polygon", [[]]),
    "polygons, one of them empty": geometry("MultiPolygon", [[], [RING]]),
    "an extent": POINT | {"bbox": [0, 0, 0, 0]},
    "an extent with heights": POINT | {"bbox": [0, 0, 5, 0, 0, 5]},
    "foreign members": POINT | {"accuracy": 3.5, "source": {"name": "survey"}},
    "a foreign member that is another geometry's own": POINT | {"geometries": "of no meaning here"},
}

LAYERS = {
    "no features": layer([]),
    "no geometry": layer([feature(None)]),
    "no properties": layer([feature(POINT, properties=None)]),
    "properties of every kind": layer(
        [feature(POINT, properties={"a": None, "b": True, "c": -1.5, "d": "é 🗺", "e": [1, []], "f": {"g": 2}})]
    ),
    "numbers beyond 64 bits": layer([feature(POINT, properties={"a": 2**64, "b": -(2**64), "c": 10**30})]),
    "the deepest property": layer([feature(POINT, properties={"p": within_lists(32)})]),
    "the deepest collection": layer([feature(within_collections(8, POINT))]),
    "a text as id": layer([feature(POINT, id="parcel-7")]),
    "numbers as ids": layer([feature(POINT, id=7), feature(POINT, id=7.5)]),
    "extents": layer([feature(POINT, bbox=[0, 0, 9, 9])], bbox=[0, 0, -9, 9, 9, 100]),
    "the CRS of GeoJSON's older days": layer([], crs={"type": "name", "properties": {"name": "EPSG:2154"}}),
    "foreign members": layer([feature(POINT, style={"color": "red"})], name="parcels", numberMatched=1),
}


@pytest.mark.parametrize("shape", named(GEOMETRIES))
def test_every_geometry_of_the_rfc_is_taken(shape: Any) -> None:
    assert verdict(layer([feature(shape)])) is None


@pytest.mark.parametrize("shape", named(GEOMETRIES))
def test_every_geometry_is_taken_inside_a_collection(shape: Any) -> None:
    assert verdict(layer([feature(geometries(POINT, shape))])) is None


@pytest.mark.parametrize("document", named(LAYERS))
def test_every_layer_of_the_rfc_is_taken(document: Any) -> None:
    assert verdict(document) is None


def test_a_layer_is_taken_as_qgis_writes_it() -> None:
    # Given QGIS's ways: a crs, an extent without heights for a geometry that has them, a null id for a
    # feature that is not saved yet, an extent of nulls for an empty geometry
    document = msgspec.json.decode(
        """{"type": "FeatureCollection",
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
            "features": [
              {"type": "Feature", "id": 1, "bbox": [652000.0, 6862000.0, 652010.5, 6862004.25],
               "geometry": {"type": "LineString", "coordinates": [[652000.0, 6862000.0, 35.2],
                                                                  [652010.5, 6862004.25, 35.9]]},
               "properties": {"fid": 1, "nom": "Rue d'Été", "largeur": 3.5, "relevé": null}},
              {"type": "Feature", "id": null, "bbox": [null, null, null, null],
               "geometry": {"type": "LineString", "coordinates": []}, "properties": null},
              {"type": "Feature", "id": 3, "geometry": null, "properties": null}]}"""
    )
    # When it is checked, Then nothing is wrong with it
    assert verdict(document) is None


# What is refused, and how

TYPES = "Point, MultiPoint, LineString, MultiLineString, Polygon, MultiPolygon, GeometryCollection"

WRONG_GEOMETRIES = [
    ([], "geometry must be an object, not a list"),
    (False, "geometry must be an object, not a boolean"),
    ({"coordinates": [0, 0]}, 'geometry has no "type"'),
    ({"type": "Point"}, 'point has no "coordinates"'),
    ({"type": "GeometryCollection", "coordinates": []}, 'geometrycollection has no "geometries"'),
    (geometry(None, []), f"geometry type must be {TYPES}, not null"),  # type: ignore[arg-type]
    (geometry(["Point"], []), f"geometry type must be {TYPES}, not a list"),  # type: ignore[arg-type]
    (geometry("point", []), f"geometry type must be {TYPES}, not 'point'"),
    (geometry("Circle", []), f"geometry type must be {TYPES}, not 'Circle'"),
    (feature(POINT), f"geometry type must be {TYPES}, not 'Feature'"),
    (POINT | {"properties": {}}, 'point must not have "properties"'),
    (POINT | {"geometry": None}, 'point must not have "geometry"'),
    (geometries() | {"features": []}, 'geometrycollection must not have "features"'),
    (POINT | {"bbox": [0, 0, 1]}, "point: bbox has 3 numbers, an even number of at least 4 is needed"),
    (POINT | {"n": nan}, "point: member 'n' holds a number that is not finite in double precision"),
    (POINT | {"tree": within_lists(33)}, "point: member 'tree' is nested more than 32 levels deep"),
]

WRONG_POSITIONS = [
    (geometry("Point", None), "point must be a list, not null"),
    (geometry("Point", {}), "point must be a list, not an object"),
    (geometry("Point", "2.35,48.85"), "point must be a list, not '2.35,48.85'"),
    (geometry("Point", [2.35]), "point has 1 coordinate, at least 2 are needed"),
    (geometry("Point", ["2.35", 48.85]), "point coordinate 0 must be a number, not '2.35'"),
    (geometry("Point", [0, True]), "point coordinate 1 must be a number, not a boolean"),
    (geometry("Point", [0, 0, None]), "point coordinate 2 must be a number, not null"),
    (geometry("Point", [[0, 0], [1, 1]]), "point coordinate 0 must be a number, not a list"),
    (geometry("Point", [0, nan]), "point coordinate 1 is not finite in double precision"),
    (geometry("Point", [inf, 0]), "point coordinate 0 is not finite in double precision"),
    (geometry("Point", [0, -inf]), "point coordinate 1 is not finite in double precision"),
    (geometry("Point", [0, TOO_LARGE]), "point coordinate 1 is not finite in double precision"),
    (geometry("Point", [-UNWRITABLE, 0]), "point coordinate 0 is not finite in double precision"),
    (geometry("MultiPoint", [0, 0]), "multipoint position 0 must be a list, not a number"),
    (geometry("MultiPoint", [[0, 0], []]), "multipoint position 1 has 0 coordinates, at least 2 are needed"),
    (geometry("MultiPoint", [[0, 0], {}]), "multipoint position 1 must be a list, not an object"),
    (geometry("MultiPoint", [[0, 0], "10"]), "multipoint position 1 must be a list, not '10'"),
    (
        geometry("MultiPoint", [[0, 0], [0, 1, {}]]),
        "multipoint position 1 coordinate 2 must be a number, not an object",
    ),
    (
        geometry("LineString", [[0.0, 0.0], [1.0, 1.0], [2.0, nan]]),
        "linestring position 2 coordinate 1 is not finite in double precision",
    ),
    (
        geometry("LineString", [[0, 0], [1, 1], [UNWRITABLE, 2]]),
        "linestring position 2 coordinate 0 is not finite in double precision",
    ),
    (
        geometry("Polygon", [[[nan, 0], [4, 0], [4, 4], [nan, 0]]]),
        "polygon ring 0 position 0 coordinate 0 is not finite in double precision",
    ),
]

WRONG_LINES_AND_RINGS = [
    (geometry("LineString", 0), "linestring must be a list, not a number"),
    (geometry("LineString", [0, 0]), "linestring position 0 must be a list, not a number"),
    (geometry("LineString", [[0, 0]]), "linestring has 1 position, at least 2 are needed"),
    (geometry("MultiLineString", [[], 5]), "multilinestring line 1 must be a list, not a number"),
    (geometry("MultiLineString", [[[0, 0]]]), "multilinestring line 0 has 1 position, at least 2 are needed"),
    (geometry("Polygon", {}), "polygon must be a list, not an object"),
    (geometry("Polygon", RING), "polygon ring 0 position 0 must be a list, not a number"),
    (geometry("Polygon", [RING, None]), "polygon ring 1 must be a list, not null"),
    (geometry("Polygon", [RING[:3]]), "polygon ring 0 has 3 positions, at least 4 are needed"),
    (geometry("Polygon", [RING[:1]]), "polygon ring 0 has 1 position, at least 4 are needed"),
    (geometry("Polygon", [[*RING[:3], [0, 4]]]), "polygon ring 0 is not closed"),
    (geometry("Polygon", [[*RING[:3], [0, 0, 0]]]), "polygon ring 0 is not closed"),
    (geometry("Polygon", [RING, [*HOLE, [9, 9]]]), "polygon ring 1 is not closed"),
    (
        geometry("MultiPolygon", [[RING], [RING[:3]]]),
        "multipolygon polygon 1 ring 0 has 3 positions, at least 4 are needed",
    ),
    (geometry("MultiPolygon", [[RING, [*RING, [5, 5]]]]), "multipolygon polygon 0 ring 1 is not closed"),
    (geometry("MultiPolygon", [RING]), "multipolygon polygon 0 ring 0 position 0 must be a list, not a number"),
]

WRONG_GEOMETRY_COLLECTIONS = [
    ({"type": "GeometryCollection", "geometries": {}}, "geometrycollection must be a list, not an object"),
    (geometries(POINT, None), "geometrycollection geometry 1 must be an object, not null"),
    (
        geometries(geometry("Line", [])),
        f"geometrycollection geometry 0 type must be {TYPES}, not 'Line'",
    ),
    (
        geometries(POINT, geometries(geometry("Polygon", [RING[:2]]))),
        "geometrycollection geometry 1 geometrycollection geometry 0 polygon ring 0"
        " has 2 positions, at least 4 are needed",
    ),
    (
        within_collections(9, POINT),
        "geometrycollection holds geometries more than 8 collections deep",
    ),
]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [*WRONG_GEOMETRIES, *WRONG_POSITIONS, *WRONG_LINES_AND_RINGS, *WRONG_GEOMETRY_COLLECTIONS],
)
def test_a_wrong_geometry_is_refused_with_its_place_and_its_fault(shape: Any, reason: str) -> None:
    assert verdict(layer([feature(shape)])) == f"feature 0: {reason}"


WRONG_FEATURES = [
    (None, " must be an object, not null"),
    ([feature(POINT)], " must be an object, not a list"),
    ("Feature", " must be an object, not 'Feature'"),
    ({}, ' has no "type"'),
    (POINT, " type must be Feature, not 'Point'"),
    (feature(POINT, type="feature"), " type must be Feature, not 'feature'"),
    (feature(POINT, type=1), " type must be Feature, not a number"),
    (without(feature(POINT), "geometry"), ' has no "geometry"'),
    (without(feature(POINT), "properties"), ' has no "properties"'),
    (feature(POINT, properties=[]), ": properties must be an object, not a list"),
    (feature(POINT, properties="a=1"), ": properties must be an object, not 'a=1'"),
    (
        feature(POINT, properties={"n": nan}),
        ": property 'n' holds a number that is not finite in double precision",
    ),
    (
        feature(POINT, properties={"fine": 1, "n": {"deep": [1, -UNWRITABLE]}}),
        ": property 'n' holds a number that is not finite in double precision",
    ),
    (
        feature(POINT, properties={"fine": within_lists(32), "p": within_lists(33)}),
        ": property 'p' is nested more than 32 levels deep",
    ),
    (feature(POINT, id=True), ": id must be a text or a number, not a boolean"),
    (feature(POINT, id=["a"]), ": id must be a text or a number, not a list"),
    (feature(POINT, id=nan), ": id is not finite in double precision"),
    (feature(POINT, id=UNWRITABLE), ": id is not finite in double precision"),
    (feature(POINT, bbox=None), ": bbox must be a list, not null"),
    (feature(POINT, bbox=[]), ": bbox has 0 numbers, an even number of at least 4 is needed"),
    (feature(POINT, bbox=[0, 0]), ": bbox has 2 numbers, an even number of at least 4 is needed"),
    (feature(POINT, bbox=[0, 0, 1, 1, 2]), ": bbox has 5 numbers, an even number of at least 4 is needed"),
    (feature(POINT, bbox=[0, 0, 1, "1"]), ": bbox number 3 must be a number, not '1'"),
    (feature(POINT, bbox=[0, None, 1, 1]), ": bbox number 1 must be a number, not null"),
    (feature(POINT, bbox=[0, 0, 1, inf]), ": bbox number 3 is not finite in double precision"),
    (feature(POINT, coordinates=[0, 0]), ' must not have "coordinates"'),
    (feature(POINT, geometries=[]), ' must not have "geometries"'),
    (feature(POINT, features=[]), ' must not have "features"'),
    (
        feature(POINT, extra={"n": [inf]}),
        ": member 'extra' holds a number that is not finite in double precision",
    ),
]


@pytest.mark.parametrize(("broken", "fault"), WRONG_FEATURES)
def test_a_wrong_feature_is_refused_by_its_number(broken: Any, fault: str) -> None:
    assert verdict(layer([feature(POINT), feature(None), broken, feature(None)])) == f"feature 2{fault}"


WRONG_LAYERS: list[tuple[Any, str]] = [
    (None, "the geojson must be an object, not null"),
    ([], "the geojson must be an object, not a list"),
    ("{}", "the geojson must be an object, not '{}'"),
    ({}, 'the geojson has no "type"'),
    (feature(POINT), "the geojson type must be FeatureCollection, not 'Feature'"),
    (
        layer([], type="featurecollection"),
        "the geojson type must be FeatureCollection, not 'featurecollection'",
    ),
    (layer([], type={}), "the geojson type must be FeatureCollection, not an object"),
    (without(layer([]), "features"), 'the geojson has no "features"'),
    (layer([]) | {"features": None}, "the geojson: features must be a list, not null"),
    (layer([]) | {"features": {"0": feature(POINT)}}, "the geojson: features must be a list, not an object"),
    (layer([], geometry=None), 'the geojson must not have "geometry"'),
    (layer([], properties={}, coordinates=[]), 'the geojson must not have "coordinates"'),
    (layer([], geometries=[]), 'the geojson must not have "geometries"'),
    (layer([], bbox=[1, 2, 3]), "the geojson: bbox has 3 numbers, an even number of at least 4 is needed"),
    (
        layer([], crs={"n": nan}),
        "the geojson: member 'crs' holds a number that is not finite in double precision",
    ),
    (layer([], crs=within_lists(33)), "the geojson: member 'crs' is nested more than 32 levels deep"),
]


@pytest.mark.parametrize(("document", "reason"), WRONG_LAYERS)
def test_what_is_no_layer_is_refused(document: Any, reason: str) -> None:
    assert verdict(document) == reason


def test_the_first_wrong_feature_is_the_one_named() -> None:
    document = layer([*[feature(POINT)] * 12, feature("x"), feature("y")])
    assert verdict(document) == "feature 12: geometry must be an object, not 'x'"


# How many features


def test_as_many_features_as_allowed_are_taken() -> None:
    assert verdict(layer([feature(POINT)] * 500), max_features=500) is None
    assert verdict(layer([]), max_features=0) is None


def test_one_feature_too_many_is_refused() -> None:
    reason = verdict(layer([feature(POINT)] * 501), max_features=500)
    assert reason == "Too many geojson features : 501 vs max 500 allowed"


@pytest.mark.parametrize("rest", [{}, {"type": 5}, {"type": "FeatureCollection", "bbox": nan, "geometry": 1}])
def test_features_are_counted_before_anything_else_is_looked_at(rest: dict[str, Any]) -> None:
    reason = verdict({"features": [nan] * 600, **rest}, max_features=500)
    assert reason == "Too many geojson features : 600 vs max 500 allowed"


# What a client may have put in


@pytest.mark.parametrize("text", ["\x1b[31m", "two\nlines", "\u202ereversed", "\ud800", "é🗺", "x" * 10_000])
def test_a_clients_text_comes_back_short_and_printable(text: str) -> None:
    for document in [
        layer([feature(geometry(text, []))]),
        layer([feature(geometry("Point", [text, 0]))]),
        layer([feature(POINT, properties={text: nan})]),
        layer([], **{text: nan}),
    ]:
        reason = verdict(document)
        assert reason is not None
        assert reason.isprintable()
        assert len(reason) < 200


ABYSS = within_lists(100_000)

BOTTOMLESS = {
    "geometry collections": (
        feature(within_collections(100_000, POINT)),
        "feature 0: geometrycollection holds geometries more than 8 collections deep",
    ),
    "a property": (
        feature(POINT, properties={"p": ABYSS}),
        "feature 0: property 'p' is nested more than 32 levels deep",
    ),
    "a coordinate": (
        feature(geometry("LineString", [[0, 0], [ABYSS, 0]])),
        "feature 0: linestring position 1 coordinate 0 must be a number, not a list",
    ),
    "the ends of a ring": (
        feature(geometry("Polygon", [[ABYSS, [0, 0], [0, 0], within_lists(100_000)]])),
        "feature 0: polygon ring 0 position 0 has 1 coordinate, at least 2 are needed",
    ),
    "a member of another geometry's": (
        feature(POINT | {"geometries": ABYSS}),
        "feature 0: point: member 'geometries' is nested more than 32 levels deep",
    ),
    "a type": (feature(POINT, type=ABYSS), "feature 0 type must be Feature, not a list"),
}


@pytest.mark.parametrize("place", BOTTOMLESS)
def test_bottomless_nesting_is_refused_in_words(place: str) -> None:
    deep, reason = BOTTOMLESS[place]
    assert verdict(layer([deep])) == reason


# Rubbish in every place of a layer that has everything

EVERYTHING = msgspec.json.encode(
    layer(
        [
            *(feature(shape, id=number) for number, shape in enumerate(GEOMETRIES.values())),
            feature(POINT, bbox=[0, 0, 1, 1], properties={"a": "b", "c": {"d": [1, {"e": 2.5}]}}),
        ],
        bbox=[0.0, 0.0, 1.0, 1.0],
        crs={"type": "name", "properties": {"name": "EPSG:2154"}},
    )
)

RUBBISH: list[Any] = [
    None, True, 0, -1.5, nan, inf, UNWRITABLE, "", "Point", "Polygon", "x" * 100, "\x00",
    [], [[]], [[[]]], [0], [0, 0], [[0, 0]], RING, [None], {}, {"type": "Point"}, POINT, {"": nan},
]  # fmt: skip


def places(document: Any) -> list[tuple[Any, Any]]:
    """Where each value inside `document` stands: (its container, its key or index)."""
    keys = list(document) if isinstance(document, dict) else range(len(document))
    found = [(document, key) for key in keys]
    for key in keys:
        if isinstance(document[key], dict | list):
            found += places(document[key])
    return found


def broken(seed: int) -> Any:
    """The layer that has everything, broken in one to three places; the same for the same seed."""
    chance = random.Random(seed)
    document = msgspec.json.decode(EVERYTHING)
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice(places(document))
        container[key] = deepcopy(chance.choice(RUBBISH))
    return document


def test_rubbish_anywhere_is_either_harmless_or_refused_in_words() -> None:
    # Given a good layer
    document = msgspec.json.decode(EVERYTHING)
    verdicts = [verdict(document)]
    # When each of its values gives way to each piece of rubbish in turn
    for container, key in places(document):
        good = container[key]
        for rubbish in RUBBISH:
            container[key] = rubbish
            verdicts.append(verdict(document))
        container[key] = good
    # Then nothing comes out but verdicts of both kinds, fit to be read
    assert verdicts[0] is None
    assert verdicts.count(None) > 100
    reasons = {reason for reason in verdicts if reason is not None}
    assert len(reasons) > 1000
    assert all(reason.isprintable() and len(reason) < 250 for reason in reasons)


def test_a_quick_look_at_positions_leads_to_the_same_verdict_as_a_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given layers broken in many ways
    documents = [broken(seed) for seed in range(500)]
    # When they are checked with the shortcut for sound positions, and without
    quick = [verdict(document) for document in documents]
    monkeypatch.setattr(geojson, "_are_positions", lambda found: False)
    long = [verdict(document) for document in documents]
    # Then it makes no difference
    assert quick == long
    assert len(set(quick)) > 100


@pytest.mark.parametrize("seed", range(20))
def test_the_layer_is_left_as_it_was(seed: int) -> None:
    document = broken(seed)
    before = deepcopy(document)
    verdict(document)
    assert document == before
