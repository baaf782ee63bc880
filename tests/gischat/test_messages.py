"""What a client may send: every type with its keys and limits, and the words for everything else."""

import json
import random
import re
import sys
import uuid
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import pytest

from gischat import messages
from gischat.errors import Uncompliant
from gischat.messages import HEAVY_TYPES, LAST_SECOND, Lane, Message, Messages, excerpt, nickname_of
from tests.support import contract
from tests.support.contract import KEYS, REPLYABLE, required, sample
from tests.support.settings import settings

CLIENT_TYPES = [type_ for type_ in KEYS if type_ not in ("nb_users", "uncompliant")]

ID = "0B3C5f0e-0000-1000-8000-00805f9b34fb"  # in mixed case: it is kept as it was written
OTHER_ID = "00000000-0000-0000-0000-000000000000"

HEAD = ["type", "id", "timestamp"]
SIGNED = ["author", "avatar"]
PLACE = ["crs_wkt", "crs_authid"]

ORDER = {
    "text": [*SIGNED, "text"],
    "image": [*SIGNED, "image_data"],
    "geojson": [*SIGNED, "layer_name", *PLACE, "geojson", "style"],
    "crs": [*SIGNED, *PLACE],
    "bbox": [*SIGNED, *PLACE, "xmin", "xmax", "ymin", "ymax"],
    "position": [*SIGNED, *PLACE, "x", "y"],
    "model": [*SIGNED, "model_name", "model_group", "raw_xml"],
    "script": [*SIGNED, "name", "raw_pycode"],
    "newcomer": ["newcomer"],
    "exiter": ["exiter"],
    "like": ["liker_author", "liked_author", "message"],
}

SMALL = settings(
    min_author_length=3,
    max_author_length=8,
    max_message_length=20,
    max_image_raw_length=60,
    max_model_raw_length=40,
    max_script_raw_length=50,
)
READER = Messages(settings())
SMALL_READER = Messages(SMALL)


def read(message: Any, reader: Messages = READER) -> Message:
    return reader.read(message if isinstance(message, str | bytes) else json.dumps(message))


def content(message: Any, reader: Messages = READER) -> dict[str, Any]:
    """The message as its receivers get it, if no worker alters it."""
    parsed: dict[str, Any] = strictly_parsed(read(message, reader).body)
    return parsed


def refusal(message: Any, reader: Messages = READER) -> Uncompliant:
    with pytest.raises(Uncompliant) as raised:
        read(message, reader)
    return raised.value


def outcome(frame: str | bytes) -> Message | Uncompliant:
    """What comes of a frame; anything else that is raised fails the test and shows the frame."""
    try:
        return READER.read(frame)
    except Uncompliant as fault:
        return fault
    except Exception as error:
        raise AssertionError(f"{error!r} for {frame!r:.500}") from error


