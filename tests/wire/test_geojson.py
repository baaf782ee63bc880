"""Layers: what readers can read arrives as it was sent, or repaired; the rest is refused with the feature named."""

import json
import re
from typing import Any

import pytest

from tests.support.contract import CANARY, sample
from tests.support.layers import SQUARE, feature, geometry, layer, point, points
from tests.wire.conftest import Join


def _of_geometries(*geometries: Any) -> Any:
    return layer([feature(one) for one in geometries])


VALID = {
    "no features": layer([]),
    "500 features": points(500),
    "a null geometry": _of_geometries(None),
    "null properties": layer([feature(point(1, 2), properties=None)]),
    "every type of geometry": _of_geometries(
        point(1, 2),
        geometry("MultiPoint", [[1, 2], [3, 4]]),
        geometry("LineString", [[1, 2], [3, 4]]),
        geometry("MultiLineString", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        geometry("Polygon", [SQUARE]),
        geometry("MultiPolygon", [[SQUARE], [SQUARE, [[2, 2], [2, 4], [4, 4], [2, 2]]]]),
        {"type": "GeometryCollection", "geometries": [point(1, 2), geometry("Polygon", [SQUARE])]},
    ),
    "empty geometries": _of_geometries(
        *(geometry(t, []) for t in ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")),
        {"type": "GeometryCollection", "geometries": []},
    ),
    "heights and measures": _of_geometries(point(1, 2, 3), geometry("LineString", [[1, 2, 3, 4], [5, 6, 7, 8]])),
    "coordinates of a projected CRS": _of_geometries(point(652_000.123_456, 6_862_000.5), point(-2e7, 4e7)),
    "foreign members": layer(
        [feature(point(1, 2), id="a", bbox=[1, 2, 1, 2], style={"colour": CANARY})],
        name="wells",
        crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
        bbox=[1, 2, 1, 2],
    ),
    "degenerate lines and rings": _of_geometries(
        geometry("LineString", [[1, 2]]),
        geometry("MultiLineString", [[[1, 2]], [[3, 4], [5, 6]], []]),
        geometry("Polygon", [[[0, 0], [1, 0], [1, 1], [0, 1]]]),
        geometry("Polygon", [[[0, 0], [1, 1], [0, 0]]]),
        geometry("Polygon", [SQUARE, [[1, 1]]]),
        geometry("MultiPolygon", [[SQUARE], [SQUARE[:-1]]]),
    ),
    "a layer of ArcGIS": layer([feature(point(1, 2))], properties={"exceededTransferLimit": True}),
    "extents of QGIS 3.8": layer([feature(geometry("LineString", [[1, 2], [3, 4]]), bbox=[[1.0, 2.0, 3.0, 4.0]])]),
    "extents and ids of nulls": layer([feature(point(1, 2), id=None, bbox=[None, None, None, None])]),
    "properties of all kinds": layer(
        [feature(None, properties={"a": None, "b": [1, {"c": "é"}], "": "x", "big": 2**62, "d": -1.5e-7, "e": True})]
    ),
}


async def test_a_valid_layer_arrives_as_it_was_sent(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    for name, valid in VALID.items():
        await sender.send(**sample("geojson", geojson=valid, layer_name=name, style="<qgis/>"))

        for receiver in (sender, other):
            received = await receiver.until(type="geojson")
            assert received["layer_name"] == name
            assert received["geojson"] == valid, name
            assert received["style"] == "<qgis/>"


async def test_a_layer_that_qgis_writes_and_gdal_cannot_read_arrives_repaired(channel: str, join: Join) -> None:
    """A height is null, or a part of a multipoint empty: GDAL then reads no geometry."""
    sender, other = await join(channel), await join(channel, front=1)
    found = _of_geometries(
        geometry("Point", [6.1, 46.2, None]),
        geometry("LineString", [[1, 2, 3], [4, 5, None]]),
        geometry("MultiPoint", [[1, 2], [None, None], [5, 6]]),
    )

    await sender.send(**sample("geojson", geojson=found))

    repaired = _of_geometries(
        geometry("Point", [6.1, 46.2]),
        geometry("LineString", [[1, 2, 3], [4, 5]]),
        geometry("MultiPoint", [[1, 2], [5, 6]]),
    )
    for receiver in (sender, other):
        assert (await receiver.until(type="geojson"))["geojson"] == repaired


GOOD = feature(point(1, 2))

BROKEN_FEATURES: dict[str, Any] = {
    "no object": 12,
    "null": None,
    "a geometry": point(1, 2),
    "no type": {"geometry": None, "properties": None},
    "no geometry": {"type": "Feature", "properties": None},
    "a text for a geometry": feature(CANARY),
    "a list for properties": feature(None, properties=[]),
    "an unknown geometry": feature(geometry("Circle", [1, 2])),
    "a geometry with a type that is no text": feature({"type": [], "coordinates": []}),
    "a geometry without coordinates": feature({"type": "Point"}),
    "coordinates that are no list": feature(geometry("Point", CANARY)),
    "coordinates that are null": feature(geometry("LineString", None)),
    "one coordinate": feature(point(1)),
    "a coordinate that is a text": feature(geometry("Point", ["1", 2])),
    "a coordinate that is null": feature(geometry("Point", [1, None])),
    "a coordinate that is true": feature(geometry("Point", [1, True])),
    "a point nested too deeply": feature(geometry("Point", [[1, 2]])),
    "a line that is flat": feature(geometry("LineString", [1, 2, 3, 4])),
    "a polygon that is a ring": feature(geometry("Polygon", SQUARE)),
    "a vertex that is null": feature(geometry("LineString", [[1, 2], [None, None], [3, 4]])),
    "a broken part of a multipolygon": feature(geometry("MultiPolygon", [[SQUARE], [[*SQUARE[:-1], [0, None]]]])),
    "a collection without geometries": feature({"type": "GeometryCollection"}),
    "a collection with a broken geometry": feature({"type": "GeometryCollection", "geometries": [point(1)]}),
}


async def test_the_reason_names_the_feature_that_is_broken(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    for name, broken in BROKEN_FEATURES.items():
        # When a layer is sent of which one feature is broken
        await sender.send(**sample("geojson", geojson=layer([GOOD] * 12 + [broken] + [GOOD] * 5)))

        # Then its sender learns which one it is
        assert re.match(r"Feature 13\b", await sender.refusal()), name
    # And nobody else hears of it
    await other.nothing_before(await sender.say())


@pytest.mark.parametrize("x", ["null", "1e999", "-1e999"])
async def test_a_point_that_no_reader_can_show_is_refused_by_its_id(x: str, channel: str, join: Join) -> None:
    client = await join(channel)
    points_ = layer([feature(point(1, 2), id="well-6"), feature(geometry("Point", ["@", 2.0]), id="well-7")])

    await client.send_raw(json.dumps(sample("geojson", geojson=points_)).replace('"@"', x))

    reason = await client.refusal()
    assert "'well-7'" in reason
    assert "no finite x" in reason
    assert "Check Validity" in reason


NO_LAYERS: dict[str, Any] = {
    "a number": 12,
    "a text": CANARY,
    "true": True,
    "null": None,
    "a list": [],
    "an empty object": {},
    "a feature": feature(None),
    "a geometry": point(1, 2),
    "no features": {"type": "FeatureCollection"},
    "features that are null": layer(None),  # type: ignore[arg-type]
    "features that are an object": {"type": "FeatureCollection", "features": {}},
    "features that are a text": {"type": "FeatureCollection", "features": CANARY},
    "an unknown type": {"type": "Collection", "features": []},
    "a layer as a text": '{"type": "FeatureCollection", "features": []}',
}


async def test_what_is_no_layer_is_refused_to_its_sender_alone(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    for name, no_layer in NO_LAYERS.items():
        await sender.send(**sample("geojson", geojson=no_layer))

        assert await sender.refusal(), name
    marker = await sender.say()
    await sender.nothing_before(marker)
    await other.nothing_before(marker)


async def test_features_are_counted_before_they_are_looked_at(channel: str, join: Join) -> None:
    client = await join(channel)

    await client.send(**sample("geojson", geojson=layer([None] * 600)))

    assert await client.refusal() == "Too many geojson features : 600 vs max 500 allowed"


async def test_a_layer_of_many_vertices_arrives(channel: str, join: Join) -> None:
    """500 features of 200 vertices, 100 000 in all: a real layer."""
    client = await join(channel)
    ring = [[i * 1.000_1, i * i / 7] for i in range(199)]
    polygon = feature(geometry("Polygon", [[*ring, ring[0]]]))

    await client.send(**sample("geojson", geojson=(sent := layer([polygon] * 500))))

    assert (await client.until(type="geojson"))["geojson"] == sent
