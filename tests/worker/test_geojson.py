"""Which GeoJSON layers are accepted, which are repaired, and with which words all others are refused.

QGIS stands for 3.22 and its exporter (QgsJsonExporter), GDAL for 2.4, 3.6, 3.9 and 3.12 unless a version is named; all
were tried with every shape below. QGIS opens layers with GDAL. tests/proofs/test_layers.py shows that all that RFC 7946
allows is accepted unchanged.
"""

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

LARGEST_DOUBLE = 1.7976931348623157e308
TOO_LARGE = 10**309
UNWRITABLE = 10**5000  # more digits than Python converts to text


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


FIX = (
    ". Remove this feature or fix its geometry (in QGIS: Vector > Geometry Tools > Check Validity),"
    " then send the layer again."
)
ANEW = ". Export the layer anew as GeoJSON (in QGIS: Export > Save Features As) and send that."
CHANGE = ". Change or remove that value and send the layer again."
SPLIT = (
    ". Split it into single parts (in QGIS: Vector > Geometry Tools > Multipart to Singleparts),"
    " then send the layer again."
)


def verdict(document: Any, max_features: int = 500) -> str | None:
    """The reason why `document` is refused, or None. May repair it."""
    try:
        geojson.check(document, max_features=max_features)
    except Uncompliant as fault:
        return fault.reason
    return None


# Accepted layers

GEOMETRIES = [
    geometry("Point", [2.35, 48.85, 35.0, 7.5]),  # with a measure
    geometry("Point", [2.35, 48.85, 35.0, 7.5, 0]),  # more numbers than GDAL looks at
    geometry("Point", [LARGEST_DOUBLE, -LARGEST_DOUBLE]),
    geometry("Point", []),
    geometry("Polygon", [RING[::-1]]),  # that turns the other way
    geometry("Polygon", [[*RING[:3], [0.0, -0.0]]]),  # that begins at 0 and ends at 0.0
    geometry("MultiLineString", [[], [[0, 0], [1, 1]]]),
    geometry("MultiPolygon", [[], [RING]]),
    geometry("LineString", [[0, 0, 5], [1, 1], [2, 2, 7, 1]]),  # some vertices with heights
    POINT | {"bbox": [0, 0, 5, 0, 0, 5]},
    POINT | {"accuracy": 3.5, "source": {"name": "survey"}},
    POINT | {"geometries": "of no meaning here", "properties": {"a": 1}, "geometry": None},
    geometries() | {"features": [], "crs": None},
    within_collections(7, POINT),
    # Degenerate: QGIS writes them, and each GDAL reads them as the text at the end
    geometry("LineString", [[1, 2]]),  # LINESTRING (1 2)
    geometry("MultiLineString", [[[1, 2]], [[3, 4], [5, 6]]]),  # MULTILINESTRING ((1 2),(3 4,5 6))
    geometry("MultiLineString", [[]]),  # MULTILINESTRING EMPTY
    geometry("Polygon", [RING[:1]]),  # POLYGON ((0 0))
    geometry("Polygon", [RING[:3]]),  # POLYGON ((0 0,4 0,4 4)), closed by QGIS
    geometry("Polygon", [[*RING[:3], [0, 4]]]),  # POLYGON ((0 0,4 0,4 4,0 4)), closed by QGIS
    geometry("Polygon", [RING, HOLE[:1]]),  # POLYGON ((0 0,4 0,4 4,0 0),(1 1))
    geometry("Polygon", [RING, []]),  # POLYGON ((0 0,4 0,4 4,0 0))
    geometry("Polygon", [[], HOLE]),  # POLYGON EMPTY
    geometry("MultiPolygon", [[RING[:3]], [RING]]),  # MULTIPOLYGON (((0 0,4 0,4 4)),((0 0,4 0,4 4,0 0)))
    geometry("MultiPolygon", [[[]]]),  # MULTIPOLYGON EMPTY
    geometries(geometry("Point", []), geometry("Polygon", [[]])),  # GEOMETRYCOLLECTION (…) of nothing
]