def strictly_parsed(body: bytes) -> Any:
    """JSON as strict clients read it: UTF-8 without lone surrogates, no NaN, no infinity."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    parsed = json.loads(body.decode(), parse_constant=refuse)
    json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
    return parsed


def raw(type_: str, **values: str) -> str:
    """A message as text, some of its values written as they are given: what json.dumps would not write."""
    members = {key: json.dumps(value) for key, value in sample(type_).items()} | values
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in members.items()) + "}"


# Complete messages: exactly the keys of the table, in its order


def test_the_table_has_a_row_for_every_type_that_a_client_may_send() -> None:
    assert set(READER.schemas) == set(CLIENT_TYPES) == set(ORDER)


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_a_message_is_completed_to_exactly_its_keys_in_order(type_: str) -> None:
    completed = content(sample(type_))
    assert list(completed) == HEAD + ORDER[type_]
    contract.check(completed)
    assert completed == {**dict.fromkeys(ORDER[type_]), **sample(type_), **{k: completed[k] for k in HEAD}}


@pytest.mark.parametrize("type_", REPLYABLE)
def test_a_reply_keeps_what_it_replies_to_as_its_last_key(type_: str) -> None:
    completed = content(sample(type_, in_reply_to_id=ID))
    assert list(completed) == HEAD + ORDER[type_] + ["in_reply_to_id"]
    assert completed["in_reply_to_id"] == ID


@pytest.mark.parametrize("type_", sorted(set(CLIENT_TYPES) - set(REPLYABLE)))
def test_what_cannot_be_a_reply_loses_the_key(type_: str) -> None:
    assert list(content(sample(type_, in_reply_to_id="no UUID even"))) == HEAD + ORDER[type_]


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_unknown_keys_are_dropped_unread(type_: str) -> None:
    text = raw(type_, nb_users="1e999", reason='"be quiet"', **{"": "[" * 50 + "]" * 50})
    assert list(content(text)) == HEAD + ORDER[type_]


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_the_order_in_which_keys_come_does_not_matter(type_: str) -> None:
    given = sample(type_, id=ID, timestamp=1_700_000_000)
    turned = dict(reversed(given.items()))
    assert read(turned).body == read(given).body


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_a_message_names_its_type_and_id_beside_its_body(type_: str) -> None:
    message = read(sample(type_))
    completed = strictly_parsed(message.body)
    assert (message.type, message.id) == (type_, completed["id"])
    assert message.lane is (Lane.HEAVY if type_ in HEAVY_TYPES else Lane.LIGHT)


def test_the_slow_types_have_a_lane_of_their_own() -> None:
    assert set(HEAVY_TYPES) == {"image", "geojson"}


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_bytes_are_read_as_their_text_is(type_: str) -> None:
    given = sample(type_, id=ID, timestamp=1)
    text = json.dumps(given, ensure_ascii=False)
    assert read(text.encode()) == read(text)


# Ids and timestamps: the client's own, or ours


def test_without_an_id_and_a_timestamp_a_message_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.999)
    first, second = content(sample("text")), content(sample("text"))
    assert first["timestamp"] == 1_700_000_000
    assert first["id"] != second["id"]
    for completed in (first, second):
        assert str(uuid.UUID(completed["id"])) == completed["id"]


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_a_clients_own_id_and_timestamp_are_kept(type_: str) -> None:
    completed = content(sample(type_, id=ID, timestamp=0))
    assert (completed["id"], completed["timestamp"]) == (ID, 0)


NO_UUIDS = [
    "", "x", 5, True, [], {}, ID + "\n", " " + ID, ID[:-1], ID + "0", ID.replace("-", ""), f"{{{ID}}}",
    f"urn:uuid:{ID}", "٠" * 8 + ID[8:], ID.replace("0", "g"),
]  # fmt: skip


@pytest.mark.parametrize("id_", NO_UUIDS)
@pytest.mark.parametrize("key", ["id", "in_reply_to_id"])
def test_what_is_no_uuid_is_refused(key: str, id_: Any) -> None:
    fault = refusal(sample("text", **{key: id_}))
    assert fault.fields == {key: "Must be a UUID."}


@pytest.mark.parametrize("timestamp", [0, 1, 2**31, 2**32, LAST_SECOND])
def test_a_timestamp_is_whole_seconds_up_to_the_year_9999(timestamp: int) -> None:
    assert content(sample("text", timestamp=timestamp))["timestamp"] == timestamp


NO_TIMESTAMPS = ["-1", str(LAST_SECOND + 1), "1.0", "1e3", "true", "false", '"1"', "[]", "1" * 400]


@pytest.mark.parametrize("timestamp", NO_TIMESTAMPS)
def test_what_is_no_timestamp_is_refused(timestamp: str) -> None:
    fault = refusal(raw("text", timestamp=timestamp))
    assert fault.fields == {"timestamp": "Must be whole seconds since the epoch."}


# Null and absent

NULLABLE = {"avatar", "style", "model_group"}  # null when empty
NULL_IS_ABSENT = {"id", "timestamp", "in_reply_to_id"}


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_an_optional_field_may_be_null_or_absent_and_is_null_then(type_: str) -> None:
    optional = NULLABLE & set(ORDER[type_])
    given = sample(type_, id=ID, timestamp=1)
    assert read({**given, **dict.fromkeys(optional)}).body == read(given).body
    assert all(content(given)[key] is None for key in optional)


@pytest.mark.parametrize("type_", REPLYABLE)
def test_a_null_id_timestamp_or_reply_means_none_was_given(type_: str) -> None:
    completed = content(sample(type_, **dict.fromkeys(NULL_IS_ABSENT)))
    assert list(completed) == HEAD + ORDER[type_]
    contract.check(completed)


@pytest.mark.parametrize(("type_", "key"), [(type_, key) for type_ in CLIENT_TYPES for key in required(type_)])
def test_a_required_field_is_neither_absent_nor_null(type_: str, key: str) -> None:
    absent = sample(type_)
    del absent[key]
    assert refusal(absent).fields == {key: "Missing."}
    if key != "geojson":  # a null there is for the worker to refuse, who reads the layer
        assert refusal(sample(type_, **{key: None})).fields == {key: "Must not be null."}


def test_every_broken_field_is_named_in_one_answer() -> None:
    fault = refusal({"type": "position", "author": "é", "avatar": 1, "crs_wkt": None, "x": "1", "y": 2})
    assert fault.fields.keys() == {"author", "avatar", "crs_wkt", "crs_authid", "x"}
    for key, reason in fault.fields.items():
        assert f"{key}: {reason}" in fault.reason


# Limits, at them and above

LONGEST = [
    *((type_, "avatar", 255) for type_ in CLIENT_TYPES if "avatar" in ORDER[type_]),
    *((type_, "crs_wkt", 10_000) for type_ in CLIENT_TYPES if "crs_wkt" in ORDER[type_]),
    *((type_, "crs_authid", 50) for type_ in CLIENT_TYPES if "crs_authid" in ORDER[type_]),
    ("text", "text", SMALL.max_message_length),
    ("like", "message", SMALL.max_message_length),
    ("image", "image_data", SMALL.max_image_raw_length),
    ("geojson", "layer_name", 255),
    ("model", "model_name", 128),
    ("model", "model_group", 128),
    ("model", "raw_xml", SMALL.max_model_raw_length),
    ("script", "name", 128),
    ("script", "raw_pycode", SMALL.max_script_raw_length),
]

FITTING = {
    "text": {"text": "hi"},
    "like": {"message": "hi"},
    "image": {"image_data": "aGk="},
    "model": {"raw_xml": "<a/>"},
    "script": {"raw_pycode": "pass"},
}


@pytest.mark.parametrize(("type_", "key", "limit"), LONGEST)
@pytest.mark.parametrize("letter", ["x", "é", "🗺"])
def test_a_text_may_be_as_long_as_its_limit_in_characters_and_no_longer(
    type_: str, key: str, limit: int, letter: str
) -> None:
    fitting = sample(type_, **FITTING.get(type_, {}))
    at_limit = letter * limit
    assert content(fitting | {key: at_limit}, SMALL_READER)[key] == at_limit
    fault = refusal(fitting | {key: at_limit + letter}, SMALL_READER)
    assert fault.fields == {key: f"At most {limit} characters are allowed."}


@pytest.mark.parametrize(("type_", "key"), [("image", "image_data"), ("model", "raw_xml"), ("script", "raw_pycode")])
def test_what_may_be_megabytes_is_passed_on_as_it_was_written(type_: str, key: str) -> None:
    written = r'"a\/b \u00e9 é"'
    assert f'"{key}":{written}'.encode() in read(raw(type_, **{key: written})).body


def test_no_text_is_without_a_limit_but_a_layers_style() -> None:
    rows = ((type_, key) for type_ in CLIENT_TYPES for key in ORDER[type_])
    texts = {(type_, key) for type_, key in rows if isinstance(sample(type_).get(key, ""), str)}
    limited = {(type_, key) for type_, key, _ in LONGEST}
    nicknames = {(type_, key) for type_, key in texts if key in contract.NICKNAMES}
    assert texts - limited - nicknames == {("geojson", "style")}
    style = "<qgis/>" * 100_000
    assert content(sample("geojson", style=style))["style"] == style


@pytest.mark.parametrize(("type_", "key", "limit"), LONGEST)
def test_an_empty_text_is_a_text(type_: str, key: str, limit: int) -> None:
    assert content(sample(type_, **FITTING.get(type_, {})) | {key: ""}, SMALL_READER)[key] == ""


@pytest.mark.parametrize("value", ["1", "true", "[]", "{}", '["x"]', "-0.5"])
@pytest.mark.parametrize(("type_", "key", "limit"), LONGEST)
def test_a_text_is_a_text_and_nothing_like_it(type_: str, key: str, limit: int, value: str) -> None:
    assert refusal(raw(type_, **{key: value})).fields == {key: "Must be a text."}


NICKNAMES = [(type_, key) for type_ in CLIENT_TYPES for key in ORDER[type_] if key in contract.NICKNAMES]
NO_NICKNAMES = [
    "jan e", "jane\n", "\njane", " jane", "jan.e", "ja\0ne", "jané", "j\u0430ne", "jane\u0663", "jane\u200b",
]  # fmt: skip


@pytest.mark.parametrize(("type_", "key"), NICKNAMES)
def test_a_nickname_is_of_the_allowed_letters_and_length(type_: str, key: str) -> None:
    fitting = sample(type_, **FITTING.get(type_, {}))
    for nickname in ("abc", "abcdefgh", "A-z_0-9", "---"):
        assert content(fitting | {key: nickname}, SMALL_READER)[key] == nickname
    for nickname in ("", "ab", "abcdefghi"):
        assert refusal(fitting | {key: nickname}, SMALL_READER).fields == {key: "3 to 8 characters are needed."}
    for nickname in NO_NICKNAMES:
        reason = "Only letters A-Z, digits, '_' and '-' are allowed."
        assert refusal(fitting | {key: nickname}, SMALL_READER).fields == {key: reason}
    for no_text in (5, True, ["jane"], {"jane": 1}):
        assert refusal(fitting | {key: no_text}, SMALL_READER).fields == {key: "Must be a text."}


NUMBERS = [(type_, key) for type_ in CLIENT_TYPES for key in ORDER[type_] if key in contract.NUMBERS]

LARGEST = int(sys.float_info.max)


@pytest.mark.parametrize(("type_", "key"), NUMBERS)
def test_a_number_is_kept_as_it_was_given(type_: str, key: str) -> None:
    for number in (0, -1, 0.1, -652000.25, 5e-324, 1.7976931348623157e308, 2**53, 2**63, -(2**63), 2**64 - 1, LARGEST):
        kept = content(sample(type_, **{key: number}))[key]
        assert (kept, type(kept)) == (number, type(number))


@pytest.mark.parametrize(("type_", "key"), NUMBERS)
def test_a_number_is_finite_and_no_truth_value_and_no_text(type_: str, key: str) -> None:
    for value in ("true", "false", '"1"', "[1]", "{}", str(2**1024), str(-(2**1024))):
        assert refusal(raw(type_, **{key: value})).fields == {key: "Must be a finite number."}
    for value in ("1e309", "-1e309", "9" * 5000, "-" + "9" * 5000):
        assert refusal(raw(type_, **{key: value})).fields.keys() == {key}


# JSON, read strictly


@pytest.mark.parametrize(
    "frame",
    [
        "", " ", "\n", "hello", "{", "}", "{]", '{"type"}', '{"type":}', '{"type": "text",}', "{'type': 'text'}",
        '{"type": "text"} {}', '{"type": "text"', "\ufeff{}", "nul", "NaN", "Infinity", "+1", "01", "1.", ".5",
        '"\\x41"', '"tab\there"', "undefined", "// {}", "{} // ", "\0",
    ],
)  # fmt: skip
def test_what_is_not_json_is_said_to_be_none(frame: str) -> None:
    for given in (frame, frame.encode()):
        assert refusal(given).reason == "The message is not valid JSON."


@pytest.mark.parametrize("frame", ["null", "true", "0", "-1.5", '"text"', "[]", '[{"type": "text"}]'])
def test_json_that_is_no_object_is_said_to_be_none(frame: str) -> None:
    assert refusal(frame).reason == "The message must be a JSON object."


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(("type_", "key"), [("position", "x"), ("geojson", "geojson"), ("text", "unknown")])
def test_what_only_some_call_json_is_refused_anywhere(type_: str, key: str, constant: str) -> None:
    assert refusal(raw(type_, **{key: constant})).reason == "The message is not valid JSON."


@pytest.mark.parametrize("text", ["\ud800", "half \ud83d a map"])
def test_a_lone_surrogate_is_refused_however_it_is_written(text: str) -> None:
    for key in ("text", "unknown", "author"):
        refusal(raw("text", **{key: json.dumps(text)}))
        refusal(raw("text", **{key: f'"{text}"'}))
    refusal(raw("geojson", geojson=json.dumps({"type": text})))


def test_a_pair_of_surrogates_is_a_letter() -> None:
    assert content(raw("text", text='"\\ud83d\\uddfa"'))["text"] == "🗺"


UNREADABLE = b"\xff\xfe\x80"


@pytest.mark.parametrize("key", ["type", "author", "text", "avatar", "unknown", "id"])
def test_bytes_that_are_no_utf8_are_refused_wherever_they_stand(key: str) -> None:
    """A request's body comes as bytes, which nobody has decoded before."""
    frame = raw("text", **{key: '"?"'}).encode().replace(b'"?"', b'"' + UNREADABLE + b'"')
    if key == "unknown" and isinstance(outcome(frame), Message):
        return  # harmless: it was dropped unread
    assert refusal(frame).reason
    assert refusal(UNREADABLE).reason
    assert refusal(b'{"' + UNREADABLE + b'": 1}').reason


