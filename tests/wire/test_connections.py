"""Connecting and closing websockets: who may connect, and what closes a connection."""

import struct
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.client import Client
from tests.support.contract import CANARY
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


async def test_a_browser_on_another_site_is_refused(stack: Stack, channel: str, join: Join) -> None:
    witness = await join(channel)

    with pytest.raises(InvalidStatus) as refused:
        await Client.connect(stack.fronts[0].url, channel, origin="http://evil.example")

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


async def test_an_endless_message_closes_its_connection_with_a_reason(channel: str, join: Join) -> None:
    # Given a registered client, and a witness
    client, witness = await join(channel, nickname="john"), await join(channel, front=1)
    await witness.count(2)

    # When the client announces more than is read even to be dropped (RFC 6455 §5.2: 127, then 64 bits of length)
    client.write_bytes(b"\x81\xff" + struct.pack(">Q", 8 * MAX_FRAME_SIZE + 1) + bytes(4))
    client.write_bytes(b"x" * MAX_FRAME_SIZE)

    # Then it is told why, the connection is closed for that reason, and the channel is told its exit
    assert (await client.refusal()).startswith(f"This message has 134.2 MB; {TOO_LARGE}")
    assert (await client.closed())[0] == 1009
    await witness.until(type="exiter", exiter="john")
    await witness.count(1)
