"""Matrix events become messages of the contract, whatever is in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gischat.bridges.files import Attachment, is_in_wgs84
from gischat.bridges.matrix.incoming import convert
from gischat.protocol.schemas import schemas
from tests.support.settings import settings

KEYS = st.sampled_from(
    [
        *("msgtype", "body", "format", "formatted_body", "url", "info", "size", "filename", "geo_uri"),
        *("m.relates_to", "m.in_reply_to", "event_id", "rel_type", "m.new_content"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)
TYPES = st.sampled_from(["m.text", "m.emote", "m.image", "m.file", "m.location", "m.video", "m.notice", "org.example"])

SCHEMAS = schemas(settings())


def texts(content: dict[str, Any]) -> list[str]:
    found = convert(content, 255)
    return [one["text"] for one in found.contents if one["type"] == "text"] if found else []


@given(st.dictionaries(KEYS, JSON), TYPES)
def test_any_event_is_nothing_or_what_the_contract_takes(content: dict[str, Any], type: str) -> None:
    found = convert({**content, "msgtype": type}, 255)
    for one in found.contents if found else ():
        errors = SCHEMAS[one["type"]].validate({**one, "author": "alice"})
        assert errors.keys() <= {"text"}, errors  # a text may show nothing: its sender is told so


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"msgtype": "m.text", "body": "hello"}, ["hello"]),
        ({"msgtype": "m.emote", "body": "waves"}, ["* waves"]),
        ({"msgtype": "m.video", "body": "drone.mp4", "url": "mxc://a/b"}, ["(a video: drone.mp4)"]),
        ({"msgtype": "m.file", "body": "plan.pdf", "url": "mxc://a/b"}, ["(a file: plan.pdf)"]),
        ({"msgtype": "m.location", "body": "moon", "geo_uri": "geo:1,2;crs=Moon-2011"}, ["moon"]),
        ({"msgtype": "m.text", "body": " "}, []),
    ],
)
def test_what_is_no_text_is_described(content: dict[str, Any], expected: list[str]) -> None:
    assert texts(content) == expected


@pytest.mark.parametrize(
    ("uri", "xy"),
    [
        ("geo:45.5,4.25", (4.25, 45.5)),
        ("GEO:-45.5,-4.25,12;u=10", (-4.25, -45.5)),
        ("geo:45.5,4.25;crs=wgs84;u=1", (4.25, 45.5)),
        ("geo:90,180", (180.0, 90.0)),
        ("geo:91,4", None),
        ("geo:1.2.3,4", None),
        ("geo:45,4;crs=EPSG2154", None),
        ("https://example.org", None),
    ],
)
def test_a_geo_address_in_wgs84_is_a_position(uri: str, xy: tuple[float, float] | None) -> None:
    found = convert({"msgtype": "m.location", "body": "", "geo_uri": uri}, 255)
    positions = [(one["x"], one["y"]) for one in found.contents if one["type"] == "position"] if found else []
    assert positions == ([xy] if xy else [])


def test_files_that_a_channel_has_a_type_for_are_fetched() -> None:
    def becomes(name: str) -> str | None:
        found = convert({"msgtype": "m.file", "body": name, "url": "mxc://a/b", "info": {"size": 7}}, 255)
        assert found is not None
        assert found.attachment is None or found.attachment == Attachment(found.attachment.type, "mxc://a/b", name, 7)
        return None if found.attachment is None else found.attachment.type

    assert [becomes(name) for name in ("a.geojson", "b.GEOJSON", "c.model3", "d.py", "e.exe", "")] == [
        *("geojson", "geojson", "model", "script", None, None)
    ]


@pytest.mark.parametrize(
    ("crs", "holds"),
    [
        (None, True),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", True),
        ("urn:ogc:def:crs:EPSG::4326", True),
        ("urn:ogc:def:crs:EPSG::2154", False),
    ],
)
def test_a_layer_is_taken_in_the_crs_that_geojson_has(crs: str | None, holds: bool) -> None:
    document = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    assert is_in_wgs84(document) == holds
