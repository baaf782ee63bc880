"""Bad input is answered with a reason, and affects neither the connection, nor other clients, nor the count."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.support.client import Client
from tests.support.contract import BROADCAST, CANARY, KEYS, NUMBERS, REPLYABLE, required, sample
from tests.support.layers import feature, geometry, layer
from tests.support.rest import Rest, eventually
from tests.wire.conftest import Join

SENDABLE = (*BROADCAST, "newcomer", "exiter", "like")

# Programmers' words that must not be in a reason.
JARGON = re.compile(r"Error\b|Exception|Traceback|NoneType|object at 0x|<class|marshmallow|msgspec|\bstr\b|\bdict\b")

MANY_DIGITS = "9" * 5000
DEEP_LIST = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 100_000 + "1" + "}" * 100_000
ENDLESS_LIST = "[" + "[]," * 2_000_000 + "[]]"  # refused before it is built
LONE_SURROGATE = '"\\ud800"'


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Add the input to a failure."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


def _with_value(type_: str, field: str, value: Any) -> str:
    return json.dumps(sample(type_, **{field: value}))


def _with_literal(type_: str, field: str, literal: str) -> str:
    """A message with a field written as that literal, which may be no JSON."""
    return _with_value(type_, field, "@@").replace('"@@"', literal)


NO_MESSAGES: list[str | bytes] = [
    "",
    " \n\t ",
    CANARY,
    "{",
    json.dumps(sample("text"))[:-20],
    json.dumps(sample("text")) * 2,
    str(sample("text")),
    '{"type": "text", "author": "jane", "text": "a\nb"}',
    '{"type": "text", "author": "jane", "text": "\\x41"}',
    '{"type": "text", /* */ "author": "jane", "text": "a"}',
    '{"type": "text", "author": "jane", "text": "a",}',
    "[]",
    json.dumps([sample("text")]),
    "-0.5",
    MANY_DIGITS,
    "null",
    f'"{CANARY}"',
    "NaN",
    "{}",
    "[" * 100_000,
    DEEP_LIST,
    DEEP_OBJECT,
    "x" * 2**20,
    b"",
    b"\x00\xff\xfe" + CANARY.encode(),
    json.dumps(sample("text")).encode(),
]


def _of_wrong_types() -> Iterator[str]:
    for type_ in ("", "TEXT", "text ", CANARY * 1000, None, 12, True, [], ["text"], {}, {"type": "text"}):
        yield json.dumps({"author": "jane", "text": CANARY, "type": type_})
    yield json.dumps({"author": "jane", "text": CANARY})
    yield _with_literal("text", "type", ENDLESS_LIST)
    # Those of the server
    yield json.dumps({"type": "nb_users", "nb_users": 99})
    yield json.dumps({"type": "uncompliant", "reason": CANARY})


def _broken(type_: str) -> Iterator[str]:
    """The type's message, once for each violated rule; test_messages.py covers all fields."""
    first = required(type_)[0]  # usually the author
    missing = sample(type_)
    del missing[first]
    yield json.dumps(missing)
    yield from (_with_value(type_, first, value) for value in (None, [CANARY], "ab", "jane\n"))
    yield from (_with_literal(type_, first, literal) for literal in (LONE_SURROGATE, MANY_DIGITS))
    for field in [*sorted(KEYS[type_] & NUMBERS)][:1]:
        yield from (_with_value(type_, field, value) for value in (CANARY, True))
        yield from (_with_literal(type_, field, number) for number in ("NaN", "1e400", "01"))
    yield _with_value(type_, "id", CANARY)
    yield _with_literal(type_, "timestamp", "1.5")
    if type_ in REPLYABLE:
        yield _with_value(type_, "in_reply_to_id", CANARY)


def _invalid_layers() -> Iterator[str]:
    good = feature(geometry("Point", [1, 2]))
    for place, rubbish in (
        (layer([good, feature(geometry("Point", [1, "@@"]))]), "NaN"),
        (layer([good, feature(geometry("LineString", [[1, 2], "@@"]))]), "1e400"),
        (layer([good, feature("@@")]), MANY_DIGITS),
        (layer("@@"), LONE_SURROGATE),  # type: ignore[arg-type]
        (layer([feature(None, properties={"a": "@@"})]), DEEP_LIST),
    ):
        yield _with_literal("geojson", "geojson", json.dumps(place)).replace('"@@"', rubbish)


