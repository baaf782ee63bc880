"""What a client may send: every type with its keys and limits, and the words for everything else."""

import json
import sys
import tracemalloc
import unicodedata
import uuid
from contextlib import suppress
from typing import Any, NoReturn

import msgspec
import pytest

from gischat.errors import Uncompliant
from gischat.protocol import messages
from gischat.protocol import wording as words_
from gischat.protocol.fields import LAST_SECOND
from gischat.protocol.messages import Lane, Message, nickname_of
from gischat.protocol.parsing import MessageParser
from gischat.protocol.wording import excerpt, quoting
from tests.support import contract
from tests.support.contract import KEYS, REPLYABLE, required, sample
from tests.support.settings import settings

CLIENT_TYPES = [type_ for type_ in KEYS if type_ not in ("nb_users", "uncompliant")]

ID = "0B3C5f0e-0000-1000-8000-00805f9b34fb"  # in mixed case: it is kept as it was written
NOTHING_TO_READ = "There is nothing to read in this text: write something."

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
    "live_position": ["author", "x", "y", "accuracy", "until"],
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
READER = MessageParser(settings())
SMALL_READER = MessageParser(SMALL)


def read(message: Any, reader: MessageParser = READER) -> Message:
    return reader.parse(message if isinstance(message, str | bytes) else json.dumps(message))


def content(message: Any, reader: MessageParser = READER) -> dict[str, Any]:
    """The message as its receivers get it, if no worker alters it."""
    parsed: dict[str, Any] = strictly_parsed(read(message, reader).body)
    return parsed


def refusal(message: Any, reader: MessageParser = READER) -> Uncompliant:
    try:
        read(message, reader)
    except Uncompliant as refused:
        return refused
    raise AssertionError(f"taken: {message!r:.300}")


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
    message = read(sample(type_))
    completed = content(sample(type_))
    assert list(completed) == HEAD + ORDER[type_]
    contract.check(completed)
    assert completed == {**dict.fromkeys(ORDER[type_]), **sample(type_), **{k: completed[k] for k in HEAD}}
    # It names its type and id beside its body
    assert (message.type, message.id) == (type_, strictly_parsed(message.body)["id"])
    assert message.lane is (Lane.HEAVY if type_ in ("image", "geojson") else Lane.LIGHT)
    # A reply has what it replies to as its last key
    if type_ in REPLYABLE:
        assert [*content(sample(type_, in_reply_to_id=ID)).items()][-1] == ("in_reply_to_id", ID)


# Ids and timestamps: the client's own, or ours


def test_without_an_id_and_a_timestamp_a_message_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.999)
    first, second = content(sample("text")), content(sample("text"))
    assert first["timestamp"] == 1_700_000_000
    assert first["id"] != second["id"]
    for completed in (first, second):
        assert str(uuid.UUID(completed["id"])) == completed["id"]


NO_UUIDS = [
    "", "x", 5, True, [], {}, ID + "\n", " " + ID, ID[:-1], ID + "0", "٠" * 8 + ID[8:], ID.replace("0", "g"),
    f"{{{ID}", f"{ID}}}", f"{{{{{ID}}}}}", f"({ID})", f"{{urn:uuid:{ID}}}", f"urn:uuid:{{{ID}}}", f"uuid:{ID}",
    f"urn:{ID}", ID.replace("-", "", 1), ID.replace("-", "_"), f"{ID[:4]}-{ID[4:]}", "-" + ID, [ID], "{}", "urn:uuid:",
]  # fmt: skip


@pytest.mark.parametrize("key", ["id", "in_reply_to_id"])
def test_what_is_no_uuid_is_refused(key: str) -> None:
    for id_ in NO_UUIDS:
        assert refusal(sample("text", **{key: id_})).fields == {key: "Must be a UUID."}, id_


OTHER_IDS = [
    f"{{{ID}}}", f"{{{ID.upper()}}}", f"urn:uuid:{ID}", f"URN:UUID:{ID}", ID.replace("-", ""),
    f"{{{ID.replace('-', '')}}}",
]  # fmt: skip


@pytest.mark.parametrize("key", ["id", "in_reply_to_id"])
def test_a_uuid_in_another_form_becomes_the_usual_one(key: str) -> None:
    """QUuid::toString writes braces, .NET and Python leave hyphens out, RFC 9562 has the URN."""
    for id_ in OTHER_IDS:
        assert content(sample("text", **{key: id_}))[key] == ID.lower()
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in id_)
        assert content(raw("text", **{key: f'"{escaped}"'}))[key] == ID.lower()


