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


async def test_messages_reach_everyone_also_their_sender_and_are_stored(channel: str, join: Join, rest: Rest) -> None:
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


async def test_keys_are_kept_changed_and_dropped_as_the_contract_says(channel: str, join: Join) -> None:
    # Given a client that is registered, so that it receives likes, and another one; both check every key (see
    # support.client)
    client, other = await join(channel, nickname="john"), await join(channel, front=1)
    strange = {"nb_users": 3, "reason": CANARY, "recipient": "john", "": 1, "__class__": {"a": [1]}, "é": None}

    # When messages with optional keys are sent, and with unknown ones, also of other types
    for type_ in BROADCAST:
        ids = {key: str(uuid.uuid4()) for key in ("id", "in_reply_to_id")}
        given: dict[str, Any] = {**ids, "timestamp": 1_600_000_000}
        for key in OPTIONAL & KEYS[type_]:
            given[key] = f"{CANARY} é 😀 (1) – 'quoted'"
        if "style" in given:
            given["style"] += ' "quoted" \\ \n\t'
        await client.send(**strange, **sample(type_, **given))

        # Then the optional ones arrive, and the others do not
        if type_ not in REPLYABLE:
            del given["in_reply_to_id"]
        for receiver in (client, other):
            received = await receiver.until(type=type_)
            assert received.items() >= given.items()
            assert ("in_reply_to_id" in received) == (type_ in REPLYABLE)
            assert not strange.keys() & received.keys()
    for message in (sample("like"), sample("newcomer", newcomer="jack")):
        await client.send(**strange, **message)
        assert not strange.keys() & (await client.until(type=message["type"])).keys()

    # And ids as Qt writes them become plain ones, file names safe ones, and an avatar an icon of the receiver's own
    own, original = str(uuid.uuid4()), str(uuid.uuid4())
    path, safe = "../../.config/autostart/évil\\C:x\n.desktop", "______.config_autostart_évil_C_x_.desktop"
    names = [("geojson", "layer_name"), ("model", "model_name"), ("model", "model_group"), ("script", "name")]
    for type_, sent, arrives in [
        ("text", {"id": f"{{{own}}}".upper()}, {"id": own}),
        ("text", {"in_reply_to_id": f"urn:uuid:{original}".upper()}, {"in_reply_to_id": original}),
        ("text", {"avatar": "mIconPythonFile.svg"}, {"avatar": "mIconPythonFile.svg"}),
        ("text", {"avatar": "../../../dev/zero"}, {"avatar": "__/__/__/dev/zero"}),
        *((type_, {key: path}, {key: safe}) for type_, key in names),
    ]:
        await client.send(**sample(type_, **sent))
        for receiver in (client, other):
            assert (await receiver.until(type=type_)).items() >= arrives.items()


# Repeated ids


async def test_a_repeated_id_is_answered_with_what_was_published(channel: str, join: Join, rest: Rest) -> None:
    # Given a client and a bot that do not know whether their texts were published
    client, other = await join(channel), await join(channel, front=1)
    message, put = sample("text", id=str(uuid.uuid4())), sample("text", author="bot", id=str(uuid.uuid4()))
    await client.send(**message)
    first = await client.until(type="text", id=message["id"])
    answer = await rest.put_text(channel, put)
    for one in (message, put):
        await other.until(type="text", id=one["id"])

    # When they send them again
    await client.send(**message)
    again = await rest.put_text(channel, put)

    # Then each gets the published message, and others receive nothing
    assert await client.until(type="text", id=message["id"]) == first
    assert (again.code, again.body) == (200, answer.body)

    # When they use their ids for something else, they are told
    await client.send(**message | {"text": f"{CANARY} something else"})
    assert (await client.refusal()).startswith("This id was used before")
    again = await rest.put_text(channel, put | {"text": f"{CANARY} something else"})
    assert (again.code, b"This id was used before" in again.body) == (409, True)

    marker = await client.say()
    await other.nothing_before(marker)
    assert [m["text"] for m in await rest.last(channel)] == [message["text"], put["text"], marker]


async def test_a_message_with_anothers_id_is_published(channel: str, join: Join, rest: Rest) -> None:
    # Given an id that mallory has used
    mallory, jane, guest = await join(channel), await join(channel, front=1), await join(channel, front=1)
    id = str(uuid.uuid4())
    await mallory.send(**sample("text", author="mallory", id=id))
    await guest.until(id=id)

    # When jane sends a message under it, and a bot
    await jane.send(**sample("text", author="jane", id=id, text=f"{CANARY} the dam has broken"))
    answer = await rest.put_text(channel, sample("text", author="bot", id=id, text=f"{CANARY} from a bot"))

    # Then everybody receives both, including jane
    assert answer.code == 200
    for client in (guest, jane, mallory):
        assert (await client.until(text=f"{CANARY} the dam has broken"))["id"] != id
        assert (published := await client.until(text=f"{CANARY} from a bot"))["id"] != id
        assert published == json.loads(answer.body)


# What is in them


TEXTS = [
    " ",
    "<script>alert(1)</script>",
    'a "quote", a \\ and a / \b\f\n\r\t',
    "é à ü 漢字 עברית 🗺️👩‍👩‍👧",
    "\u0000\u001f\u007f\u2028\u2029\ufeff\uffff",
    "{{ template }} %s %(x)s ${x} {0}",
]
NUMBERS = [0, -0.0, 0.1 + 0.2, 1e-300, 1.7976931348623157e308, -652000.123456789, 2**53, 180]


async def test_texts_and_coordinates_arrive_as_they_were_sent(channel: str, join: Join) -> None:
    client, other = await join(channel), await join(channel, front=1)
    for text in TEXTS:
        await client.send(**sample("text", text=text + CANARY))
        for receiver in (client, other):
            assert (await receiver.until(type="text"))["text"] == text + CANARY
    for number in NUMBERS:
        await client.send(**sample("position", x=number, y=-number))
        received = await client.until(type="position")
        assert (received["x"], received["y"]) == (number, -number)


async def test_how_a_message_is_written_makes_no_difference(channel: str, join: Join) -> None:
    """QJsonDocument and others escape characters differently, and some programs send a byte order mark."""
    qgis, browser = await join(channel), await join(channel, compression="deflate")
    escaped = (
        '\ufeff {"\\u0074ype" : "text",\n"author":"jane", "text": "' + CANARY + ' \\u00e9 \\ud83d\\uddfa \\/"}\r\n'
    )
    await qgis.send_raw(escaped)
    raw = json.dumps(sample("text"))
    await qgis.connection.send(iter([raw[:10], raw[10:30], raw[30:]]))  # in fragments
    compressed = await browser.say()
    for client in (qgis, browser):
        await client.until(text=f"{CANARY} é 🗺 /")
        await client.until(text=sample("text")["text"])
        await client.until(text=compressed)
