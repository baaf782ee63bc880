"""Layers: readable ones arrive as sent, or repaired; others are refused, and the reason names the feature."""

import re
from typing import Any

from tests.support.contract import CANARY, sample
from tests.support.layers import SQUARE, feature, geometry, large_layer, layer, point
from tests.support.rest import Rest
from tests.wire.conftest import Join


def _of_geometries(*geometries: Any) -> Any:
    return layer([feature(one) for one in geometries])


VALID = {  # tests/worker/test_geojson.py covers every shape
    "every type of geometry, and none": _of_geometries(
        None,
        point(1, 2),
        geometry("MultiPoint", [[1, 2], [3, 4]]),
        geometry("LineString", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        geometry("MultiLineString", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        geometry("Polygon", []),
        geometry("MultiPolygon", [[SQUARE], [SQUARE, [[2, 2], [2, 4], [4, 4], [2, 2]]]]),
        {"type": "GeometryCollection", "geometries": [point(-2e7, 4e7), geometry("Polygon", [SQUARE])]},
    ),
    "foreign members": layer(
        [feature(point(1, 2), id="a", bbox=[1, 2, 1, 2], style={"colour": CANARY})],
        name="wells",
        crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}},
    ),
    "degenerate lines and rings": _of_geometries(
        geometry("LineString", [[1, 2]]), geometry("Polygon", [[[0, 0], [1, 0], [1, 1], [0, 1]]])
    ),
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


async def test_a_large_layer_is_whole_for_all_and_in_its_place(channel: str, join: Join, rests: list[Rest]) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    first = await sender.until(text=await sender.say())
    await sender.send(**sample("geojson", geojson=large_layer()))
    text = await sender.say()
    for receiver in (sender, other):
        await receiver.until(text=text)
        layer, last = receiver.without_counts()[-2:]
        assert (layer["type"], last["text"]) == ("geojson", text)
        assert layer["geojson"] == large_layer()
    for rest in rests:
        assert (await rest.last(channel))[-2:] == [layer, last]
    assert (await join(channel, settled=True)).received[1:3] == [layer, last]
    returned = await join(channel, front=1, query=f"?after={first['id']}")
    await returned.until(text=text)
    assert returned.received[:2] == [layer, last]


GOOD = feature(point(1, 2))

BROKEN_FEATURES: dict[str, Any] = {  # tests/worker/test_geojson.py covers all of them
    "no object": 12,
    "coordinates that are no list": feature(geometry("Point", CANARY)),
    "a vertex that is null": feature(geometry("LineString", [[1, 2], [None, None], [3, 4]])),
}


async def test_the_reason_names_the_feature_that_is_broken(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    for name, broken in BROKEN_FEATURES.items():
        # When a layer with one invalid feature is sent
        await sender.send(**sample("geojson", geojson=layer([GOOD] * 12 + [broken] + [GOOD] * 5)))

        # Then the reason names that feature
        assert re.match(r"Feature 13\b", await sender.refusal()), name
    # And nobody else receives it
    await other.nothing_before(await sender.say())


async def test_a_layer_of_many_vertices_arrives(channel: str, join: Join) -> None:
    """500 features of 60 vertices, 30 000 in all: a real layer."""
    client = await join(channel)
    ring = [[i * 1.000_1, i * i / 7] for i in range(59)]
    polygon = feature(geometry("Polygon", [[*ring, ring[0]]]))

    await client.send(**sample("geojson", geojson=(sent := layer([polygon] * 500))))

    assert (await client.until(type="geojson"))["geojson"] == sent