def test_a_timestamp_is_whole_seconds_up_to_the_year_9999_however_they_are_written() -> None:
    """JSON has no integers (RFC 8259 §6); receivers are strict about them."""
    for timestamp in (0, 1, 2**32, LAST_SECOND):
        assert content(sample("text", timestamp=timestamp))["timestamp"] == timestamp
    for written in ("1000.0", "1e3", "10000E-1"):
        assert json.dumps(content(raw("text", timestamp=written))["timestamp"]) == "1000"
    for wrong in ("-1", str(LAST_SECOND + 1), "1.5", "1e300", "true", "false", '"1"', "[]", "1" * 400):
        fault = refusal(raw("text", timestamp=wrong))
        assert fault.fields == {"timestamp": "Must be whole seconds since the epoch."}


# Null and absent

NULLABLE = {"avatar", "style", "model_group"}  # null when empty


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_only_an_optional_field_may_be_null_or_absent_and_is_null_then(type_: str) -> None:
    optional = NULLABLE & set(ORDER[type_])
    given = sample(type_, id=ID, timestamp=1)
    assert read({**given, **dict.fromkeys(optional)}).body == read(given).body
    assert all(content(given)[key] is None for key in optional)
    for key in required(type_):
        assert refusal({name: value for name, value in given.items() if name != key}).fields == {key: "Missing."}
        if key != "geojson":  # a null there is for the worker to refuse, who reads the layer
            assert refusal(given | {key: None}).fields == {key: "Must not be null."}


def test_every_broken_field_is_named_in_one_answer() -> None:
    fault = refusal({"type": "position", "author": "é", "avatar": 1, "crs_wkt": None, "x": "1", "y": 2})
    assert fault.fields.keys() == {"author", "avatar", "crs_wkt", "crs_authid", "x"}
    assert fault.reason == (
        "A nickname has only letters A-Z, digits, '_' and '-', no 'é'. The avatar must be a text."
        " The CRS definition (crs_wkt) must not be null. The CRS code (crs_authid) is missing."
        " The position's x must be a finite number."
    )


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

LARGE = {
    "image_data": "This photo has 48 bytes; at most 45 can be sent here.",  # four characters are three bytes
    "raw_xml": "This model has 41 bytes; at most 40 can be sent here.",
    "raw_pycode": "This script has 51 bytes; at most 50 can be sent here.",
}

# What names of files hold and names of icons, is read elsewhere; here their letters are harmless.
FITTING = {
    "text": {"text": "hi"},
    "like": {"message": "hi"},
    "image": {"image_data": "aGk="},
    "model": {"raw_xml": "<a/>"},
    "script": {"raw_pycode": "pass"},
}


@pytest.mark.parametrize("letter", ["x", "é", "🗺"])
def test_a_text_may_be_as_long_as_its_limit_in_characters_and_no_longer(letter: str) -> None:
    for type_, key, limit in LONGEST:
        fitting = sample(type_, **FITTING.get(type_, {}))
        at_limit = letter * limit
        assert content(fitting | {key: at_limit}, SMALL_READER)[key] == at_limit
        longer = at_limit + letter * (4 if key == "image_data" else 1)
        fault = refusal(fitting | {key: longer}, SMALL_READER)
        words = f"This {words_.NOUNS[key]} has {len(longer)} characters; at most {limit} can be sent here."
        assert fault.fields == {key: LARGE.get(key, words)}
        assert fault.reason.startswith(LARGE.get(key, words))


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


def test_a_text_may_be_empty_and_is_nothing_like_a_text() -> None:
    for type_, key, _ in LONGEST:
        empty = sample(type_, **FITTING.get(type_, {})) | {key: ""}
        if key == "text":
            assert refusal(empty, SMALL_READER).fields == {"text": NOTHING_TO_READ}
        else:
            is_file = key in ("layer_name", "model_name", "name")
            assert content(empty, SMALL_READER)[key] == ("unnamed" if is_file else "")
        for value in ("1", "true", "[]", "{}", '["x"]', "-0.5"):
            assert refusal(raw(type_, **{key: value})).fields == {key: "Must be a text."}