@pytest.mark.parametrize("depth", [1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_bottomless_json_is_refused_in_words(depth: int, opening: str) -> None:
    nested = opening * depth + "1" + {"[": "]"}.get(opening, "}") * depth
    for key in ("text", "unknown"):
        assert refusal(raw("text", **{key: nested})).reason == "The message is nested too deeply."
    assert refusal(nested).reason in ("The message must be a JSON object.", "The message is nested too deeply.")
    assert refusal(raw("text", unknown=opening * depth)).reason


def test_a_key_that_comes_twice_counts_as_it_came_last() -> None:
    assert content('{"type": "like", "author": "jane", "text": "a", "text": "b", "type": "text"}')["text"] == "b"


# The type


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        ('"nb_users"', "Messages of type 'nb_users' come from the server only."),
        ('"uncompliant"', "Messages of type 'uncompliant' come from the server only."),
        ('"poll"', "Unknown message type 'poll'."),
        ('"Text"', "Unknown message type 'Text'."),
        ('""', "Unknown message type ''."),
        ('"text\\n"', "Unknown message type 'text\ufffd'."),
        ('"leave"', "Unknown message type 'leave'."),
        ('"count"', "Unknown message type 'count'."),
        ("null", "The type must be a text."),
        ("5", "The type must be a text."),
        ('["text"]', "The type must be a text."),
        ("{}", "The type must be a text."),
    ],
)
def test_what_is_no_type_of_a_client_is_refused(type_: str, reason: str) -> None:
    fault = refusal(raw("text", type=type_))
    assert (fault.reason, fault.fields) == (reason, {"type": reason})


