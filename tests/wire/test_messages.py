"""Every type that clients may broadcast: who receives it, with which keys."""

import json
import time
import uuid
from typing import Any

from tests.support.contract import BROADCAST, CANARY, KEYS, OPTIONAL, REPLYABLE, Message, sample
from tests.support.rest import Rest
from tests.wire.conftest import Join

# Made by a worker; everything else arrives as sent.
REMADE = {"image_data"}


def _kept(message: Message) -> Message:
    return {key: value for key, value in message.items() if key not in REMADE}


async def test_messages_reach_everyone_their_sender_included_and_are_stored(
    channel: str, join: Join, rest: Rest
) -> None:
    # Given people on both fronts
    sender, neighbour, distant = await join(channel), await join(channel), await join(channel, front=1)
    stored: list[Message] = []
    for type_ in BROADCAST:
        before = int(time.time())

        # When a client sends a message without optional keys
        await sender.send(**(sent := sample(type_)))

        # Then all get the same message, with a new id, the time, and null for missing keys
        received = await sender.until(type=type_)
        assert before <= received["timestamp"] <= time.time()
        assert uuid.UUID(received["id"])
        assert _kept(received).items() >= _kept(sent).items()
        assert all(received[key] is None for key in OPTIONAL & KEYS[type_])
        assert "in_reply_to_id" not in received
        assert await neighbour.until(type=type_) == received
        assert await distant.until(type=type_) == received
        stored.append(received)

    # And the five newest get clients that join later or request `/last`, whichever worker made them
    assert await rest.last(channel) == stored[-5:]
    assert (await join(channel, front=1, settled=True)).received[:5] == stored[-5:]


