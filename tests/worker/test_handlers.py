"""The handlers of each message type: pure functions, two of which run in the sandbox."""

import pickle
from typing import Any

import msgspec
import pytest

from gischat.broker.entries import ANNOUNCEMENT, COUNT, HEARTBEAT, LEAVE, RESTORE, Job, Source
from gischat.errors import Uncompliant
from gischat.protocol.parsing import MessageParser
from gischat.protocol.schemas import schemas
from gischat.protocol.types import LIVE_TYPES, TYPES
from gischat.settings import Settings
from tests.support.contract import sample
from tests.support.layers import feature, layer, point, points
from tests.support.pictures import TINY_PNG, as_base64, encoded, opened, quarters
from tests.support.settings import settings
from worker.effects import Acknowledge, Count, Effect, Exit, Leave, Like, Publish, Register, Restore
from worker.handlers import HEAVY, LIGHT

SETTINGS = settings(max_image_size=40, max_geojson_features=3)
READER = MessageParser(SETTINGS)


def accepted(type_: str, **changes: Any) -> bytes:
    """A message as a front accepts it."""
    return READER.parse(msgspec.json.encode(sample(type_, **changes)).decode()).body


def heavy(type_: str, body: bytes, limits: Settings = SETTINGS) -> bytes:
    """Handle a job as in the sandbox: function, arguments and result are pickled."""
    function, *arguments = pickle.loads(pickle.dumps((HEAVY[type_], body, limits)))
    result: Publish = pickle.loads(pickle.dumps(function(*arguments)))
    return result.body


def refusal(type_: str, body: bytes) -> str:
    with pytest.raises(Uncompliant) as raised:
        heavy(type_, body)
    return raised.value.reason


def test_every_type_that_a_client_may_send_has_one_function() -> None:
    own = {ANNOUNCEMENT, COUNT, LEAVE, RESTORE, HEARTBEAT}
    assert set(HEAVY) == {row.name for row in TYPES.values() if row.lane.is_sandboxed}
    assert set(LIGHT) - own == set(schemas(SETTINGS)) - set(HEAVY) - LIVE_TYPES
    assert own <= set(LIGHT)


