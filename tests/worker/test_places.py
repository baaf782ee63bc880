"""Places of messages, compared with PROJ: twelve CRS with their corners, and messages without a place."""

import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from pyproj import CRS, Transformer

from gischat.protocol.places import MAX_PLACE_BYTES, PREFIX, RESERVED, Place, decode
from tests.support.contract import sample
from tests.support.layers import feature, geometry, layer, point
from worker import places
from worker.crs import find

ID = "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"
PIXEL = 40_075_016.68 / 256 / 2**17  # metres at zoom 17, which shows houses: 1.2

CUSTOM = (
    'PROJCS["mine",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",-20],'
    'PARAMETER["central_meridian",47.5],PARAMETER["scale_factor",1.0003],PARAMETER["false_easting",1234],'
    'PARAMETER["false_northing",-5678],UNIT["US survey foot",0.304800609601219]]'
)
CORNERS: dict[str, tuple[str | int, float, float]] = {
    "LV95": (2056, 8.55, 47.37),
    "Lambert-93": (2154, 2.35, 48.86),
    "British National Grid, without its grid": (27700, -0.1276, 51.5072),
    "UTM south": (32735, 27.9, -26.2),
    "Antarctic polar stereographic": (3031, 166.67, -77.85),
    "Arctic polar stereographic": (3413, -51.7, 64.18),
    "Web Mercator": (3857, 179.99, -16.8),
    "feet": (2263, -73.97, 40.78),
    "RD New": (28992, 4.9, 52.37),
    "with heights": (7415, 4.9, 52.37),
    "grads, from Paris": (4807, 0.5, 48.86),
    "northing before easting": (2193, 174.78, -41.29),
    "Krovak": (5514, 14.42, 50.09),
    "an old datum of a continent": (4230, 12.5, 41.9),
    "text of its own, in feet": (CUSTOM, 47.5, -18.9),
}


def message(type_: str, **changes: Any) -> dict[str, Any]:
    """A message as a front accepts it."""
    return {"avatar": None, **sample(type_, id=ID, timestamp=1_700_000_000, **changes)}


def placed(message: dict[str, Any]) -> Place | None:
    if message["type"] == "geojson":
        stored = places.of_layer(message)
    else:
        read = places.read(msgspec.json.encode(message))
        stored = places.of_light(read, find(read.crs_wkt, read.crs_authid))
    return decode(stored) if stored else None


def features(message: dict[str, Any]) -> list[dict[str, Any]]:
    place = placed(message)
    assert place is not None
    assert (place.type, place.timestamp) == (message["type"], message["timestamp"])
    return [msgspec.json.decode(one) for _, one in place.features]


def metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    east = (one[0] - other[0]) * math.cos(math.radians(one[1]))
    return 111_320 * math.hypot(east, one[1] - other[1])


def text_of(crs: str | int) -> str:
    return crs if isinstance(crs, str) else CRS.from_epsg(crs).to_wkt("WKT1_GDAL")


@pytest.mark.parametrize("corner", CORNERS)
def test_a_place_agrees_with_proj(corner: str) -> None:
    crs, lon, lat = CORNERS[corner]
    there = Transformer.from_crs("EPSG:4326", CRS(crs), always_xy=True)
    back = Transformer.from_crs(CRS(crs), "EPSG:4326", always_xy=True)
    x, y = there.transform(lon, lat)
    expected = back.transform(x, y)
    assert metres(expected, (lon, lat)) < PIXEL
    of_it = {"crs_wkt": text_of(crs), "crs_authid": ""}

    (position,) = features(message("position", **of_it, x=x, y=y))
    (shape,) = features(message("geojson", **of_it, geojson=layer([feature(point(x, y))])))
    for found in (position, shape):
        assert found["geometry"]["type"] == "Point"
        assert metres(found["geometry"]["coordinates"], expected) < 0.02, "seven decimals"

    # The sides of an extent of 20 km are curved
    size = 20_000 if CRS(crs).is_projected else 0.2
    (extent,) = features(message("bbox", **of_it, xmin=x - size, xmax=x + size, ymin=y - size, ymax=y + size))
    polygons = extent["geometry"]["coordinates"]
    rings = [polygons[0]] if extent["geometry"]["type"] == "Polygon" else [polygon[0] for polygon in polygons]
    for share in range(17):
        on_side = back.transform(x - size + 2 * size * share / 16, y + size)
        assert min(away(on_side, ring) for ring in rings) < 40, "a thousandth of the extent"