LAYERS = {
    "numbers beyond 64 bits": layer([feature(POINT, properties={"a": 2**64, "b": -(2**64), "c": 10**30})]),
    "the deepest property": layer([feature(POINT, properties={"p": within_lists(32)})]),
    "ids of a text, numbers, and a feature that is not saved yet": layer(
        [feature(POINT, id=id) for id in ("parcel-7", 7, 7.5, -2, None)]
    ),
    "extents": layer([feature(POINT, bbox=[0, 0, 9, 9])], bbox=[0, 0, -9, 9, 9, 100]),
    "extents of QGIS 3.8": layer([feature(POINT, bbox=[[0.0, 0.0, 9.0, 9.0]])], bbox=[[0, 0], [9, 9]]),
    "half an extent, and none": layer(
        [feature(POINT, bbox=extent) for extent in ([1.0, 2.0, None, 4.0], [None] * 4, None, [])]
    ),
    "a layer of ArcGIS": layer([feature(POINT), feature(None)], properties={"exceededTransferLimit": True}),
    "a layer of GDAL": layer([feature(POINT)], name="wells", description=None, xy_coordinate_resolution=1e-07),
    "members of other types": layer(
        [feature(POINT, coordinates=[0, 0], geometries=[], features=[])], geometry=None, coordinates=[], geometries=[]
    ),
    "a layer of QGIS": layer(
        [feature(geometry("LineString", [[652000.0, 6862000.0, 35.2]]), bbox=[652000.0, 6862000.0], properties=None)],
        crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
    ),
    "foreign members": layer([feature(POINT, style={"color": "red"})], numberMatched=1),
}


def test_what_gdal_reads_is_accepted_unchanged() -> None:
    shapes = {str(shape): layer([feature(shape), feature(geometries(POINT, shape))]) for shape in GEOMETRIES}
    for name, document in (shapes | LAYERS).items():
        before = deepcopy(document)
        assert verdict(document) is None, name
        assert document == before, name


# Repairs. Without them, GDAL reads no geometry (of integers, the largest of 64 bits: a wrong place).

REPAIRED = [
    # before, after, and what GDAL reads then
    (geometry("Point", [1, 2, None]), [1, 2], "POINT (1 2)"),
    (geometry("Point", [1, 2, 3, None]), [1, 2, 3], "POINT Z (1 2 3)"),
    (geometry("Point", [1, 2, None, 7]), [1, 2], "POINT (1 2): the measure would be read as a height"),
    (geometry("LineString", [[1, 2, 3], [4, 5, None]]), [[1, 2, 3], [4, 5]], "LINESTRING Z (1 2 3,4 5 0)"),
    (
        geometry("MultiLineString", [[[1, 2, 3], [3, 4, None]], [[5, 6]]]),
        [[[1, 2, 3], [3, 4]], [[5, 6]]],
        "MULTILINESTRING Z ((1 2 3,3 4 0),(5 6 0)); unrepaired, the part is lost",
    ),
    (
        geometry("Polygon", [[[0, 0, None], [4, 0, 1], [4, 4, 2], [0, 0, 5], [0, 0, None]]]),
        [[[0, 0], [4, 0, 1], [4, 4, 2], [0, 0, 5], [0, 0]]],
        "POLYGON Z ((0 0 0,4 0 1,4 4 2,0 0 5,0 0 0)), as QGIS closes a ring whose ends differ in height",
    ),
    (
        geometry("MultiPolygon", [[RING], [[[0, 0, 1], [4, 0, 2], [4, 4, None], [0, 0, 1]]]]),
        [[RING], [[[0, 0, 1], [4, 0, 2], [4, 4], [0, 0, 1]]]],
        "MULTIPOLYGON Z (…) of both; unrepaired, the second is lost",
    ),
    (geometry("MultiPoint", [[1, 2, None], [3, 4, 5]]), [[1, 2], [3, 4, 5]], "MULTIPOINT Z ((1 2 0),(3 4 5))"),
    (geometry("MultiPoint", [[1, 2], [None, None], [5, 6]]), [[1, 2], [5, 6]], "MULTIPOINT ((1 2),(5 6))"),
    (geometry("MultiPoint", [[1, 2, 3], [None, None, 0.0]]), [[1, 2, 3]], "MULTIPOINT Z ((1 2 3))"),
    (geometry("MultiPoint", [[None, None, None], [1, 2, None]]), [[1, 2]], "MULTIPOINT ((1 2))"),
    (geometry("MultiPoint", [[None, None]]), [], "MULTIPOINT EMPTY"),
    (geometry("Point", [2**64 + 5, 2]), [18446744073709551616.0, 2], "POINT (1.84467440737096E+19 2)"),
    (geometry("MultiPoint", [[None, None], [1, -(10**30)]]), [[1, -1e30]], "MULTIPOINT ((1 -1E+30))"),
    (geometry("LineString", [[0, 0], [10**308, 2.5]]), [[0, 0], [1e308, 2.5]], "LINESTRING (0 0,1E+308 2.5)"),
]


