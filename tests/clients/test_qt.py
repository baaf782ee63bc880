"""Real Qt against the server: QUrl's encoding, QWebSocket's pings and closes, QNetworkAccessManager's replies."""

import asyncio
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.conftest import CHANNELS, NAMED, StartQt
from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import words
from tests.support.pictures import as_base64, encoded, opened
from tests.support.processes import Stack
from tests.support.settings import settings

QT_FRAME_SIZE = 512 * 1024  # the size of frames into which larger messages are divided


def websocket_url(stack: Stack, channel: str, between: str = "/") -> str:
    """The address as the plugins compose it, with the channel's name unencoded."""
    return f"{stack.fronts[0].url}{between}channel/{channel}/ws".replace("http", "ws", 1)


@pytest.mark.parametrize("between", ["/", "//"])
async def test_channels_of_any_name_are_listed_and_can_be_joined(qt: StartQt, stack: Stack, between: str) -> None:
    url, client = stack.fronts[0].url, await qt()
    reply = await client.get(f"{url}{between}channels?utm_source=QGIS", Accept="application/json")
    assert (reply.status, reply.content_type, reply.error) == (200, "application/json", "")
    assert json.loads(reply.body) == CHANNELS
    for channel in NAMED:
        client = await qt()
        await client.open(websocket_url(stack, channel, between))
        client.send(type="newcomer", newcomer="zora")
        await client.message(type="newcomer", newcomer="zora")
        client.send(type="text", author="zora", text=(text := words()))
        await client.message(type="text", text=text)
        reply = await client.get(f"{url}{between}channel/{channel}/users")
        assert (reply.status, reply.content_type, reply.body) == (200, "application/json", '["zora"]')
        client.send(type="exiter", exiter="zora")
        await client.message(type="exiter", exiter="zora")
        client.do("close")
        assert (await client.until(event="disconnected"))["code"] == 1000


async def test_qt_reads_refusals(qt: StartQt, stack: Stack) -> None:
    client = await qt()
    reply = await client.get(f"{stack.fronts[0].url}/channel/nowhere/users")
    assert (reply.status, reply.content_type) == (404, "application/json")
    assert json.loads(reply.body) == {"detail": "Channel 'nowhere' not registered"}
    await client.open(websocket_url(stack, "Nowhere"))
    assert "Nowhere" in (await client.message(type="uncompliant"))["reason"]
    ending = await client.until(event="disconnected")
    assert (ending["code"], ending["reason"]) == (1008, "Channel 'Nowhere' does not exist.")


async def test_a_blocked_event_loop_is_waited_for_and_told_when_it_took_too_long(
    qt: StartQt, start_stack: StackFactory, tmp_path: Path
) -> None:
    # Given pings ten times as fast as usual, none of which is answered during a processing run
    usual, faster = settings(), 10
    scaled = {name: getattr(usual, name) / faster for name in ("ws_ping_interval", "ws_ping_timeout")}
    stack = start_stack(channels="QGIS", heavy=0, **scaled)
    other, client = await Client.connect(stack.fronts[0].url, "QGIS"), await qt()
    await client.open(websocket_url(stack, "QGIS"))
    client.send(type="newcomer", newcomer="jane")
    await client.message(type="newcomer", newcomer="jane")

    # When it is one of 24 s, then Qt is still connected
    client.do("hold", until=str(tmp_path / "short"))
    await asyncio.sleep(24 / faster)
    (tmp_path / "short").touch()
    client.send(type="text", author="jane", text=(text := words()))
    await client.message(type="text", text=text)

    # When it is one without end, then Qt is told why it was disconnected
    client.do("hold", until=str(tmp_path / "long"))
    await other.until(type="exiter", exiter="jane")
    (tmp_path / "long").touch()
    assert "connect again" in (await client.message(type="uncompliant"))["reason"]
    await client.until(event="disconnected")
    await other.leave()


async def test_it_receives_the_reason_before_the_server_closes(qt: StartQt, stack: Stack) -> None:
    client = await qt()
    await client.open(websocket_url(stack, "QGIS"))
    await client.message(type="nb_users")
    front = stack.fronts[0]
    await front.stopped()
    assert "connect again" in (await client.message(type="uncompliant"))["reason"]
    assert (await client.until(event="disconnected"))["code"] == 1001
    front.start()
    stack.wait_healthy(front)


async def test_a_photo_in_qwebsockets_frames_is_published(qt: StartQt, stack: Stack, channel: str) -> None:
    noise = as_base64(encoded(Image.effect_noise((1400, 1000), 100), "PNG"))
    assert len(noise) > 3 * QT_FRAME_SIZE
    client = await qt()
    await client.open(websocket_url(stack, channel))
    client.send(type="image", author="jane", image_data=noise)
    echo = await client.message(type="image", author="jane")
    assert max(opened(echo["image_data"]).size) == settings().max_image_size