def away(place: tuple[float, float], ring: list[list[float]]) -> float:
    """The distance in metres from a position to the nearest point of a ring."""
    scale = math.cos(math.radians(place[1]))
    near = []
    for (x, y), (to_x, to_y) in pairwise(ring):
        dx, dy = (to_x - x) * scale, to_y - y
        px, py = (place[0] - x) * scale, place[1] - y
        share = max(0.0, min(1.0, (px * dx + py * dy) / (dx * dx + dy * dy))) if dx or dy else 0.0
        near.append(math.hypot(px - share * dx, py - share * dy))
    return 111_320 * min(near)


def test_the_place_of_a_crs_is_its_area_of_use() -> None:
    (shown,) = features(message("crs", crs_wkt=text_of(2154), crs_authid="EPSG:2154"))
    area = [[-9.86, 41.15], [10.38, 41.15], [10.38, 51.56], [-9.86, 51.56], [-9.86, 41.15]]
    assert shown["geometry"] == geometry("Polygon", [area])
    # A CRS that is used on both sides of the antimeridian
    (shown,) = features(message("crs", crs_wkt=text_of(3832), crs_authid="EPSG:3832"))
    assert shown["geometry"]["type"] == "MultiPolygon"


# The choice of the CRS


def test_the_definition_decides_and_the_name_only_if_it_is_invalid() -> None:
    x, y = 652381.4, 6862047.1
    right = features(message("position", crs_wkt=text_of(2154), crs_authid="EPSG:32735", x=x, y=y))
    named = features(message("position", crs_wkt="PROJCS[", crs_authid="EPSG:2154", x=x, y=y))
    assert right[0]["geometry"] == named[0]["geometry"]
    assert metres(right[0]["geometry"]["coordinates"], (2.3510045, 48.8567)) < 0.02


@pytest.mark.parametrize(
    ("wkt", "authid"),
    [
        ("", ""),
        ("EPSG:2154", "USER:100001"),
        ("+proj=longlat", "+proj=longlat"),
        ('LOCAL_CS["a building site",UNIT["metre",1]]', ""),
        pytest.param(CRS.from_epsg(5773).to_wkt(), "", id="heights"),
        pytest.param(CRS.from_epsg(4978).to_wkt(), "", id="geocentric"),
        pytest.param("[" * 10_000, "[" * 50, id="brackets"),
        pytest.param('PROJCRS["a",BASEGEOGCRS["b",' * 350, "", id="within each other"),
        pytest.param("BOUNDCRS[SOURCECRS[" * 526, "EPSG:" + "9" * 45, id="without end"),
    ],
)
def test_coordinates_without_a_crs_of_the_earth_have_no_place(wkt: str, authid: str) -> None:
    for type_ in ("position", "bbox", "crs", "geojson"):
        assert placed(message(type_, crs_wkt=wkt, crs_authid=authid)) is None


def test_coordinates_outside_the_earth_have_no_place() -> None:
    assert placed(message("position", crs_wkt=text_of(4326), x=0.0, y=95.0)) is None
    assert placed(message("position", crs_wkt=text_of(32735), x=1e300, y=1e300)) is None
    for x, y in ((1e300, 1e300), (-1e300, 0.0)):  # some projections map all numbers to the earth
        if found := placed(message("position", crs_wkt=text_of(32735), x=x, y=y)):
            assert all(map(math.isfinite, found.features[0][0] or [math.nan]))


# Features


def geographic(*shown: dict[str, Any]) -> dict[str, Any]:
    return message("geojson", crs_wkt=text_of(4326), crs_authid="EPSG:4326", geojson=layer(list(shown)))


def shapes(*given: Any) -> list[Any]:
    return [found["geometry"] for found in features(geographic(*map(feature, given)))]


SQUARE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]


def test_geometries_keep_their_types() -> None:
    way = [[1.0, 2.0], [3.0, 4.0]]
    given = [
        point(1.5, 2.5),
        geometry("MultiPoint", way),
        geometry("LineString", way),
        geometry("MultiLineString", [way, [[5.0, 6.0], [7.0, 8.0]]]),
        geometry("Polygon", [SQUARE]),
        geometry("MultiPolygon", [[SQUARE], [[[5.0, 5.0], [6.0, 5.0], [6.0, 6.0], [5.0, 5.0]]]]),
        {"type": "GeometryCollection", "geometries": [point(1.0, 2.0), geometry("LineString", way)]},
        None,
    ]
    assert shapes(*given) == given


