"""Layers: what RFC 7946 allows is passed on as it was sent; any JSON is a layer that readers can show, or refused."""

import json
import math
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gischat.errors import Uncompliant
from tests.proofs.refusals import in_words
from tests.support.contract import sample
from tests.support.layers import feature, geometry, layer
from tests.support.settings import settings
from worker import geojson
from worker.handlers import layer as processed

SETTINGS = settings(max_geojson_features=4)

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
positions = st.lists(numbers, min_size=2, max_size=3)
lines = st.lists(positions, min_size=2, max_size=4)
rings = st.lists(positions, min_size=3, max_size=4).map(lambda ring: [*ring, ring[0]])
shapes = {
    "Point": positions,
    "MultiPoint": st.lists(positions, max_size=3),
    "LineString": lines,
    "MultiLineString": st.lists(lines, max_size=3),
    "Polygon": st.lists(rings, max_size=2),
    "MultiPolygon": st.lists(st.lists(rings, min_size=1, max_size=2), max_size=2),
}
geometries = st.recursive(
    st.one_of(
        *(coordinates.map(lambda found, name=name: geometry(name, found)) for name, coordinates in shapes.items())
    ),
    lambda inner: st.lists(inner, max_size=2).map(lambda found: {"type": "GeometryCollection", "geometries": found}),
    max_leaves=3,
)
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | numbers | strings,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(strings, inner, max_size=2),
    max_leaves=4,
)
features = st.builds(
    lambda shape, properties, id: feature(shape, properties=properties, **({} if id is None else {"id": id})),
    st.none() | geometries,
    st.none() | st.dictionaries(strings, values, max_size=3),
    st.none() | strings | st.integers(0, 2**63 - 1),
)
layers = st.lists(features, max_size=4).map(layer)


def outcome(document: Any) -> Any:
    """The layer that arrives, or the reason why none does."""
    try:
        body = processed(json.dumps(sample("geojson", geojson=document)).encode(), SETTINGS).body
    except Uncompliant as refusal:
        return in_words(refusal, most=400)
    return msgspec.json.decode(body)["geojson"]


@given(layers)
def test_what_the_standard_allows_is_passed_on_as_it_was_sent(document: Any) -> None:
    assert outcome(document) == document


def places(document: Any) -> list[tuple[Any, Any]]:
    """Where each value inside `document` stands: (its container, its key or index)."""
    keys = list(document) if isinstance(document, dict) else range(len(document))
    inner = [document[key] for key in keys if isinstance(document[key], dict | list)]
    return [(document, key) for key in keys] + [place for one in inner for place in places(one)]


rubbish = st.one_of(
    values,
    geometries,
    positions,
    st.lists(st.none() | numbers, max_size=4),
    st.lists(st.lists(st.none() | numbers, max_size=3), max_size=3),
    st.sampled_from([math.nan, math.inf, 2**64, 10**400, {"type": "Point"}, [[0, 0, None], [1, 1, 1]], [[None, None]]]),
)


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """A layer with something else in one to three places."""
    document = deepcopy(draw(layers))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(document)))
        container[key] = deepcopy(draw(rubbish))
    return document


def assert_can_be_shown(document: Any) -> None:
    """By any reader: the standard's types and members, finite numbers, no empty part in a position."""
    assert document["type"] == "FeatureCollection"
    for one in document["features"]:
        assert one["type"] == "Feature"
        assert isinstance(one["properties"], dict | None)
        if one["geometry"] is not None:
            assert_geometry(one["geometry"])


def assert_geometry(shape: Any) -> None:
    if shape["type"] == "GeometryCollection":
        for part in shape["geometries"]:
            assert_geometry(part)
        return
    assert shape["type"] in shapes
    for position in positions_of(shape["coordinates"]):
        assert len(position) >= 2
        assert all(type(number) in (int, float) and math.isfinite(number) for number in position)


def positions_of(coordinates: list[Any]) -> list[list[Any]]:
    """However deep they are."""
    if all(isinstance(one, list) for one in coordinates):
        return [position for one in coordinates for position in positions_of(one)]
    return [coordinates]


@given(broken() | values)
def test_anything_is_a_layer_that_can_be_shown_or_refused_in_words(document: Any) -> None:
    arrived = outcome(document)
    if not isinstance(arrived, str):
        assert_can_be_shown(arrived)
        # … and there is nothing left to repair
        assert outcome(arrived) == arrived


@given(broken())
def test_a_quick_look_at_positions_leads_to_the_same_verdict_as_a_long_one(document: Any) -> None:
    quick = outcome(document)
    with patch.object(geojson, "_are_positions", return_value=False):
        assert outcome(document) == quick