NICKNAMES = [(type_, key) for type_ in CLIENT_TYPES for key in ORDER[type_] if key in contract.NICKNAMES]
NO_NICKNAMES = {  # and what is wrong with each, as it is shown
    "jan e": " ", "jane\n": "�", "\njane": "�", " jane": " ", "jan.e": ".", "ja\0ne": "�", "jané": "é",
    "j\u0430ne": "\u0430", "jane\u0663": "\u0663", "jane\u200b": "�",
}  # fmt: skip


@pytest.mark.parametrize(("type_", "key"), NICKNAMES)
def test_a_nickname_is_of_the_allowed_letters_and_length(type_: str, key: str) -> None:
    fitting = sample(type_, **FITTING.get(type_, {}))
    for nickname in ("abc", "abcdefgh", "A-z_0-9", "---"):
        assert content(fitting | {key: nickname}, SMALL_READER)[key] == nickname
    for nickname in ("", "ab", "abcdefghi"):
        reason = f"A nickname has 3 to 8 characters; this one has {len(nickname)}."
        assert refusal(fitting | {key: nickname}, SMALL_READER).fields == {key: reason}
    reason = "A nickname has 3 to 8 characters; this one has far too many."
    assert refusal(fitting | {key: "é" * 100_000}, SMALL_READER).fields == {key: reason}
    for nickname, other in NO_NICKNAMES.items():
        reason = f"A nickname has only letters A-Z, digits, '_' and '-', no '{other}'."
        assert refusal(fitting | {key: nickname}, SMALL_READER).fields == {key: reason}
    for no_text in (5, True, ["jane"], {"jane": 1}):
        assert refusal(fitting | {key: no_text}, SMALL_READER).fields == {key: "Must be a text."}


NUMBERS = [(type_, key) for type_ in CLIENT_TYPES for key in ORDER[type_] if key in contract.NUMBERS]
LARGEST = int(sys.float_info.max)


@pytest.mark.parametrize(("type_", "key"), NUMBERS)
def test_a_number_is_finite_and_kept_as_it_was_given(type_: str, key: str) -> None:
    widest = {side: -LARGEST if side.endswith("min") else LARGEST for side in KEYS[type_] & contract.NUMBERS}
    numbers = (0, -1, 0.1, -652000.25, 5e-324, 1.7976931348623157e308, 2**53, 2**63, -(2**63), 2**64 - 1, LARGEST)
    for number in numbers if type_ != "live_position" else ():
        kept = content(sample(type_, **widest | {key: number}))[key]
        assert (kept, type(kept)) == (number, type(number))
    for value in ("true", "false", '"1"', "[1]", "{}", str(2**1024), str(-(2**1024))):
        assert refusal(raw(type_, **{key: value})).fields == {key: "Must be a finite number."}
    for value in ("1e309", "-1e309", "9" * 5000, "-" + "9" * 5000):
        assert refusal(raw(type_, **{key: value})).fields.keys() == {key}


@pytest.mark.parametrize(
    ("key", "number", "reason"),
    [
        ("x", 180.5, "The position's x must lie between -180 and 180: it is a longitude in WGS 84."),
        ("y", -6862000, "The position's y must lie between -90 and 90: it is a latitude in WGS 84."),
        ("accuracy", -1, "The position's accuracy must lie between 0 and 1e+07: it is in metres."),
        ("until", 1.5, "The time until which the position is shared (until) must be whole seconds since the epoch."),
    ],
)
def test_a_live_position_is_on_the_earth(key: str, number: float, reason: str) -> None:
    assert refusal(sample("live_position", **{key: number})).reason == reason


# JSON, read strictly


NO_JSON = [
    "", " ", "\n", "hello", "{", "}", "{]", '{"type"}', '{"type":}', '{"type": "text",}', "{'type': 'text'}",
    '{"type": "text"} {}', '{"type": "text"', "\ufeff", "\ufeff\ufeff{}", "nul", "+1", "01", "1.", ".5",
    '"\\x41"', '"tab\there"', "undefined", "// {}", "{} // ", "\0",
]  # fmt: skip


def test_what_is_no_json_object_is_said_to_be_none() -> None:
    for frame in NO_JSON:
        for given in (frame, frame.encode()):
            assert refusal(given).reason == "The message is not valid JSON."
    for frame in ("null", "true", "0", "-1.5", '"text"', "[]", '[{"type": "text"}]'):
        assert refusal(frame).reason == "The message must be a JSON object."


