"""Layers: readable ones arrive as sent; others are refused, and the reason names the feature.

tests/worker/test_geojson.py has every shape.
"""

import re
from typing import Any

from tests.support.contract import CANARY, sample
from tests.support.layers import SQUARE, feature, geometry, large_layer, layer, point
from tests.support.rest import Rest
from tests.wire.conftest import Join

GEOMETRIES = [
    None,
    point(1, 2),
    geometry("MultiPoint", [[1, 2], [3, 4]]),
    geometry("LineString", [[1, 2, 3, 4], [5, 6, 7, 8]]),
    geometry("LineString", [[1, 2]]),
    geometry("MultiLineString", [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    geometry("Polygon", []),
    geometry("Polygon", [[[0, 0], [1, 0], [1, 1], [0, 1]]]),
    geometry("MultiPolygon", [[SQUARE], [SQUARE, [[2, 2], [2, 4], [4, 4], [2, 2]]]]),
    {"type": "GeometryCollection", "geometries": [point(-2e7, 4e7), geometry("Polygon", [SQUARE])]},
]
PROPERTIES = {"a": None, "b": [1, {"c": "é"}], "": "x", "big": 2**62, "d": -1.5e-7, "e": True}
FOREIGN_MEMBERS = {"name": "wells", "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}}


async def test_a_valid_layer_arrives_as_it_was_sent(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    features = [
        feature(shape, id=f"{number}", bbox=[1, 2, 1, 2], style={"colour": CANARY}, properties=PROPERTIES)
        for number, shape in enumerate(GEOMETRIES)
    ]
    sent = {"geojson": layer(features, **FOREIGN_MEMBERS), "layer_name": "everything", "style": "<qgis/>"}

    await sender.send(**sample("geojson", **sent))

    for receiver in (sender, other):
        assert (await receiver.until(type="geojson")).items() >= sent.items()


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


async def test_the_reason_names_the_feature_that_is_broken_to_the_sender_alone(channel: str, join: Join) -> None:
    sender, other = await join(channel), await join(channel, front=1)
    good = feature(point(1, 2))
    wrong: list[Any] = [12, feature(geometry("Point", CANARY)), feature(geometry("LineString", [[1, 2], [None, None]]))]
    for broken in wrong:
        await sender.send(**sample("geojson", geojson=layer([good] * 12 + [broken] + [good] * 5)))

        assert re.match(r"Feature 13\b", await sender.refusal())
    await other.nothing_before(await sender.say())