@pytest.mark.parametrize(("found", "left", "read_by_gdal_as"), REPAIRED)
def test_geometries_of_qgis_that_gdal_cannot_read_are_repaired(found: Any, left: Any, read_by_gdal_as: str) -> None:
    # Given a layer with the geometry: alone, in collections, and between good ones
    good = feature(geometry("LineString", [[0.5, 1.5], [2.5, 3.5]]), id=1)

    def with_it(shape: Any) -> Any:
        return deepcopy(layer([good, feature(shape), feature(geometries(POINT, geometries(shape))), good]))

    document = with_it(found)
    # When it is checked
    assert verdict(document) is None
    # Then only what GDAL cannot read has changed; JSON distinguishes 1 and 1.0
    assert msgspec.json.encode(document) == msgspec.json.encode(with_it(geometry(found["type"], left)))


# Refusals

TYPES = "Point, MultiPoint, LineString, MultiLineString, Polygon, MultiPolygon, GeometryCollection"

WRONG_GEOMETRIES = [
    ([], f"geometry must be an object, not a list{ANEW}"),
    ({"coordinates": [0, 0]}, f'geometry has no "type"{ANEW}'),
    ({"type": "Point"}, f'point has no "coordinates"{ANEW}'),
    ({"type": "GeometryCollection", "coordinates": []}, f'geometry collection has no "geometries"{ANEW}'),
    (geometry(["Point"], []), f"geometry type must be {TYPES}, not a list{ANEW}"),  # type: ignore[arg-type]
    # Some versions of GDAL accept lower case, others drop the feature
    (geometry("point", []), f"geometry type must be {TYPES}, not 'point'{ANEW}"),
    (POINT | {"bbox": [0, 0, 1, inf]}, f"point: member 'bbox' holds an infinite or too large number{CHANGE}"),
    (POINT | {"tree": within_lists(33)}, f"point: member 'tree' is nested more than 32 levels deep{CHANGE}"),
    ({"type": "GeometryCollection", "geometries": {}}, f"geometry collection must be a list, not an object{ANEW}"),
    (geometries(POINT, None), f"geometry collection, part 2, geometry must be an object, not null{ANEW}"),
    (
        geometries(geometry("Line", [])),
        f"geometry collection, part 1, geometry type must be {TYPES}, not 'Line'{ANEW}",
    ),
    (within_collections(9, POINT), f"geometry collection holds geometries more than 8 collections deep{SPLIT}"),
]