def test_a_byte_order_mark_is_skipped() -> None:
    plain = raw("text", id=f'"{ID}"', timestamp="1")
    assert read("\ufeff" + plain) == read(b"\xef\xbb\xbf" + plain.encode()) == read(plain)
    assert refusal('\ufeff{"type": "text", "text": NaN}').fields == {"text": "Must not hold NaN."}


@pytest.mark.parametrize("constant", ["NaN", "-Infinity", "nan", "inf"])
def test_what_only_some_call_a_number_is_refused_and_named(constant: str) -> None:
    for place in ("{}", "[1.5, {}]", '{{"a": "NaN", "b": [[{}, 1], 2]}}', " {} "):
        value = place.format(constant)
        fault = refusal(raw("position", x=value))
        assert fault.reason == f"The position's x must not hold {constant}."
        assert fault.fields == {"x": f"Must not hold {constant}."}
        assert refusal(raw("geojson", geojson=value)).reason == f"The layer must not hold {constant}."
        assert refusal(raw("geojson", style='"NaN"', geojson=value)).fields.keys() == {"geojson"}
        unnamed = refusal(raw("crs", unknown=value))
        assert unnamed.reason == f"The message is not valid JSON: it holds {constant}, which is no number."
    # Of a long message the number is named, though not the field
    fault = refusal(raw("geojson", geojson="[" + "1," * 100_000 + f"{constant}]"))
    assert fault.reason == f"The message is not valid JSON: it holds {constant}, which is no number."


HALF = "half of an emoji or letter (a lone surrogate)"
HALVES = ["\ud83d", "\ude00", "half \ud83d a map", "\ud83d\ud83d\ude00", "\ud83d\\ude00", "\ud83d\n", '\ud83d"}']


@pytest.mark.parametrize("text", HALVES)
def test_half_a_pair_of_surrogates_is_refused_and_named(text: str) -> None:
    written = json.dumps(text)
    for key in ("text", "author", "id", "avatar"):
        assert refusal(raw("text", **{key: written})).fields == {key: f"Must not hold {HALF}."}
    assert refusal(raw("geojson", geojson=f'{{"type": {written}}}')).fields == {"geojson": f"Must not hold {HALF}."}
    assert refusal(raw("crs", unknown=written)).reason == f"The message is not valid JSON: it holds {HALF}."
    refusal(raw("text", text=f'"{text}"'))


def test_a_pair_of_surrogates_is_a_letter_and_an_escaped_backslash_before_a_u_no_half_of_one() -> None:
    assert content(raw("text", text='"\\ud83d\\uddfa"'))["text"] == "🗺"
    assert content(raw("text", text=r'"\\ud83d"'))["text"] == r"\ud83d"
    assert refusal(raw("text", text=r'"\\ud83d"')[:-1]).reason.startswith("The message is not valid JSON. ")


UNREADABLE = b"\xff\xfe\x80"


def test_bytes_that_are_no_utf8_are_refused_wherever_they_stand() -> None:
    """A request's body comes as bytes, which nobody has decoded before."""
    for key in ("type", "author", "text", "avatar", "id"):
        frame = raw("text", **{key: '"?"'}).encode().replace(b'"?"', b'"' + UNREADABLE + b'"')
        assert refusal(frame).fields == {key: "Must be written in UTF-8."}
    for other in (UNREADABLE, b'{"' + UNREADABLE + b'": 1}', "{}".encode("utf-16")):
        assert refusal(other).reason == "The message is not written in UTF-8."


@pytest.mark.parametrize("depth", [20_000, 1_000_000])  # Python 3.11 refuses 1000 already, 3.13 takes 10 000
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_bottomless_json_is_refused_in_words(depth: int, opening: str) -> None:
    nested = opening * depth + "1" + {"[": "]"}.get(opening, "}") * depth
    for key in ("text", "unknown"):
        assert refusal(raw("text", **{key: nested})).reason.startswith("The message is nested too deeply.")
    assert refusal(nested).reason in ("The message must be a JSON object.", "The message is nested too deeply.")
    assert refusal(raw("text", unknown=opening * depth)).reason


def test_a_key_that_comes_twice_counts_as_it_came_last() -> None:
    assert content('{"type": "like", "author": "jane", "text": "a", "text": "b", "type": "text"}')["text"] == "b"


# What can be read, and where there is something to see

BLANKS = [
    "", " ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b\u200d\ufeff", "\u2028\u2029\x85", "\u2800",
    "\u3164\uffa0\u115f\u1160", "\u202e\u2066\u00ad", "\ufe0f\u034f", "\0\x1f\x7f", "\U000e0020" * 20,
]  # fmt: skip