def test_geometries_conform_to_rfc_7946() -> None:
    """They have no heights and seven decimals; rings are closed and right-handed."""
    heights, clockwise, unclosed, precise = shapes(
        point(1.0, 2.0, 300.0),
        geometry("Polygon", [SQUARE[::-1]]),
        geometry("Polygon", [SQUARE[:-1]]),
        point(1.123456789, -0.00000001),
    )
    assert heights == point(1.0, 2.0)
    assert clockwise == unclosed == geometry("Polygon", [SQUARE])
    assert precise == point(1.1234568, 0.0)


def test_features_without_a_place_are_omitted() -> None:
    for given, shown in (
        (geometry("Point", []), None),
        (geometry("LineString", [[1.0, 2.0]]), None),
        (geometry("Polygon", [[[1.0, 2.0], [3.0, 4.0]]]), None),
        (geometry("MultiPoint", [[1.0, 2.0], [1.0, 99.0]]), geometry("MultiPoint", [[1.0, 2.0]])),
        (
            geometry("LineString", [[1e300, 0.0], [1.0, 0.0], [2.0, 0.0]]),
            geometry("LineString", [[1.0, 0.0], [2.0, 0.0]]),
        ),
        (
            geometry("LineString", [[179.0, 0.0], [181.0, 0.0]]),
            geometry("MultiLineString", [[[179.0, 0.0], [180.0, 0.0]], [[-180.0, 0.0], [-179.0, 0.0]]]),
        ),
    ):
        assert shapes(point(1.0, 2.0), given) == [point(1.0, 2.0), shown]
    assert placed(geographic(feature(None), feature(point(0.0, 91.0)))) is None


def test_features_have_the_properties_of_their_message_and_their_own() -> None:
    of_message = {"id": ID, "author": "jane", "timestamp": 1_700_000_000, "crs_authid": "EPSG:4326"}
    (found,) = features(message("position", crs_wkt=text_of(4326), crs_authid="EPSG:4326", x=1.0, y=2.0))
    properties = of_message | {"type": "position", "layer_name": None}
    assert found == {"type": "Feature", "id": ID, "geometry": point(1.0, 2.0), "properties": properties}

    own = {"Höhe": 12.5, "note": None, "tags": ["a", {"b": 1}]}
    first, second = features(geographic(feature(point(1.0, 2.0), properties=own), feature(None, properties=None)))
    assert (first["id"], second["id"]) == (f"{ID}.1", f"{ID}.2")
    assert first["properties"].items() >= (own | of_message).items()
    assert second["properties"].items() >= of_message.items()


def test_on_a_name_conflict_the_messages_property_has_a_prefix() -> None:
    """The prefix is in all features, so that a layer cannot fake an author."""
    own = {"id": 7, "type": "oak", PREFIX + "id": "forged", PREFIX + "author": "forged"}
    for found in features(geographic(feature(point(1.0, 2.0), properties=own), feature(point(3.0, 4.0)))):
        properties = found["properties"]
        assert (properties[PREFIX + "id"], properties[PREFIX + "type"]) == (ID, "geojson")
        assert properties["author"] == "jane"
        assert properties.get("id") in (7, None)
        assert properties.keys() & RESERVED == {PREFIX + "id", PREFIX + "type"}


def test_a_large_layer_loses_vertices_then_properties_then_all_but_its_extent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound = MAX_PLACE_BYTES // 100
    monkeypatch.setattr(places, "MAX_PLACE_BYTES", bound)

    def within_the_bound(*shown: dict[str, Any]) -> list[dict[str, Any]]:
        place = places.of_layer(geographic(*shown))
        assert len(place) <= bound
        return [msgspec.json.decode(one) for _, one in decode(place).features]

    ring = [[math.cos(step / 1000 * math.tau), math.sin(step / 1000 * math.tau)] for step in range(1000)]
    circles = [feature(geometry("Polygon", [ring]), properties={"name": number}) for number in range(4)]
    found = within_the_bound(*circles)
    assert [one["properties"]["name"] for one in found] == list(range(4))
    assert 100 < len(found[0]["geometry"]["coordinates"][0]) < 1000

    found = within_the_bound(
        *(feature(point(number / 100, 2.0), properties={"text": "x" * 5000}) for number in range(10))
    )
    assert (len(found), "text" in found[0]["properties"]) == (10, False)

    (shown,) = within_the_bound(feature(geometry("MultiLineString", [[[0, 0], [1, 1]]] * 3000)))
    assert shown["geometry"]["coordinates"] == [SQUARE]
