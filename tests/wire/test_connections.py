"""Connecting and closing websockets: who may connect, and what closes a connection."""

import json
import struct
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.processes import Stack
from tests.wire.conftest import NAMED_CHANNELS, Join

MAX_FRAME_SIZE = 16 * 2**20


def reasons(client: Client) -> list[str]:
    """The reason in the `uncompliant` of a client that received nothing else."""
    return [str(message["reason"]) for message in client.received]


async def test_an_unknown_channel_is_accepted_and_then_closed_with_its_reason(stack: Stack) -> None:
    for name in ("x", "Nulle part é", "100%s", "a b", "<b>"):
        client = await Client.connect(stack.fronts[0].url, name)

        assert await client.closed() == (1008, f"Channel '{name}' does not exist.")
        assert reasons(client) == [f"Channel '{name}' does not exist. Choose another one."]


async def test_an_unknown_channel_with_an_endless_name_is_closed_too(stack: Stack) -> None:
    """A close frame contains at most 123 bytes of reason (RFC 6455 §5.5)."""
    client = await Client.connect(stack.fronts[0].url, "é" * 300)

    code, reason = await client.closed()
    assert code == 1008
    assert reason


async def test_messages_to_an_unknown_channel_reach_nobody(stack: Stack, channel: str, join: Join) -> None:
    witness = await join(channel)

    client = await Client.connect(stack.fronts[0].url, channel + "x")
    with suppress(ConnectionClosed):
        await client.say()
    assert (await client.closed())[0] == 1008

    await witness.nothing_before(await witness.say())


async def test_a_channels_name_may_hold_what_must_be_percent_encoded(join: Join) -> None:
    for name in NAMED_CHANNELS:
        one, other = await join(name), await join(name, front=1)

        await other.until(text=await one.say())


async def test_query_strings_change_nothing(channel: str, join: Join) -> None:
    plain, asking = await join(channel), await join(channel, query="?nickname=jane&x=%20")

    await plain.until(text=await asking.say())


async def test_no_origin_is_accepted_and_so_is_our_own(stack: Stack, channel: str, join: Join) -> None:
    qgis = await join(channel)
    browser = await join(channel, origin=stack.fronts[0].url)

    await qgis.until(text=await browser.say())


@pytest.mark.parametrize("origin", ["http://evil.example", "https://evil.example:8000", "null", "http://127.0.0.1:1"])
async def test_a_browser_on_another_site_is_refused(origin: str, stack: Stack, channel: str, join: Join) -> None:
    witness = await join(channel)

    with pytest.raises(InvalidStatus) as refused:
        await Client.connect(stack.fronts[0].url, channel, origin=origin)

    assert refused.value.response.status_code == 403
    await witness.nothing_before(await witness.say())
    await witness.count(1)


async def test_the_address_behind_a_proxy_is_our_own_too(stack: Stack, channel: str, join: Join) -> None:
    """A proxy forwards the Host that the browser requested."""
    host = urlsplit(stack.fronts[0].url).netloc
    headers = {"Origin": f"https://{host}"}

    client = await join(channel, additional_headers=headers)

    await client.until(text=await client.say())


async def test_a_frame_as_large_as_allowed_is_answered(channel: str, join: Join) -> None:
    client = await join(channel)

    await client.send_raw("x" * MAX_FRAME_SIZE)

    assert await client.refusal()
    await client.until(text=await client.say())


TOO_LARGE = "at most 16.8 MB can be sent here. It was not sent."


async def test_a_larger_message_is_answered_in_megabytes_and_costs_no_connection(channel: str, join: Join) -> None:
    client, witness = await join(channel), await join(channel, front=1)

    await client.send_raw(CANARY + "x" * 23_099_900)

    assert await client.refusal() == f"This message has 23.1 MB; {TOO_LARGE}"
    await witness.nothing_before(await client.say())


async def test_a_fragmented_message_that_grows_too_large_is_refused(channel: str, join: Join) -> None:
    client = await join(channel)
    half = "x" * (MAX_FRAME_SIZE // 2 + 1)

    await client.connection.send(iter([half, half, half]))

    assert await client.refusal() == f"This message has 25.2 MB; {TOO_LARGE}"
    await client.until(text=await client.say())


@pytest.mark.parametrize("whole", [False, True], ids=["announced", "being sent"])
async def test_an_endless_message_closes_its_connection_with_a_reason(whole: bool, channel: str, join: Join) -> None:
    # Given a registered client, and a witness
    client, witness = await join(channel, nickname="john"), await join(channel, front=1)
    await witness.count(2)

    # When the client announces more than is read even to be dropped (RFC 6455 §5.2: 127, then 64 bits of length)
    client.write_bytes(b"\x81\xff" + struct.pack(">Q", 8 * MAX_FRAME_SIZE + 1) + bytes(4))
    if whole:
        client.write_bytes(b"x" * MAX_FRAME_SIZE)

    # Then it is told why, the connection is closed for that reason, and the channel is told its exit
    assert (await client.refusal()).startswith(f"This message has 134.2 MB; {TOO_LARGE}")
    assert (await client.closed())[0] == 1009
    await witness.until(type="exiter", exiter="john")
    await witness.count(1)


@pytest.mark.parametrize("size", [64, 256])
async def test_a_message_may_come_in_many_small_fragments(size: int, channel: str, join: Join) -> None:
    """Like Autobahn's cases 9.3.1 and 9.3.2, with four megabytes."""
    client = await join(channel)
    body = json.dumps(sample("text", text="In pieces.", more="x" * (4 * 2**20)))

    await client.connection.send(body[at : at + size] for at in range(0, len(body), size))

    await client.until(text="In pieces.")


# Close frames of a client (RFC 6455 §7.4)

CLOSINGS = {
    "a code that may not be sent": (struct.pack("!H", 1006), 1002),
    "a code that is none": (struct.pack("!H", 2999), 1002),
    "half a code": (b"\x03", 1002),
    "a reason that is not UTF-8": (struct.pack("!H", 1000) + b"\xff\xfe", 1007),
    "a code of the client's own": (struct.pack("!H", 4321) + "Adiós".encode(), 4321),
}


@pytest.mark.parametrize(("payload", "code"), CLOSINGS.values(), ids=CLOSINGS)
async def test_a_close_frame_is_answered_as_it_should_be(
    payload: bytes, code: int, channel: str, join: Join, stack: Stack
) -> None:
    client, witness = await join(channel, nickname="john"), await join(channel)

    client.write_bytes(Frame(Opcode.CLOSE, payload).serialize(mask=True))

    # Then the answer is the last frame, and the channel is told that he has left
    assert (await client.closed())[0] == code
    assert not [message for message in client.received if message["type"] == "uncompliant"]
    await witness.until(type="exiter", exiter="john")
    assert "Traceback" not in stack.fronts[0].new_log()


async def test_a_ping_is_answered(channel: str, join: Join) -> None:
    client = await join(channel)

    await (await client.connection.ping(b"are you there?"))