def test_what_shows_nothing_is_what_unicode_says_and_some_fillers() -> None:
    fillers = set(map(ord, "\u2800\u3164\u115f\u1160\uffa0\u034f\u17b4\u17b5")) | {*range(0xFE00, 0xFE10)}
    categories = {code: unicodedata.category(chr(code)) for code in (*range(0x20000), *range(0xE0000, 0xE0200))}
    blank = {code for code, category in categories.items() if category in ("Cc", "Cf", "Zs", "Zl", "Zp")} | fillers
    # What this Python's Unicode does not know yet, a later one may say
    known = [code for code, category in categories.items() if category not in ("Cn", "Cs")]
    assert {code for code in known if words_.is_blank(chr(code))} == blank


def test_a_text_of_nothing_but_blanks_is_refused() -> None:
    for text in BLANKS:
        assert refusal(sample("text", text=text)).fields == {"text": NOTHING_TO_READ}
        assert content(sample("text", text=text + "."))["text"] == text + "."
    for text in ("🗺️", "́", "\ue000", "é", "0", "_", "ـ", "👩‍👩‍👧", "\U000f0000", "-", "漢"):
        assert content(sample("text", text=text))["text"] == text


MOST = sys.float_info.max
SIDES = ("xmin", "xmax", "ymin", "ymax")
EMPTY = [
    (MOST, -MOST, MOST, -MOST), (2, 1, 0, 1), (0, 1, 2, 1), (1.5, 1, 1, 2), (0, 0, 0, 0), (0.0, -0.0, 0, 0),
    (0, -1, 0, 0), (float("nan"), 1, 0, 1), (0, float("nan"), 0, 1), (0, 1, float("nan"), 1), (0, 1, 0, float("nan")),
]  # fmt: skip


def test_an_extent_may_be_a_place_or_a_line_but_not_nothing() -> None:
    for sides in EMPTY:
        fault = refusal(sample("bbox", **dict(zip(SIDES, sides, strict=True))))
        assert fault.reason == "The extent is empty: add a layer first."
    for sides in ((1, 1, 2, 2), (0, 0, 0, 1), (-180, 180, -90, 90), (-MOST, MOST, -MOST, MOST), (1, 1, 0, 5)):
        given = dict(zip(SIDES, sides, strict=True))
        assert content(sample("bbox", **given)).items() >= given.items()


# Nothing is built that could not be right


MANY = 50_000
BRACKETS = "[" + "[]," * MANY + "[]]"


@pytest.mark.parametrize("type_", CLIENT_TYPES)
def test_no_value_is_built_that_its_field_could_not_be(type_: str) -> None:
    """Counted in memory, not in time: 50 000 lists would take megabytes, as would a string or so many keys."""
    keys = "{" + ",".join(f'"{number}":0' for number in range(MANY)) + ',"type":"text"}'
    fields_ = [key for key in HEAD + ORDER[type_] if key != "geojson"]
    frames = [keys, *(raw(type_, **{key: BRACKETS}) for key in fields_)]
    frames += [raw(type_, **{key: "1" * 3 * MANY}) for key in fields_]
    frames += [raw(type_, unknown=BRACKETS), raw(type_, id='"' + r"\n" * 3 * MANY + '"')]
    for frame in frames:
        frame.encode()  # what a string needs to be read at all is not counted
        tracemalloc.start()
        try:
            with suppress(Uncompliant):
                read(frame)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * len(frame) + 100_000, f"{peak} bytes for {frame[:100]}…"


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


def test_a_message_without_a_type_is_refused_unless_one_is_expected() -> None:
    untyped = {"author": "jane", "text": "hi", "id": ID, "timestamp": 1}
    fault = refusal(untyped)
    assert (fault.reason, fault.fields) == ("The message has no type.", {"type": "Missing."})
    named = json.dumps({"type": "text", **untyped})
    assert READER.parse(json.dumps(untyped), type="text") == READER.parse(named, type="text")
    with pytest.raises(Uncompliant, match=r"^The type must be 'text'\.$"):
        READER.parse(json.dumps(sample("like")), type="text")


# A document inside a message


DOCUMENTS = [
    "null", "0", '"x"', "[]", "{}", '{ "type" : "FeatureCollection",\n"features" : [ ] }', '{"a": 1, "a": 2}',
    "[1.50, 1e2, -0, 1E+2]", '{"b": "\\u00e9\\/"}', "[" * 200 + "]" * 200, "1e999", "1" * 5000,
]  # fmt: skip


