"""Messages: what keeps the contract is passed on as it was said, however written; all else is refused in words."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gischat.errors import Uncompliant
from gischat.front.descriptions.openapi import document
from gischat.protocol.fields import LAST_SECOND
from gischat.protocol.file_names import file_name, icon_name
from gischat.protocol.messages import Message, content_digest
from gischat.protocol.parsing import NULL_IS_ABSENT, MessageParser
from gischat.protocol.wording import is_blank
from tests.proofs.refusals import in_words
from tests.support import contract
from tests.support.contract import KEYS, NICKNAMES, NUMBERS, OPTIONAL, REPLYABLE, sample
from tests.support.description import Description
from tests.support.settings import settings

SETTINGS = settings(max_message_length=40, max_image_raw_length=80, max_model_raw_length=40, max_script_raw_length=40)
READER = MessageParser(SETTINGS)
KNOWN = {name for schema in READER.schemas.values() for name in schema.fields}
DESCRIPTION = Description(document(SETTINGS))

TYPES = sorted(KEYS.keys() - {"nb_users", "uncompliant"})
HEAD = ["type", "id", "timestamp"]
ID = "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"
FILE_NAMES = {"layer_name", "model_name", "name"}
PASSED_ON_AS_WRITTEN = {"image_data", "geojson", "style", "raw_xml", "raw_pycode"}

strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)  # half pairs are no JSON
nicknames = st.from_regex(r"[A-Za-z0-9_-]{3,32}", fullmatch=True)
ids = st.uuids().map(str)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | strings | nicknames | ids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=5,
)


def field(name: str) -> st.SearchStrategy[Any]:
    """What may be in a field of a type's own."""
    if name in NICKNAMES:
        return nicknames
    if name in NUMBERS:
        return st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64)
    if name == "until":
        return st.integers(0, LAST_SECOND)
    if name == "geojson":
        return st.just(sample("geojson")["geojson"])
    if name == "text":
        return strings.filter(lambda text: not is_blank(text))
    return strings | st.none() if name in OPTIONAL else strings


@st.composite
def valid(draw: st.DrawFn) -> dict[str, Any]:
    """A message that keeps the contract."""
    type_ = draw(st.sampled_from(TYPES))
    may_lack = {"id": ids, "timestamp": st.integers(0, LAST_SECOND)}
    may_lack |= {"in_reply_to_id": ids} if type_ in REPLYABLE else {}
    may_lack |= {name: field(name) for name in sorted(OPTIONAL & KEYS[type_])}
    rest = {name: field(name) for name in sorted(KEYS[type_] - OPTIONAL)}
    content = draw(st.fixed_dictionaries(rest, optional=may_lack))
    if type_ == "bbox":
        for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
            content[low], content[high] = sorted([content[low], content[high]])
        content["xmax"] = content["xmax"] or 1  # all zeros are the extent of nothing
    if type_ == "live_position":
        bounds = {"x": (-180, 180), "y": (-90, 90), "accuracy": (0, 1e7)}
        content |= {name: draw(st.floats(*limits) | st.just(limits[0])) for name, limits in bounds.items()}
    return {"type": type_, **content}


def passed_on(name: str, value: Any) -> Any:
    """A field as its receivers get it."""
    if name == "avatar":
        return value and icon_name(value)
    return file_name(value) if name in FILE_NAMES or (name == "model_group" and value) else value


def outcome(frame: str | bytes) -> Message | Uncompliant:
    """What comes of a frame; anything else that is raised fails the test."""
    try:
        return READER.parse(frame)
    except Uncompliant as refusal:
        return refusal


def parsed(body: bytes) -> dict[str, Any]:
    """Strictly."""
    found: dict[str, Any] = json.loads(body, parse_constant=_no_json)
    return found