# QGIS writes null for NaN and infinity. GDAL reads no geometry, or loses the part; QGIS draws nothing.
UNSHOWABLE = [
    (geometry("Point", [1.0, None]), "point has no finite y"),
    (geometry("Point", [None, None]), "point has no finite x"),
    (geometry("Point", [2.35]), "point has no finite y"),
    (geometry("Point", [0, TOO_LARGE]), "point has no finite y"),
    (geometry("Point", [-UNWRITABLE, 0]), "point has no finite x"),
    (geometry("Point", [0, 0, nan]), "point has no finite height"),
    (geometry("Point", [0, 0, 0, 0, inf]), "point has no finite measure"),
    (geometry("MultiPoint", [[None, None], [0, 0], [None, 3]]), "multipoint, part 3 has no finite x"),
    (geometry("MultiPoint", [[0, 0], [3]]), "multipoint, part 2 has no finite y"),
    (geometry("LineString", [[1, 2, 3], [3, None, None]]), "line, vertex 2 has no finite y"),
    (geometry("LineString", [[1, 2], []]), "line, vertex 2 has no finite x"),
    (geometry("LineString", [[0.0, 0.0], [1.0, 1.0], [2.0, nan]]), "line, vertex 3 has no finite y"),
    (geometry("LineString", [[0.5, 0.5], [UNWRITABLE, 2]]), "line, vertex 2 has no finite x"),
    (geometry("LineString", [[1e308, 0], [1e308, 0], [nan, 0]]), "line, vertex 3 has no finite x"),
    (geometry("MultiLineString", [[], [[0, 0], [0, None]]]), "multiline, part 2, vertex 2 has no finite y"),
    (geometry("Polygon", [RING, [[1, 1], [None, 2], [1, 1]]]), "polygon, ring 2, vertex 2 has no finite x"),
    (
        geometry("MultiPolygon", [[RING], [RING, [[1, 1], [2, None], [1, 1]]]]),
        "multipolygon, part 2, ring 2, vertex 2 has no finite y",
    ),
    (
        geometries(POINT, geometries(geometry("Point", [None, None]))),
        "geometry collection, part 2, geometry collection, part 1, point has no finite x",
    ),
]

MALFORMED_COORDINATES = [
    (geometry("Point", None), "point must be a list, not null"),
    (geometry("Point", "2.35,48.85"), "point must be a list, not '2.35,48.85'"),
    (geometry("Point", ["2.35", 48.85]), "point: x must be a number, not '2.35'"),
    (geometry("Point", [0, True]), "point: y must be a number, not a boolean"),
    (geometry("MultiPoint", [0, 0]), "multipoint, part 1 must be a list, not a number"),
    (geometry("MultiPoint", [[0, 0], [0, 1, {}]]), "multipoint, part 2: height must be a number, not an object"),
    (geometry("LineString", 0), "line must be a list, not a number"),
    (geometry("LineString", [0, 0]), "line, vertex 1 must be a list, not a number"),
    (geometry("MultiLineString", [[], 5]), "multiline, part 2 must be a list, not a number"),
    (geometry("Polygon", RING), "polygon, ring 1, vertex 1 must be a list, not a number"),
    (geometry("MultiPolygon", [RING]), "multipolygon, part 1, ring 1, vertex 1 must be a list, not a number"),
]


def test_an_invalid_geometry_is_refused_with_position_fault_and_remedy() -> None:
    for shape, reason in (
        *WRONG_GEOMETRIES,
        *((shape, fault + FIX) for shape, fault in UNSHOWABLE),
        *((shape, fault + ANEW) for shape, fault in MALFORMED_COORDINATES),
    ):
        assert verdict(layer([feature(deepcopy(shape))])) == f"Feature 1: {reason}"


WRONG_FEATURES = [
    (None, f" must be an object, not null{ANEW}"),
    ({}, f' has no "type"{ANEW}'),
    (POINT, f" type must be Feature, not 'Point'{ANEW}"),
    (feature(POINT, type=1), f" type must be Feature, not a number{ANEW}"),
    (without(feature(POINT), "geometry"), f' has no "geometry"{ANEW}'),
    (without(feature(POINT), "properties"), f' has no "properties"{ANEW}'),
    (feature(POINT, properties="a=1"), f": properties must be an object, not 'a=1'{ANEW}"),
    (
        feature(POINT, properties={"fine": 1, "n": {"deep": [1, -UNWRITABLE]}}),
        f": property 'n' holds an infinite or too large number{CHANGE}",
    ),
    (
        feature(POINT, properties={"fine": within_lists(32), "p": within_lists(33)}),
        f": property 'p' is nested more than 32 levels deep{CHANGE}",
    ),
    (feature(POINT, id=True), f": id must be a text or a number, not a boolean{ANEW}"),
    (feature(POINT, id=nan), f": id is infinite or too large{CHANGE}"),
    (feature(POINT, id=UNWRITABLE), f": id is infinite or too large{CHANGE}"),
    (feature(POINT, bbox=[0, 0, 1, inf]), f": member 'bbox' holds an infinite or too large number{CHANGE}"),
]


