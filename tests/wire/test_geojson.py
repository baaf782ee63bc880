"""Layers: what readers can read arrives as it was sent, or repaired; the rest is refused with the feature named."""

import json
import re
from typing import Any

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

    for name, sent in VALID.items():
        await sender.send(**sample("geojson", layer_name=name, geojson=sent, style="<qgis/>"))

        for receiver in (sender, other):
            received = await receiver.until(type="geojson", layer_name=name)
            assert received["geojson"] == sent
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

# One of each kind: tests/worker/test_geojson.py has more
BROKEN_FEATURES: list[Any] = [
    12,
    None,
    point(1, 2),
    {"type": "Feature", "properties": None},
    feature(CANARY),
    feature(None, properties=[]),
    feature(geometry("Circle", [1, 2])),
    feature({"type": "Point"}),
    feature(geometry("Point", ["1", 2])),
    feature(geometry("LineString", [1, 2, 3, 4])),
    feature(geometry("MultiPolygon", [[SQUARE], [[*SQUARE[:-1], [0, None]]]])),
    feature({"type": "GeometryCollection", "geometries": [point(1)]}),
]


async def test_the_reason_names_the_feature_that_is_broken(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    for broken in BROKEN_FEATURES:
        # When a layer is sent of which one feature is broken
        await sender.send(**sample("geojson", geojson=layer([GOOD] * 12 + [broken] + [GOOD] * 5)))

        # Then its sender alone learns which one it is
        assert re.match(r"Feature 13\b", await sender.refusal()), broken
        await other.nothing_before(await sender.say())


async def test_a_point_that_no_reader_can_show_is_refused_by_its_id(channel: str, join: Join) -> None:
    client = await join(channel)
    points_ = layer([feature(point(1, 2), id="well-6"), feature(geometry("Point", ["@", 2.0]), id="well-7")])

    for x in ("null", "1e999", "-1e999"):
        await client.send_raw(json.dumps(sample("geojson", geojson=points_)).replace('"@"', x))

        reason = await client.refusal()
        assert "'well-7'" in reason
        assert "no finite x" in reason
        assert "Check Validity" in reason


NO_LAYERS: list[Any] = [
    12,
    None,
    [],
    {},
    feature(None),
    {"type": "FeatureCollection"},
    layer(None),  # type: ignore[arg-type]
    {"type": "FeatureCollection", "features": CANARY},
    {"type": "Collection", "features": []},
    '{"type": "FeatureCollection", "features": []}',
]


async def test_what_is_no_layer_is_refused_to_its_sender_alone(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)

    for each in NO_LAYERS:
        await sender.send(**sample("geojson", geojson=each))

        assert await sender.refusal()
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