def test_a_document_is_passed_on_as_it_was_written_if_it_is_json() -> None:
    for document in DOCUMENTS:
        body = read(raw("geojson", geojson=document)).body
        assert bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["geojson"]) == document.encode()
    for document in ("", "{", "[1,]", "'x'", '{"a": 01}', "\\", '{"a" 1}', "nul", "infty"):
        assert refusal(raw("geojson", geojson=document)).reason == "The message is not valid JSON."


# Words for people


def test_a_clients_own_word_is_shown_short_and_printable() -> None:
    for text in ("", "poll", "Été à la mer", "x" * 40, "🗺"):
        assert excerpt(text) == f"'{text}'"
    assert excerpt("x" * 41) == "'" + "x" * 39 + "…'"
    assert excerpt("two\nlines\r\x1b[31m\u202egnp.exe\u200b\0\ud800\u2028") == "'two�lines��[31m�gnp.exe����'"
    for character in "".join(map(chr, range(0x300))) + "\u2066\u2069\ufeff\ufffe\U000e0001\U0010ffff\ud800":
        shown = excerpt(character * 100)
        assert shown.isprintable()
        assert len(shown) <= 42
        shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "'hello'"),
        ("x" * 300, "'" + "x" * 39 + "…'"),
        ("🗺" * 300, "'" + "🗺" * 39 + "…'"),
        ('a "quote" and a \\', "'a \"quote\" and a \\'"),
        ("two\nlines", "'two�lines'"),
        ("\u202egnp", "'�gnp'"),
    ],
)
def test_a_refusal_of_a_text_quotes_how_it_begins(text: str, shown: str) -> None:
    for ensure_ascii in (True, False):
        frame = json.dumps(sample("text", author="é", text=text), ensure_ascii=ensure_ascii)
        assert refusal(frame).reason.endswith(f" Your text: {shown}")
        assert refusal(frame.encode()).reason == refusal(frame).reason
        assert refusal(frame[:-1]).reason == f"The message is not valid JSON. Your text: {shown}"
        assert quoting("Too fast.", frame) == quoting("Too fast.", frame.encode()) == f"Too fast. Your text: {shown}"
        assert quoting(quoting("Too fast.", frame), frame) == quoting("Too fast.", frame)
    if len(text) <= 255:
        message = read(sample("text", text=text))
        assert message.refused("It is frozen.") == f"It is frozen. Your text: {shown}"


def test_a_refusal_of_anything_else_quotes_nothing() -> None:
    for type_ in set(CLIENT_TYPES) - {"text"}:
        assert read(sample(type_, avatar='"text":"x"')).refused("It is frozen.") == "It is frozen."
        assert "Your text" not in refusal(sample(type_, id="x", text="x")).reason
        assert quoting("Too fast.", json.dumps(sample(type_))) == "Too fast."
    for frame in ("", "x", '"text":"', '{"text":"', '{"text":"\\', '{"text":"\\ud83d', '{"text":1}', b"\xff"):
        assert quoting("No.", frame).startswith("No.")
        assert quoting("No.", frame).isprintable()


@pytest.mark.parametrize(
    ("length", "limit", "words"),
    [
        (1_600_004, 1_600_000, "This photo has 1.3 MB; at most 1.2 MB can be sent here."),
        (200_000, 100_000, "This photo has 150.0 kB; at most 75.0 kB can be sent here."),
    ],
)
def test_a_photo_is_measured_as_its_file_is(length: int, limit: int, words: str) -> None:
    reader = MessageParser(settings(max_image_raw_length=limit))
    assert refusal(sample("image", image_data="a" * length), reader).reason == words
    escaped = raw("image", image_data='"' + r"\/" * length + '"')
    assert refusal(escaped, reader).reason == words
    assert read(raw("image", image_data='"' + r"\/" * limit + '"'), reader).type == "image"


def test_what_the_server_says_is_a_message_too() -> None:
    told = strictly_parsed(messages.uncompliant("«Non»\n"))
    contract.check(told)
    assert (told["type"], told["reason"]) == ("uncompliant", "«Non»\n")
    assert list(told) == [*HEAD, "reason"]


def test_a_nickname_is_found_in_what_names_one() -> None:
    for type_ in ("newcomer", "exiter"):
        assert nickname_of(read({"type": type_, type_: "jane"})) == "jane"