def test_a_message_without_a_type_is_refused() -> None:
    fault = refusal({"author": "jane", "text": "hi"})
    assert (fault.reason, fault.fields) == ("The message has no type.", {"type": "Missing."})


def test_where_one_type_is_expected_it_need_not_be_named() -> None:
    body = json.dumps({"author": "jane", "text": "hi", "id": ID, "timestamp": 1})
    named = json.dumps({"type": "text", **json.loads(body)})
    assert READER.read(body, type="text") == READER.read(named, type="text")


def test_where_one_type_is_expected_no_other_is_taken() -> None:
    with pytest.raises(Uncompliant, match=re.escape("The type must be 'text'.")):
        READER.read(json.dumps(sample("like")), type="text")


# A document inside a message


@pytest.mark.parametrize(
    "document",
    [
        "null", "0", '"x"', "[]", "{}", '{ "type" : "FeatureCollection",\n"features" : [ ] }', '{"a": 1, "a": 2}',
        "[1.50, 1e2, -0, 1E+2]", '{"b": "\\u00e9\\/"}', "[" * 200 + "]" * 200, "1e999", "1" * 5000,
    ],
)  # fmt: skip
def test_a_document_is_passed_on_as_it_was_written(document: str) -> None:
    body = read(raw("geojson", geojson=document)).body
    assert bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["geojson"]) == document.encode()


