"""Messages become Matrix events."""

import pytest

from gischat.bridges.matrix.outgoing import geo_uri, liked_text, outgoing
from gischat.bridges.places import place_in_degrees
from tests.support.contract import sample


def test_a_text_bears_its_author_and_no_markup_of_its_own() -> None:
    content = outgoing(sample("text", author="jane", text="<b>1 & 2</b>\n@room"), None, "$event").content
    assert content["body"] == "jane: <b>1 & 2</b>\n@room"
    assert content["formatted_body"] == "<strong>jane</strong>: &lt;b&gt;1 &amp; 2&lt;/b&gt;<br>@room"
    assert content["m.mentions"] == {}  # nobody is called
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": "$event"}}
    assert liked_text(content) == "<b>1 & 2</b>\n@room"


@pytest.mark.parametrize(
    ("type", "changes", "words"),
    [
        ("crs", {"crs_authid": "EPSG:2154"}, "the coordinate reference system EPSG:2154"),
        ("crs", {"crs_authid": "", "crs_wkt": 'PROJCRS["Mine",BASE'}, "the coordinate reference system Mine"),
        ("crs", {"crs_authid": "", "crs_wkt": "?"}, "the coordinate reference system CRS unknown"),
        ("model", {"model_name": "flow"}, "the processing model flow"),
        ("script", {"name": "area.py"}, "the script area"),
        ("position", {"x": 1.5, "y": 2, "crs_authid": "EPSG:3857"}, "a position, 1.5 2 (EPSG:3857)"),
    ],
)
def test_what_matrix_has_no_word_for_is_described(type: str, changes: dict[str, object], words: str) -> None:
    assert outgoing(sample(type, author="jane", **changes), None, "").content["body"] == f"jane: {words}"


def test_a_layer_is_a_file_that_names_its_crs() -> None:
    made = outgoing(sample("geojson", author="jane", layer_name="wells", crs_authid="EPSG:2154"), None, "")
    assert made.file is not None
    assert made.file.name == "wells.geojson"
    assert b"urn:ogc:def:crs:EPSG::2154" in made.file.data
    assert made.content["body"] == "jane: the layer wells (1 feature, EPSG:2154)"
    assert (made.content["msgtype"], made.content["filename"]) == ("m.file", "wells.geojson")


def test_a_position_with_a_place_is_a_location() -> None:
    content = outgoing(sample("position", author="jane"), (3, 46.5, 3, 46.5), "").content
    assert (content["msgtype"], content["geo_uri"]) == ("m.location", "geo:46.500000,3.000000")


@pytest.mark.parametrize(
    ("box", "uri"),
    [
        ((4.0, 45.0, 4.0, 45.0), "geo:45.000000,4.000000"),
        ((0.0, 0.0, 2.0, 0.0), "geo:0.000000,1.000000;u=111320"),
        ((179.0, 0.0, -179.0, 0.0), "geo:0.000000,180.000000;u=111320"),  # across the antimeridian
        ((178.0, 0.0, -176.0, 0.0), "geo:0.000000,-179.000000;u=333960"),
    ],
)
def test_an_extent_is_its_middle_and_how_far_it_reaches(box: tuple[float, float, float, float], uri: str) -> None:
    assert geo_uri(box) == uri


@pytest.mark.parametrize(
    ("type", "changes", "place"),
    [
        ("position", {"crs_authid": "EPSG:4326", "x": 4, "y": 45}, (4, 45, 4, 45)),
        ("position", {"crs_authid": "EPSG:4326", "x": 4, "y": 95}, None),
        ("position", {"crs_authid": "EPSG:2154", "x": 4, "y": 45}, None),
        ("bbox", {"crs_authid": "OGC:CRS84", "xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}, (1, 2, 3, 4)),
        ("crs", {"crs_authid": "EPSG:4326"}, None),
    ],
)
def test_what_is_in_degrees_needs_no_worker_to_be_found(type: str, changes: dict[str, object], place: object) -> None:
    assert place_in_degrees(sample(type, **changes)) == place
