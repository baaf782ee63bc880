"""The websocket's edges: who may connect, to what, and what closes a connection."""

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


@pytest.mark.parametrize("front", [0, 1])
@pytest.mark.parametrize("name", ["x", "Nulle part é", "100%s", "a b", "<b>"])
async def test_an_unknown_channel_is_accepted_and_then_closed_with_its_reason(
    name: str, front: int, stack: Stack
) -> None:
    client = await Client.connect(stack.fronts[front].url, name)

    assert await client.closed() == (1008, f"Channel '{name}' does not exist.")
    assert client.received == []


async def test_an_unknown_channel_with_an_endless_name_is_closed_too(stack: Stack) -> None:
    """A close frame holds at most 123 bytes of reason (RFC 6455 §5.5)."""
    client = await Client.connect(stack.fronts[0].url, "é" * 300)

    code, reason = await client.closed()
    assert code == 1008
    assert reason


async def test_what_is_said_to_an_unknown_channel_reaches_nobody(stack: Stack, channel: str, join: Join) -> None:
    witness = await join(channel)

    client = await Client.connect(stack.fronts[0].url, channel + "x")
    with suppress(ConnectionClosed):
        await client.say()
    assert (await client.closed())[0] == 1008

    await witness.nothing_before(await witness.say())


@pytest.mark.parametrize("name", NAMED_CHANNELS)
async def test_a_channels_name_may_hold_what_must_be_percent_encoded(name: str, join: Join) -> None:
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
    """A proxy hands on the Host that the browser asked for."""
    host = urlsplit(stack.fronts[0].url).netloc
    headers = {"Origin": f"https://{host}"}

    client = await join(channel, additional_headers=headers)

    await client.until(text=await client.say())


async def test_a_frame_as_large_as_allowed_is_answered(channel: str, join: Join) -> None:
    client = await join(channel)

    await client.send_raw("x" * MAX_FRAME_SIZE)

    assert await client.refusal()
    await client.until(text=await client.say())


async def test_a_larger_frame_closes_the_connection_and_harms_nobody_else(channel: str, join: Join) -> None:
    # Given one who is registered, and a witness
    client, witness = await join(channel, nickname="john"), await join(channel, front=1)
    await witness.count(2)

    # When that one announces a frame that is one byte larger than allowed (RFC 6455 §5.2: 127, then 64 bits of length)
    client.write_bytes(b"\x81\xff" + struct.pack(">Q", MAX_FRAME_SIZE + 1) + bytes(4))

    # Then the connection is closed for that reason, and the channel is told
    assert (await client.closed())[0] == 1009
    await witness.until(type="exiter", exiter="john")
    await witness.count(1)


async def test_who_sends_a_larger_frame_whole_learns_why_it_is_closed(channel: str, join: Join) -> None:
    client = await join(channel)

    # The close frame may come while the rest is still being sent.
    with suppress(ConnectionClosed):
        await client.send_raw(CANARY + "x" * MAX_FRAME_SIZE)

    assert (await client.closed())[0] == 1009


async def test_a_message_that_grows_too_large_in_fragments_closes_too(channel: str, join: Join) -> None:
    client = await join(channel)
    half = "x" * (MAX_FRAME_SIZE // 2 + 1)

    with suppress(ConnectionClosed):
        await client.connection.send(iter([half, half]))

    assert (await client.closed())[0] == 1009


async def test_a_ping_is_answered(channel: str, join: Join) -> None:
    client = await join(channel)

    await (await client.connection.ping(b"are you there?"))