NO_DOCUMENTS = ["", "{", "[1,]", "NaN", '{"a": nan}', "'x'", '{"a": 01}', '"\\ud800"', "\\", '{"a" 1}']


@pytest.mark.parametrize("document", NO_DOCUMENTS)
def test_a_document_that_is_not_json_is_refused(document: str) -> None:
    assert refusal(raw("geojson", geojson=document)).reason == "The message is not valid JSON."


# Words for people


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "''"),
        ("poll", "'poll'"),
        ("Été à la mer", "'Été à la mer'"),
        ("x" * 40, "'" + "x" * 40 + "'"),
        ("x" * 41, "'" + "x" * 39 + "…'"),
        ("two\nlines\r", "'two�lines�'"),
        ("\x1b[31mred", "'�[31mred'"),
        ("\u202egnp.exe", "'�gnp.exe'"),
        ("zero\u200bwidth", "'zero�width'"),
        ("nul\0", "'nul�'"),
        ("half \ud83d", "'half �'"),
        ("\u2028", "'�'"),
        ("🗺", "'🗺'"),
    ],
)
def test_a_clients_own_word_is_shown_short_and_printable(text: str, shown: str) -> None:
    assert excerpt(text) == shown


def test_any_word_can_be_shown() -> None:
    everything = "".join(map(chr, range(0x300))) + "\u2066\u2069\ufeff\ufffe\U000e0001\U0010ffff\ud800"
    for character in everything:
        shown = excerpt(character * 100)
        assert shown.isprintable()
        assert len(shown) <= 42
        shown.encode()


