"""Real Qt against the server: QUrl's encoding, QWebSocket's pings and closes, QNetworkAccessManager's replies."""

import json
from collections.abc import Awaitable, Callable

import pytest
from PIL import Image

from tests.clients.conftest import FRESH_CHANNELS, NAMED_CHANNELS
from tests.clients.qt import Qt
from tests.conftest import StackFactory
from tests.support.contract import words
from tests.support.pictures import as_base64, encoded, opened
from tests.support.processes import Stack
from tests.support.settings import settings

QT_FRAME_SIZE = 512 * 1024  # the size of frames into which larger messages are divided

StartQt = Callable[[], Awaitable[Qt]]


def websocket_url(stack: Stack, channel: str, between: str = "/") -> str:
    """The address as the plugins compose it, with the channel's name unencoded."""
    return f"{stack.fronts[0].url}{between}channel/{channel}/ws".replace("http", "ws", 1)


@pytest.mark.parametrize("between", ["/", "//"])
@pytest.mark.parametrize("channel", NAMED_CHANNELS)
async def test_channels_of_any_name_can_be_joined(qt: StartQt, stack: Stack, channel: str, between: str) -> None:
    client = await qt()
    await client.open(websocket_url(stack, channel, between))
    client.send(type="text", author="jane", text=(text := words()))
    message = await client.message(type="text", text=text)
    assert message["author"] == "jane"


@pytest.mark.parametrize("slashes", ["/", "//"])
async def test_qnetworkaccessmanager_reads_the_list(qt: StartQt, stack: Stack, slashes: str) -> None:
    client = await qt()
    reply = await client.get(f"{stack.fronts[0].url}{slashes}channels?utm_source=QGIS", Accept="application/json")
    assert (reply.status, reply.content_type, reply.error) == (200, "application/json", "")
    assert json.loads(reply.body) == NAMED_CHANNELS + FRESH_CHANNELS


async def test_users_of_a_channel_with_blanks_and_accents_are_listed(qt: StartQt, stack: Stack) -> None:
    client = await qt()
    await client.open(websocket_url(stack, "Été à la mer"))
    client.send(type="newcomer", newcomer="zora")
    await client.message(type="newcomer", newcomer="zora")
    reply = await client.get(f"{stack.fronts[0].url}/channel/Été à la mer/users")
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert "zora" in json.loads(reply.body)


async def test_qt_can_read_an_error(qt: StartQt, stack: Stack) -> None:
    client = await qt()
    reply = await client.get(f"{stack.fronts[0].url}/channel/nowhere/users")
    assert (reply.status, reply.content_type) == (404, "application/json")
    assert json.loads(reply.body) == {"detail": "Channel 'nowhere' not registered"}


async def test_a_client_with_a_blocked_event_loop_is_not_disconnected(qt: StartQt, start_stack: StackFactory) -> None:
    """A processing run of 24 s, ten times as fast, during which no ping is answered."""
    usual, faster = settings(), 10
    scaled = {name: getattr(usual, name) / faster for name in ("ws_ping_interval", "ws_ping_timeout")}
    stack = start_stack(channels="QGIS", heavy=0, **scaled)
    client = await qt()
    await client.open(websocket_url(stack, "QGIS"))
    await client.message(type="nb_users")
    client.do("hold", seconds=24 / faster)
    await client.until(event="released")
    client.send(type="text", author="jane", text=(text := words()))
    await client.message(type="text", text=text)


async def test_it_receives_the_reason_before_the_server_closes(qt: StartQt, start_stack: StackFactory) -> None:
    stack = start_stack(channels="QGIS", heavy=0)
    client = await qt()
    await client.open(websocket_url(stack, "QGIS"))
    await client.message(type="nb_users")
    await stack.fronts[0].stopped()
    assert "connect again" in (await client.message(type="uncompliant"))["reason"]
    assert (await client.until(event="disconnected"))["code"] == 1001


async def test_an_unknown_channel_is_refused_and_closed_with_1008(qt: StartQt, stack: Stack) -> None:
    client = await qt()
    await client.open(websocket_url(stack, "Nowhere"))
    assert "Nowhere" in (await client.message(type="uncompliant"))["reason"]
    ending = await client.until(event="disconnected")
    assert (ending["code"], ending["reason"]) == (1008, "Channel 'Nowhere' does not exist.")


async def test_a_photo_in_qwebsockets_frames_is_published(qt: StartQt, stack: Stack, channel: str) -> None:
    noise = as_base64(encoded(Image.effect_noise((1400, 1000), 100), "PNG"))
    assert len(noise) > 3 * QT_FRAME_SIZE
    client = await qt()
    await client.open(websocket_url(stack, channel))
    client.send(type="image", author="jane", image_data=noise)
    echo = await client.message(type="image", author="jane")
    assert max(opened(echo["image_data"]).size) == settings().max_image_size


async def test_it_closes_with_the_closing_handshake(qt: StartQt, stack: Stack, channel: str) -> None:
    client = await qt()
    await client.open(websocket_url(stack, channel))
    await client.message(type="nb_users")
    client.do("close")
    assert (await client.until(event="disconnected"))["code"] == 1000