def _no_json(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def assert_sound(result: Message | Uncompliant) -> None:
    """It is a message as every client may get it, or a refusal that can be shown."""
    if isinstance(result, Uncompliant):
        in_words(result)
        return
    parts = msgspec.json.decode(result.body.decode(), type=dict[str, msgspec.Raw])
    if result.type == "geojson":
        parts["geojson"] = msgspec.Raw(b"{}")  # it may be anything: a worker reads it
    found = parsed(msgspec.json.encode(parts))
    assert list(found)[:3] == HEAD
    assert (found["type"], found["id"]) == (result.type, result.id)
    contract.check(found | {"id": found["id"].lower()})


@given(valid())
def test_what_keeps_the_contract_is_passed_on_as_it_was_said(message: dict[str, Any]) -> None:
    assert DESCRIPTION.faults("ClientMessage", message) == []
    said = parsed(READER.parse(json.dumps(message)).body)
    completed = {name: said[name] for name in HEAD} | dict.fromkeys(OPTIONAL & KEYS[message["type"]])
    assert said == completed | {name: passed_on(name, value) for name, value in message.items()}
    assert DESCRIPTION.faults("ServerMessage", said) == []
    # … and said again it is the same
    assert parsed(READER.parse(json.dumps(said)).body) == said


@given(valid(), st.data())
def test_how_it_is_written_makes_no_difference(message: dict[str, Any], data: st.DataObject) -> None:
    """In what order, with which blanks and escapes, beside which keys that nobody knows, and at what time."""
    message |= {"id": ID}
    plain = READER.parse(json.dumps(message | {"timestamp": 1}))
    unknown = data.draw(st.dictionaries(strings.filter(lambda name: name not in KNOWN), strings | ids, max_size=2))
    absent = dict.fromkeys(data.draw(st.sets(st.sampled_from(sorted(NULL_IS_ABSENT)))) - message.keys())
    members = data.draw(st.permutations([*(unknown | absent | message | {"timestamp": 2}).items()]))
    blanks, escapes = data.draw(st.sampled_from([None, 0, 2])), data.draw(st.booleans())
    written = json.dumps(dict(members), ensure_ascii=escapes, indent=blanks)
    result = outcome(data.draw(st.sampled_from([written, written.encode(), "\ufeff" + written])))
    assert isinstance(result, Message), result
    assert parsed(result.body) == parsed(plain.body) | {"timestamp": 2}
    if message.keys().isdisjoint(PASSED_ON_AS_WRITTEN):
        assert content_digest(result.body) == content_digest(plain.body)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A message with something else in some of its fields."""
    message = sample(draw(st.sampled_from(TYPES)))
    names = st.sampled_from([*sorted(message), *sorted(OPTIONAL), "id", "timestamp", "in_reply_to_id"]) | strings
    return message | draw(st.dictionaries(names, values, min_size=1, max_size=3))


@given(spoilt())
def test_any_object_is_a_message_as_described_or_refused_in_words(message: dict[str, Any]) -> None:
    result = outcome(json.dumps(message))
    assert_sound(result)
    if isinstance(result, Message) and result.type != "geojson":
        assert DESCRIPTION.faults("ClientMessage", message) == []


@st.composite
def garbled(draw: st.DrawFn) -> str | bytes:
    """A message in which something is missing, doubled, or other."""
    text = json.dumps(draw(valid()))
    pieces = st.text(max_size=5) | st.sampled_from(
        ["NaN", "-Infinity", "1e400", "\\ud800", '"', "[" * 1500, "9" * 5000]
    )
    changes = st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 5), pieces), min_size=1, max_size=4)
    for place, removed, added in draw(changes):
        place %= len(text) + 1
        text = text[:place] + added + text[place + removed :]
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for place, value in draw(st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 255)), max_size=2)):
        data[place % len(data)] = value
    return draw(st.sampled_from([text, bytes(data)]))


@given(st.text() | st.binary() | garbled() | values.map(json.dumps))
def test_any_frame_is_a_message_or_refused_in_words(frame: str | bytes) -> None:
    assert_sound(outcome(frame))