def test_what_the_server_says_is_a_message_too() -> None:
    told = strictly_parsed(messages.uncompliant("«Non»\n"))
    contract.check(told)
    assert (told["type"], told["reason"]) == ("uncompliant", "«Non»\n")
    assert list(told) == [*HEAD, "reason"]


@pytest.mark.parametrize("type_", ["newcomer", "exiter"])
def test_a_nickname_is_found_in_what_names_one(type_: str) -> None:
    assert nickname_of(read({"type": type_, type_: "jane"})) == "jane"


# Anything at all: what is read either keeps the contract or is refused in words

FRAGMENTS = [
    "null", "true", "false", "0", "-0", "1", "-1", "1.0", "1e5", "1e400", "-1e-400", "9" * 30, "9" * 400, "9" * 5000,
    "NaN", "-Infinity", "01", "+1", "1.", '""', '"x"', '"jane"', '"jane\\n"', '"\\ud800"', '"\\ud83d\\ude00"',
    '"\\u0000"', '"' + "x" * 300 + '"', '"' + "x" * 10_001 + '"', '"\\x"', '"', "'x'", "[]", "{}", "[[]]", '{"a":1}',
    '{"a":1,"a":2}', "[" * 1500 + "]" * 1500, '{"a":' * 1500 + "1" + "}" * 1500, "[" * 300 + "]" * 300, "", " ", ",",
    "]", "}", "\0", "\x1b", "\ud800", f'"{ID.lower()}"', f'"{OTHER_ID}"', '"text"', '"geojson"', '"nb_users"',
    '"\\u202etext"', "1700000000",
]  # fmt: skip
OPTIONAL = ["avatar", "style", "model_group", "in_reply_to_id", "zzz"]


def mutated(chance: random.Random) -> str | bytes:
    """A message that keeps the contract, spoilt in one to four ways."""
    type_ = chance.choice(CLIENT_TYPES)
    members = [(json.dumps(key), json.dumps(value)) for key, value in sample(type_, id=OTHER_ID, timestamp=1).items()]

    def fragment() -> str:
        return chance.choice(FRAGMENTS)

    spoil: list[Callable[[], None]] = [
        lambda: members.append((chance.choice(members)[0], fragment())),
        lambda: members.append((json.dumps(chance.choice(OPTIONAL)), fragment())),
        lambda: members.append((fragment(), fragment())),
        lambda: members.remove(chance.choice(members)),
        lambda: chance.shuffle(members),
    ]
    for _ in range(chance.randint(1, 4)):
        chance.choices(spoil, weights=[6, 3, 1, 1, 1])[0]()
    text = "{" + ",".join(f"{key}:{value}" for key, value in members) + "}"
    if chance.random() < 0.1:
        text = text[: chance.randrange(len(text))]
    if chance.random() < 0.5:
        return text
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if data and chance.random() < 0.3:
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_rubbish_is_either_harmless_or_refused_in_words(seed: int) -> None:
    chance = random.Random(seed)
    outcomes = [outcome(mutated(chance)) for _ in range(500)]
    for message in outcomes:
        if isinstance(message, Message):
            assert_kept(message)
        else:
            assert message.reason.isprintable()
            assert 0 < len(message.reason) < 1000
    assert sum(isinstance(message, Message) for message in outcomes) > 20
    assert len({message.reason for message in outcomes if isinstance(message, Uncompliant)}) > 30


def assert_kept(message: Message) -> None:
    parts = msgspec.json.decode(message.body.decode(), type=dict[str, msgspec.Raw])
    if message.type == "geojson":
        parts["geojson"] = msgspec.Raw(b"{}")  # it may be anything: a worker reads it
    completed = strictly_parsed(msgspec.json.encode(parts))
    contract.check(completed | {"id": completed["id"].lower()})
    assert list(completed)[: len(HEAD)] == HEAD
    assert (completed["type"], completed["id"]) == (message.type, message.id)