@pytest.mark.parametrize(
    ("type_", "body", "effect"),
    [
        *((type_, accepted(type_), None) for type_ in ("text", "crs", "bbox", "position", "model", "script")),
        ("script", accepted("script", raw_pycode="wizz"), None),  # a cheat code, but no text
        ("newcomer", accepted("newcomer", newcomer="jane"), Register("jane")),
        ("exiter", accepted("exiter", exiter="jane"), Exit("jane")),
        ("like", accepted("like", liked_author="john", liker_author="jane"), Like("john")),
        (COUNT, b'{"connections":7}', Count(7)),
        (COUNT, b'{"connections":0}', Count(0)),
        (RESTORE, b'{"restore":"jane"}', Restore("jane")),
        (LEAVE, b"{}", Leave()),
        (HEARTBEAT, b"{}", Acknowledge()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bodies have ids and times of their own
)
def test_each_light_job_has_its_effect(type_: str, body: bytes, effect: Effect | None) -> None:
    """None: it is published unchanged, and stored."""
    job = Job(Source("front-1", 1, 1), type_, "", body)
    assert LIGHT[type_](job) == (effect or Publish(body, stored=True))


# The heavy lane


def assert_only_differs_in(key: str, body: bytes, result: bytes) -> None:
    before, after = msgspec.json.decode(body), msgspec.json.decode(result)
    assert list(after) == list(before)
    assert {name for name in before if after[name] != before[name]} <= {key}


GIVEN = {
    "id": "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11",
    "timestamp": 1,
    "in_reply_to_id": "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a12",
    "avatar": "mdi-account",
}


def test_an_image_is_scaled_and_the_rest_of_its_message_kept() -> None:
    body = accepted("image", image_data=as_base64(encoded(quarters(400, 200), "JPEG")), **GIVEN)
    result = heavy("image", body)
    assert_only_differs_in("image_data", body, result)
    assert opened(msgspec.json.decode(result)["image_data"]).size == (40, 20)
    # The settings limit its pixels: here 4 × 3
    tiny = accepted("image", image_data=TINY_PNG)
    assert heavy("image", tiny, settings(max_image_pixels=12))
    with pytest.raises(Uncompliant):
        heavy("image", tiny, settings(max_image_pixels=11))


def test_a_layer_is_checked_and_its_message_kept() -> None:
    document = layer([feature(point(652000.1, 6862000, 1e-7), id=2**53 + 1, other=[1.0, -5, None])], name="Été")
    body = accepted("geojson", geojson=document, style="<qgis version='3.40'/>", **GIVEN)
    result = heavy("geojson", body)
    assert_only_differs_in("nothing", body, result)
    numbers = msgspec.json.decode(result)["geojson"]["features"][0]["other"]
    assert [type(number) for number in numbers] == [float, int, type(None)]


@pytest.mark.parametrize(
    ("wkt", "authid", "name"),
    [
        ("", "EPSG:2154", "RGF93 v1 / Lambert-93"),
        (" ", "epsg:27700", "OSGB36 / British National Grid"),
        ("", "EPSG:999999", None),
        ('PROJCS["mine"]', "EPSG:2154", None),
    ],
)
def test_a_layer_with_a_crs_name_gets_its_definition(wkt: str, authid: str, name: str | None) -> None:
    body = accepted("geojson", crs_wkt=wkt, crs_authid=authid)
    published = msgspec.json.decode(HEAVY["geojson"](body, SETTINGS, is_placed=True).body)
    found = published["crs_wkt"]
    assert f'["{name}"' in found if name else found == wkt


def test_too_many_features_are_refused_as_the_protocol_says() -> None:
    body = accepted("geojson", geojson=points(4))
    assert refusal("geojson", body) == "Too many geojson features : 4 vs max 3 allowed"


def with_document(document: str) -> bytes:
    """A layer's message with any JSON document: the front checks only that it is JSON."""
    message = msgspec.json.encode(sample("geojson", geojson="?")).decode()
    return READER.parse(message.replace('"geojson":"?"', f'"geojson":{document}')).body


EMPTY = '{"type":"FeatureCollection","features":[]%s}'


def of_features(*features: str) -> str:
    return EMPTY.replace("[]", f"[{','.join(features)}]") % ""


A_POINT = '{"type":"Feature","geometry":{"type":"Point","coordinates":[6.5,7.5]},"properties":null}'

UNFIT = {
    "a number beyond a double": EMPTY % ',"n":1e999',
    "a number of thousands of digits": EMPTY % (',"n":' + "1" * 5000),
    "a number of 400 digits": EMPTY % (',"n":' + "1" * 400),
    "hundreds of lists in each other": EMPTY % (',"n":' + "[" * 900 + "]" * 900),
}


@pytest.mark.parametrize("name", UNFIT)
def test_json_that_is_no_layer_is_refused(name: str) -> None:
    reason = refusal("geojson", with_document(UNFIT[name]))
    assert reason.isprintable()
    assert "Error" not in reason


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400])
def test_an_infinite_coordinate_is_refused_with_its_position(number: str) -> None:
    wrong = of_features(A_POINT, A_POINT.replace("7.5", number))
    assert refusal("geojson", with_document(wrong)).startswith("Feature 2: point has no finite y. Remove")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (EMPTY % ',"height":[6.1,46.2,null]', EMPTY % ',"height":[6.1,46.2,null]'),
        (of_features(A_POINT.replace("7.5]", "7.5,null]"), A_POINT), of_features(A_POINT, A_POINT)),
        (EMPTY % ',"a":1,"a":2', EMPTY % ',"a":2'),
        (' { "type" : "FeatureCollection" ,\n "features" : [ ] } ', EMPTY % ""),
        (EMPTY % ',"a":"\\u00e9\\ud83d\\uddfa"', EMPTY % ',"a":"é🗺"'),
    ],
)
def test_an_ambiguous_layer_is_serialized_again(given: str, kept: str) -> None:
    result = msgspec.json.decode(heavy("geojson", with_document(given)), type=dict[str, msgspec.Raw])
    assert bytes(result["geojson"]).decode() == kept
