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
LONE_SURROGATE = '"\\ud800"'


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
    "}",
    json.dumps(sample("text"))[:-20],
    json.dumps(sample("text")) * 2,
    json.dumps(sample("text")) + " x",
    str(sample("text")),
    '{"type": "text", "author": "jane", "text": "a\nb"}',
    '{"type": "text", "author": "jane", "text": "a\0b"}',
    '{"type": "text", "author": "jane", "text": "\\x41"}',
    '{"type": "text", /* */ "author": "jane", "text": "a"}',
    '{"type": "text", "author": "jane", "text": "a",}',
    "[]",
    json.dumps([sample("text")]),
    "12",
    "-0.5",
    MANY_DIGITS,
    "null",
    "true",
    f'"{CANARY}"',
    "NaN",
    "-Infinity",
    "{}",
    "[" * 100_000,
    DEEP_LIST,
    '{"a":' * 100_000,
    DEEP_OBJECT,
    "x" * 2**20,
    b"",
    b"\x00\xff\xfe" + CANARY.encode(),
    json.dumps(sample("text")).encode(),
]


async def john_and_another(channel: str, join: Join) -> tuple[Client, Client]:
    """A registered client, and a client on the other front that has seen its `newcomer`."""
    other = await join(channel, front=1)
    client = await join(channel, nickname="john")
    await other.until(type="newcomer", newcomer="john")
    return client, other


async def test_invalid_messages_are_refused(channel: str, join: Join, rest: Rest) -> None:
    client, other = await john_and_another(channel, join)

    await assert_refused(client, other, NO_MESSAGES)

    assert await rest.users(channel) == ["john"]
    await eventually(partial(rest.nb_connected_users, channel), 2)


async def test_an_unknown_type_is_refused(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    types = ["", "x", "TEXT", "text ", CANARY * 1000, None, 12, 1.5, True, [], ["text"], {}, {"type": "text"}]

    without = {"author": "jane", "text": CANARY}
    await assert_refused(client, other, [json.dumps(without | {"type": type_}) for type_ in types])
    await assert_refused(client, other, [json.dumps(without)])


async def test_types_of_the_server_are_refused(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    await client.count(2)
    await other.count(2)

    frames = [{"type": "nb_users", "nb_users": 99}, {"type": "uncompliant", "reason": CANARY}]
    await assert_refused(client, other, [json.dumps(frame) for frame in frames])

    assert (client.nb_users, other.nb_users) == (2, 2)
    assert not [m for m in other.received if m["type"] == "uncompliant"]


def broken(type_: str) -> Iterator[str]:
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


async def test_a_broken_field_is_refused(channel: str, join: Join, rest: Rest) -> None:
    client, other = await join(channel), await join(channel, front=1)

    await assert_refused(client, other, [frame for type_ in SENDABLE for frame in broken(type_)])

    assert await rest.users(channel) == []
    await eventually(partial(rest.nb_connected_users, channel), 2)


async def test_a_surrogate_in_a_key_is_refused_or_dropped_with_it(channel: str, join: Join) -> None:
    """An unknown key is dropped; the message may be refused if the key is no valid Unicode."""
    client, other = await join(channel), await join(channel, front=1)

    await client.send_raw(json.dumps(sample("text", key=1)).replace('"key"', LONE_SURROGATE))
    marker = await client.say()

    await client.until(text=marker)
    await other.until(text=marker)


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


async def test_an_endless_list_as_a_field_is_refused(channel: str, join: Join) -> None:
    """Invalid values are refused before they are built: see `test_no_value_is_built_that_its_field_could_not_be`."""
    client, other = await join(channel), await join(channel, front=1)
    endless = "[" + "[]," * 2_000_000 + "[]]"

    frames = [_with_literal(type_, field, endless) for type_, field in (("text", "type"), ("like", "message"))]
    await assert_refused(client, other, frames)


async def test_invalid_layers_are_refused(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    good = feature(geometry("Point", [1, 2]))
    places = [
        layer([good, feature(geometry("Point", [1, "@@"]))]),
        layer([good, feature(geometry("LineString", [[1, 2], "@@"]))]),
        layer([good, feature("@@")]),
        layer("@@"),  # type: ignore[arg-type]
        layer([feature(None, properties={"a": "@@"})]),
    ]

    rubbish = ["NaN", "1e400", MANY_DIGITS, LONE_SURROGATE, DEEP_LIST]
    frames = [_with_literal("geojson", "geojson", json.dumps(place)) for place in places]
    await assert_refused(
        client, other, [frame.replace('"@@"', each) for frame, each in zip(frames, rubbish, strict=True)]
    )


async def test_many_invalid_messages_at_once_are_answered_in_order(channel: str, join: Join, rests: list[Rest]) -> None:
    # Given a registered client, and a witness
    client, other = await john_and_another(channel, join)
    rubbish = [frame for frame in NO_MESSAGES if len(frame) < 1000]

    # When the client sends bad input without waiting for answers
    for frame in rubbish * 3:
        await client.send_raw(frame)
    marker = await client.say()

    # Then each frame is answered, in order with the valid messages, and nothing else has changed
    await client.until(text=marker)
    assert sum(m["type"] == "uncompliant" for m in client.received) == len(rubbish) * 3
    await other.nothing_before(marker)
    for rest in rests:
        assert await rest.users(channel) == ["john"]
        await eventually(partial(rest.nb_connected_users, channel), 2)


NO_FRAMES = [  # test_frame_parser.py and test_conformance.py have all others
    b"\x81\x85\0\0\0\0ab\xffcd",  # a text frame that is not UTF-8 (RFC 6455 §8.1)
    b"\x88\x81\0\0\0\0x",  # a close frame with half a code (§5.5.1)
    bytes(range(256)) * 100,
]


async def test_a_client_that_violates_the_websocket_protocol_affects_nobody_else(
    channel: str, join: Join, rest: Rest
) -> None:
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