def test_the_first_invalid_feature_is_refused_with_its_number() -> None:
    for wrong, reason in WRONG_FEATURES:
        assert verdict(layer([feature(POINT), wrong, feature("x")])) == f"Feature 2{reason}"


def test_a_refused_feature_is_named_by_its_id_or_its_number_from_1() -> None:
    for id, name in (
        (None, "13"),
        (" \n", "13"),
        (10**300, "13"),
        (0, "0 (its id)"),
        (-2, "-2 (its id)"),
        (7.5, "7.5 (its id)"),
        ("parcel-7", "'parcel-7' (its id)"),
        ("x" * 100, f"'{'x' * 39}…' (its id)"),
        ("a\nb", "'a\N{REPLACEMENT CHARACTER}b' (its id)"),
    ):
        document = layer([*[feature(POINT)] * 12, feature(geometry("Point", [1, None]), id=id)])
        assert verdict(document) == f"Feature {name}: point has no finite y{FIX}"


def put_into_a_collection(type_: str) -> str:
    return (
        f"The layer is a single {type_}. Put it into a FeatureCollection and send that:"
        ' {"type": "FeatureCollection", "features": […]}.'
    )


WRONG_LAYERS = [
    (None, f"The layer must be an object, not null{ANEW}"),
    (7, f"The layer must be an object, not a number{ANEW}"),
    ({"features": []}, f'The layer has no "type"{ANEW}'),
    ({"type": ["Feature"]}, f"The layer type must be FeatureCollection, not a list{ANEW}"),
    ({"type": "Topology", "objects": {}}, f"The layer type must be FeatureCollection, not 'Topology'{ANEW}"),
    (feature(POINT), put_into_a_collection("Feature")),
    (geometries(POINT), put_into_a_collection("GeometryCollection")),
    ({"type": "FeatureCollection"}, f'The layer has no "features"{ANEW}'),
    (layer([]) | {"features": {"0": feature(POINT)}}, f"The layer: features must be a list, not an object{ANEW}"),
    (layer([], crs={"n": nan}), f"The layer: member 'crs' holds an infinite or too large number{CHANGE}"),
    (layer([], crs=within_lists(33)), f"The layer: member 'crs' is nested more than 32 levels deep{CHANGE}"),
]


def test_documents_that_are_no_layers_are_refused() -> None:
    for document, reason in WRONG_LAYERS:
        assert verdict(document) == reason


def test_features_are_counted_before_anything_is_checked() -> None:
    assert verdict(layer([feature(POINT)] * 500), max_features=500) is None
    assert verdict(layer([]), max_features=0) is None
    for rest in ({}, {"type": 5}, {"type": "FeatureCollection", "bbox": nan, "geometry": 1}):
        reason = verdict({"features": [nan] * 501, **rest}, max_features=500)
        assert reason == "Too many geojson features : 501 vs max 500 allowed"


# Attacks


@pytest.mark.parametrize("text", ["\x1b[31m", "two\nlines", "\u202ereversed", "\ud800", "é🗺", "x" * 10_000])
def test_quoted_text_is_short_and_printable(text: str) -> None:
    for document in [
        layer([feature(geometry(text, []))]),
        layer([feature(geometry("Point", [text, 0]))]),
        layer([feature(POINT, properties={text: nan})]),
        layer([], **{text: nan}),
    ]:
        reason = verdict(document)
        assert reason is not None
        assert reason.isprintable()
        assert len(reason) < 300


def test_excessive_nesting_is_refused() -> None:
    abyss, other = within_lists(100_000), within_lists(100_000)
    ring = geometry("Polygon", [[abyss, [0, 0], [0, 0], other]])
    for deep, reason in (
        (feature(within_collections(100_000, POINT)), f": {WRONG_GEOMETRIES[-1][1]}"),
        (feature(POINT, properties={"p": abyss}), f": property 'p' is nested more than 32 levels deep{CHANGE}"),
        (feature(ring), f": polygon, ring 1, vertex 1: x must be a number, not a list{ANEW}"),
        (feature(POINT, type=abyss), f" type must be Feature, not a list{ANEW}"),
    ):
        assert verdict(layer([deep])) == f"Feature 1{reason}"