async def assert_refused(client: Client, other: Client, frames: Sequence[str | bytes]) -> None:
    """Check that each frame is answered with one reason, the connection stays open, and others receive nothing."""
    for frame in frames:
        await client.send_raw(frame)
        with explained(f"sent {frame[:300]!r}"):
            reason = await client.refusal()
        assert reason.strip()
        assert not JARGON.search(reason), reason
        assert len(reason) < 500, "a reason is there to be read"
    marker = await client.say()
    await client.nothing_before(marker)
    await other.nothing_before(marker)


async def test_bad_input_is_refused_and_affects_nothing_else(channel: str, join: Join, rests: list[Rest]) -> None:
    # Given a registered client, and a client on the other front
    other = await join(channel, front=1)
    client = await join(channel, nickname="john")
    await other.until(type="newcomer", newcomer="john")

    for one in (client, other):
        await one.count(2)

    # When it sends what is wrong, one after the other, each is refused
    broken = [frame for type_ in SENDABLE for frame in _broken(type_)]
    for frames in (NO_MESSAGES, [*_of_wrong_types()], broken, [*_invalid_layers()]):
        await assert_refused(client, other, frames)

    # Also when it does not wait for answers, which come in order with those to valid messages
    rubbish = [frame for frame in NO_MESSAGES if len(frame) < 1000]
    before = sum(m["type"] == "uncompliant" for m in client.received)
    for frame in rubbish * 3:
        await client.send_raw(frame)
    marker = await client.say()
    await client.until(text=marker)
    assert sum(m["type"] == "uncompliant" for m in client.received) == before + len(rubbish) * 3
    await other.nothing_before(marker)

    # Then nothing else has changed
    assert (client.nb_users, other.nb_users) == (2, 2)
    for rest in rests:
        assert await rest.users(channel) == ["john"]
        await eventually(partial(rest.nb_connected_users, channel), 2)


async def test_a_surrogate_in_a_key_is_refused_or_dropped_with_it(channel: str, join: Join) -> None:
    """An unknown key is dropped; the message may be refused if the key is no valid Unicode."""
    client, other = await join(channel), await join(channel, front=1)

    await client.send_raw(json.dumps(sample("text", key=1)).replace('"key"', LONE_SURROGATE))
    marker = await client.say()

    for receiver in (client, other):
        await receiver.until(text=marker)


REASONS = [
    ("text", "text", '"map \\ud83d"', "The text must not hold half of an emoji or letter (a lone surrogate)."),
    ("position", "x", "NaN", "The position's x must not hold NaN."),
    ("geojson", "geojson", '{"features": [-Infinity]}', "The layer must not hold -Infinity."),
    ("bbox", "xmin", "NaN", "The extent is empty: add a layer first."),
    ("bbox", "xmin", "1.7976931348623157e308", "The extent is empty: add a layer first."),
    ("text", "text", '" \\u200b\u3000"', "There is nothing to read in this text: write something."),
    ("text", "text", f'"{"x" * 300}"', "This text has 300 characters; at most 255 can be sent here."),
    ("text", "author", '"jd NaN"', "A nickname has only letters A-Z, digits, '_' and '-', no ' '."),
    ("model", "raw_xml", f'"{"x" * 1_250_000}"', "This model has 1.3 MB; at most 1.0 MB can be sent here."),
    ("image", "image_data", f'"{"x" * 14_400_000}"', "This photo has 10.8 MB; at most 9.0 MB can be sent here."),
]


async def test_a_refusal_names_the_error_and_the_text(channel: str, join: Join) -> None:
    client = await join(channel)

    for type_, field, literal, reason in REASONS:
        await client.send_raw(_with_literal(type_, field, literal))

        told, quoted, begins = (await client.refusal()).partition(" Your text: ")
        assert told == reason
        assert bool(quoted) == (type_ == "text" and "nothing to read" not in reason)
        if type_ == "text" and field != "text":
            assert begins == f"'{CANARY}: hello'"


NO_FRAMES = [  # test_frame_parser.py and test_conformance.py have all others
    b"\x81\x85\0\0\0\0ab\xffcd",  # a text frame that is not UTF-8 (RFC 6455 §8.1)
    b"\x88\x81\0\0\0\0x",  # a close frame with half a code (§5.5.1)
    bytes(range(256)) * 100,
]


async def test_who_violates_the_websocket_protocol_affects_nobody_else(channel: str, join: Join, rest: Rest) -> None:
    witness = await join(channel, front=1)
    for rubbish in NO_FRAMES:
        # Given a registered client
        vandal = await join(channel, nickname="john")
        await witness.count(2)

        # When it violates RFC 6455, and disconnects
        vandal.write_bytes(rubbish)
        await witness.until(text=await witness.say())
        vandal.reset()

        # Then the channel is told its exit, and the server still works
        await witness.until(type="exiter", exiter="john")
        await witness.count(1)
        assert await rest.users(channel) == []
