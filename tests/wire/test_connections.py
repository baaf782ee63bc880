"""Connecting and closing websockets: which channels exist, and what closes a connection.

test_browsers.py has the origins.
"""

import struct
from contextlib import suppress

from websockets.exceptions import ConnectionClosed

from tests.support.client import Client
from tests.support.contract import CANARY
from tests.support.processes import Stack
from tests.wire.conftest import NAMED_CHANNELS, Join

MAX_FRAME_SIZE = 16 * 2**20
TOO_LARGE = "at most 16.8 MB can be sent here. It was not sent."


async def test_an_unknown_channel_is_closed_after_it_is_accepted(stack: Stack, channel: str, join: Join) -> None:
    witness = await join(channel)
    for name in ("x", "Nulle part é", "100%s", "a b", "<b>", channel + "x"):
        client = await Client.connect(stack.fronts[0].url, name)
        with suppress(ConnectionClosed):
            await client.say()

        assert await client.closed() == (1008, f"Channel '{name}' does not exist.")
        reasons = [message["reason"] for message in client.received]
        assert reasons == [f"Channel '{name}' does not exist. Choose another one."]
    # A close frame contains at most 123 bytes of reason (RFC 6455 §5.5)
    code, reason = await (await Client.connect(stack.fronts[0].url, "é" * 300)).closed()
    assert (code, bool(reason)) == (1008, True)
    await witness.nothing_before(await witness.say())


async def test_a_channels_name_may_hold_what_must_be_percent_encoded(join: Join) -> None:
    for name in NAMED_CHANNELS:
        one, other = await join(name, query="?nickname=jane&x=%20"), await join(name, front=1)

        await other.until(text=await one.say())


async def test_too_large_messages_are_answered_and_an_endless_one_ends_its_connection(channel: str, join: Join) -> None:
    # Given a registered client, and a witness
    client, witness = await join(channel, nickname="john"), await join(channel, front=1)
    await witness.count(2)

    # When it sends a frame as large as allowed, and a larger one, it is told
    await client.send_raw("x" * MAX_FRAME_SIZE)
    assert await client.refusal()
    await client.send_raw(CANARY + "x" * 23_099_900)
    assert await client.refusal() == f"This message has 23.1 MB; {TOO_LARGE}"
    await witness.nothing_before(await client.say())

    # When it announces more than is read even to be dropped (RFC 6455 §5.2: 127, then 64 bits of length)
    client.write_bytes(b"\x81\xff" + struct.pack(">Q", 8 * MAX_FRAME_SIZE + 1) + bytes(4))
    client.write_bytes(b"x" * MAX_FRAME_SIZE)

    # Then it is told why, the connection is closed for that reason, and the channel is told its exit
    assert (await client.refusal()).startswith(f"This message has 134.2 MB; {TOO_LARGE}")
    assert (await client.closed())[0] == 1009
    await witness.until(type="exiter", exiter="john")
    await witness.count(1)