async def test_optional_keys_are_kept(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    for type_ in BROADCAST:
        ids = {key: str(uuid.uuid4()) for key in ("id", "in_reply_to_id")}
        given: dict[str, Any] = {**ids, "timestamp": 1_600_000_000}
        for key in OPTIONAL & KEYS[type_]:
            given[key] = f"{CANARY} é 😀 (1) – 'quoted'"
        if "style" in given:
            given["style"] += ' "quoted" \\ \n\t'

        await client.send(**sample(type_, **given))

        if type_ not in REPLYABLE:
            del given["in_reply_to_id"]
        for receiver in (client, other):
            received = await receiver.until(type=type_)
            assert received.items() >= given.items()
            assert ("in_reply_to_id" in received) == (type_ in REPLYABLE)


async def test_unknown_keys_are_dropped(channel: str, join: Join) -> None:
    # Given a client that checks every key (see support.client), and is registered, so that it receives likes
    client = await join(channel, nickname="john")
    strange = {"nb_users": 3, "reason": CANARY, "recipient": "john", "": 1, "__class__": {"a": [1]}, "é": None}

    # When a message with additional keys is sent, also with keys of other types
    for message in [*map(sample, (*BROADCAST, "like")), sample("newcomer", newcomer="jack")]:
        await client.send(**strange, **message)

        # Then it arrives without them
        assert not strange.keys() & (await client.until(type=message["type"])).keys()


async def test_an_id_as_qt_writes_it_becomes_a_plain_one(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)

    for form in ("{{{}}}", "urn:uuid:{}"):
        own, original = str(uuid.uuid4()), str(uuid.uuid4())
        await client.send(**sample("text", id=form.format(own).upper(), in_reply_to_id=form.format(original)))

        for receiver in (client, other):
            message = await receiver.until(type="text")
            assert (message["id"], message["in_reply_to_id"]) == (own, original)


async def test_file_names_are_sanitised(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)

    for type_, key in (
        ("geojson", "layer_name"),
        ("model", "model_name"),
        ("model", "model_group"),
        ("script", "name"),
    ):
        await client.send(**sample(type_, **{key: "../../.config/autostart/évil\\C:x\n.desktop"}))

        for receiver in (client, other):
            assert (await receiver.until(type=type_))[key] == "______.config_autostart_évil_C_x_.desktop"


async def test_an_avatar_is_an_icon_of_the_receivers_own(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)

    for avatar, shown in (("mIconPythonFile.svg", "mIconPythonFile.svg"), ("../../../dev/zero", "__/__/__/dev/zero")):
        await client.send(**sample("text", avatar=avatar))
        for receiver in (client, other):
            assert (await receiver.until(type="text"))["avatar"] == shown


async def test_a_repeated_id_is_not_published_again_and_its_sender_told_what_was(
    channel: str, join: Join, rest: Rest
) -> None:
    # Given a client that does not know whether its text was published
    client, other = await join(channel), await join(channel, front=1)
    message = sample("text", id=str(uuid.uuid4()))
    await client.send(**message)
    first = await client.until(type="text", id=message["id"])

    # When it resends the text
    await client.send(**message)
    marker = await client.say()

    # Then it gets the published message, and others receive the text once
    assert await client.until(type="text", id=message["id"]) == first
    await other.until(type="text", id=message["id"])
    await other.nothing_before(marker)
    assert [m["text"] for m in await rest.last(channel)] == [message["text"], marker]


async def test_a_message_with_anothers_id_is_published(channel: str, join: Join) -> None:
    # Given an id that mallory has used
    mallory, jane, guest = await join(channel), await join(channel, front=1), await join(channel, front=1)
    id = str(uuid.uuid4())
    await mallory.send(**sample("text", author="mallory", id=id))
    await guest.until(id=id)

    # When jane sends a message under it
    await jane.send(**sample("text", author="jane", id=id, text=f"{CANARY} the dam has broken"))

    # Then everybody receives it, including jane
    for client in (guest, jane, mallory):
        assert (await client.until(text=f"{CANARY} the dam has broken"))["id"] != id


async def test_an_id_that_its_sender_has_used_for_something_else_is_refused_in_words(channel: str, join: Join) -> None:
    client = await join(channel)
    id = str(uuid.uuid4())
    await client.send(**sample("text", id=id))
    await client.until(type="text", id=id)

    await client.send(**sample("text", id=id, text=f"{CANARY} something else"))

    assert (await client.refusal()).startswith("This id was used before")


async def test_a_text_put_again_is_answered_with_the_published_one(channel: str, join: Join, rest: Rest) -> None:
    listener = await join(channel)
    message = sample("text", author="bot", id=str(uuid.uuid4()))
    first = await rest.put_text(channel, message)

    again = await rest.put_text(channel, message)
    other = await rest.put_text(channel, message | {"text": f"{CANARY} something else"})
    marker = await listener.say()

    assert (again.code, again.body) == (200, first.body)
    assert (other.code, b"This id was used before" in other.body) == (409, True)
    await listener.until(id=message["id"])
    await listener.nothing_before(marker)


async def test_a_text_put_with_anothers_id_is_published(channel: str, join: Join, rest: Rest) -> None:
    mallory = await join(channel)
    id = str(uuid.uuid4())
    await mallory.send(**sample("text", author="mallory", id=id))
    await mallory.until(id=id)

    answer = await rest.put_text(channel, sample("text", author="bot", id=id, text=f"{CANARY} from a bot"))

    assert answer.code == 200
    published = json.loads(answer.body)
    assert published["id"] != id
    assert await mallory.until(text=f"{CANARY} from a bot") == published


TEXTS = [
    " ",
    "<script>alert(1)</script>",
    'a "quote", a \\ and a / \b\f\n\r\t',
    "é à ü 漢字 עברית 🗺️👩‍👩‍👧",
    "\u0000\u001f\u007f\u2028\u2029\ufeff\uffff",
    "{{ template }} %s %(x)s ${x} {0}",
]


async def test_a_text_arrives_as_it_was_written(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)

    for text in TEXTS:
        await client.send(**sample("text", text=text + CANARY))

        for receiver in (client, other):
            assert (await receiver.until(type="text"))["text"] == text + CANARY


async def test_coordinates_arrive_as_they_were_sent(channel: str, join: Join) -> None:
    client = await join(channel)
    numbers = [0, -0.0, 0.1 + 0.2, 1e-300, 1.7976931348623157e308, -652000.123456789, 2**53, 180]

    for number in numbers:
        await client.send(**sample("position", x=number, y=-number))
        received = await client.until(type="position")
        assert (received["x"], received["y"]) == (number, -number)


async def test_a_message_may_be_written_with_escapes(channel: str, join: Join) -> None:
    """QJsonDocument and others escape characters differently, and some programs send a byte order mark."""
    client = await join(channel)

    await client.send_raw(
        '\ufeff {"\\u0074ype" : "text",\n"author":"jane", "text": "' + CANARY + ' \\u00e9 \\ud83d\\uddfa \\/"}\r\n'
    )

    assert (await client.until(type="text"))["text"] == f"{CANARY} é 🗺 /"


async def test_compression_is_optional(channel: str, join: Join) -> None:
    browser = await join(channel, compression="deflate")
    qgis = await join(channel)

    for speaker in (browser, qgis):
        marker = await speaker.say()
        assert await browser.until(text=marker) == await qgis.until(text=marker)


async def test_a_message_in_fragments_is_one_message(channel: str, join: Join) -> None:
    client = await join(channel)
    raw = json.dumps(sample("text"))

    await client.connection.send(iter([raw[:10], raw[10:30], raw[30:]]))

    assert (await client.until(type="text"))["text"] == sample("text")["text"]
