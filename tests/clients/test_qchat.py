"""Scenes with QGIS and the QChat plugin: what it requires, and what its user sees."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.conftest import FRESH_CHANNELS, NAMED_CHANNELS, ConnectClient
from tests.clients.qchat import TEMP, QChat, written
from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import words
from tests.support.layers import feature, layer, point
from tests.support.processes import Stack
from tests.support.rest import eventually
from tests.support.settings import settings

CRS = {"crs_wkt": 'GEOGCRS["WGS 84"]', "crs_authid": "EPSG:4326"}
JANE = {"author": "jane", "avatar": None}


# --- lists ---


@pytest.mark.parametrize("end", ["", "/"])
async def test_the_dock_lists_channels_rules_status_and_users(
    stack: Stack, end: str, qgis: ConnectClient, channel: str
) -> None:
    address = stack.fronts[0].url + end
    client = await qgis(channel, instance=address)
    await client.heard(type="newcomer", newcomer="jane")

    assert client.open_dock() == NAMED_CHANNELS + FRESH_CHANNELS
    assert client.rules() == "Be kind. en 255 3 32"
    assert client.status().keys() == {*NAMED_CHANNELS, *FRESH_CHANNELS}
    await eventually(lambda: asyncio.to_thread(client.users), ["jane"])


async def test_qgis_caches_no_answers(stack: Stack) -> None:
    """QGIS never revalidates cached answers, so it would show today's channels and rules for ever."""
    client = QChat(stack.fronts[0].url, "jane")
    await asyncio.to_thread(client.open_dock)
    assert not client.disk


async def test_it_chats_in_channels_of_any_name(qgis: ConnectClient) -> None:
    for channel in NAMED_CHANNELS:
        jane, john = await qgis(channel, "jane"), await qgis(channel, "john")
        jane.say(text := words())
        assert (await john.row(text=text)).author == "jane"
        await jane.row(text=text)
        await jane.until(lambda jane=jane: jane.completions == ["john"], "john to be completed")


# --- nicknames ---


async def test_after_a_fronts_death_the_same_nickname_can_be_registered(start_stack: StackFactory) -> None:
    stack = start_stack(channels="QGIS", heavy=0, fronts=1)
    url = stack.fronts[0].url
    before = QChat(url, "jane")
    await before.connect("QGIS")
    await before.heard(type="newcomer", newcomer="jane")
    await asyncio.to_thread(stack.fronts[0].kill)
    await before.ended()

    stack.fronts[0].start()
    await asyncio.to_thread(stack.wait_healthy, stack.fronts[0])
    back = QChat(url, "jane")
    await back.connect("QGIS")
    await back.heard(type="newcomer", newcomer="jane")
    assert not back.red_bars
    assert await asyncio.to_thread(back.users) == ["jane"]
    await back.close()


async def test_the_last_user_count_arrives_and_completions_are_right(
    stack: Stack, qgis: ConnectClient, channel: str
) -> None:
    """It requests the list of users at each `nb_users`; the server omits some of them, but never the last."""
    people = [f"person-{number:02}" for number in range(12)]
    clients = [await qgis(channel, nickname) for nickname in people]
    for nickname in people:
        await clients[0].heard(type="newcomer", newcomer=nickname)
    incognito = await Client.connect(stack.fronts[0].url, channel)
    for client in clients:
        others = [nickname for nickname in people if nickname != client.nickname]
        await client.until(lambda c=client: c.title_users == len(people) + 1, "the count of all")
        await client.until(lambda c=client, o=others: c.completions == o, f"{client.nickname}'s completions")
    await incognito.leave()


# --- ends of connections ---


async def test_a_client_that_was_silent_too_long_reads_why_it_was_closed(start_stack: StackFactory) -> None:
    stack = start_stack(channels="QGIS", heavy=0, ws_ping_interval=1, ws_ping_timeout=3)
    asleep, other = (QChat(stack.fronts[0].url, nickname) for nickname in ("jane", "john"))
    await other.connect("QGIS")
    await asleep.connect("QGIS")
    await other.heard(type="newcomer", newcomer="jane")
    with asleep.held():
        await other.heard(type="exiter", exiter="jane")
    assert "connect again" in await asleep.red_bar()
    await asleep.ended()
    await other.close()


async def test_a_too_large_message_is_refused_and_the_connection_stays(qgis: ConnectClient, channel: str) -> None:
    client = await qgis(channel)
    most = settings().max_frame_size
    client.send_message("image", **JANE, image_data="A" * most)
    assert "MB" in await client.red_bar()
    client.say(text := words())
    await client.row(text=text)


async def test_a_busy_qgis_is_not_disconnected(start_stack: StackFactory) -> None:
    """A processing run blocks its GUI thread for 24 s; here everything is ten times as fast, in proportion."""
    usual, faster = settings(), 10
    scaled = {name: getattr(usual, name) / faster for name in ("ws_ping_interval", "ws_ping_timeout")}
    stack = start_stack(channels="QGIS", heavy=0, **scaled)
    busy, other = (QChat(stack.fronts[0].url, nickname) for nickname in ("jane", "john"))
    await other.connect("QGIS")
    await busy.connect("QGIS")
    await other.heard(type="newcomer", newcomer="jane")
    with busy.held():
        await asyncio.sleep(24 / faster)
    busy.say(text := words())
    await busy.row(text=text)
    assert (await other.row(text=text)).author == "jane"
    assert not any(message["type"] == "exiter" for message in other.last_words)
    await busy.close()
    await other.close()


# --- names that become files ---

NASTY_NAMES = [
    "../../.config/autostart/x",
    "/etc/passwd",
    "C:\\Users\\jane\\x",
    "..\\..\\x",
    ".bashrc",
    "..",
    "a\nb",
    "a\x00b",
    "roads/2024",
    "CON",
    "wells ",
    "wells\u202egnp",
]
NAMED: dict[str, Callable[[str], dict[str, Any]]] = {
    "geojson": lambda name: {"layer_name": name, **CRS, "geojson": layer([feature(point(6.1, 46.2))]), "style": None},
    "model": lambda name: {"model_name": name, "model_group": None, "raw_xml": "<!DOCTYPE model>"},
    "script": lambda name: {"name": name, "raw_pycode": "# nothing"},
}


@pytest.mark.parametrize("type_", NAMED)
async def test_for_any_name_the_plugin_writes_only_into_its_directory(
    qgis: ConnectClient, channel: str, type_: str
) -> None:
    jane, john = await qgis(channel, "jane"), await qgis(channel, "john")
    for name in NASTY_NAMES:
        message_id = jane.send_message(type_, **JANE, **NAMED[type_](name))
        for client in (jane, john):  # the sender's echo has the changed name
            for path in written(await client.row(id=message_id)):
                assert path.parent == TEMP, name
                assert not path.name.startswith(".")
                assert "\\" not in path.name
                assert ":" not in path.name
                assert path.stem.upper() not in ("CON", "CON_STYLE")
                assert path.stem.removesuffix("_style") == path.stem.removesuffix("_style").strip()
                assert path.name.isprintable(), name


# --- other clients ---


async def test_the_plugin_can_show_a_bots_messages(stack: Stack, qgis: ConnectClient, channel: str) -> None:
    """They lack optional keys and have unknown ones; the plugin's dataclasses must accept the published messages."""
    jane = await qgis(channel)
    await jane.heard(type="newcomer", newcomer="jane")
    bot = await Client.connect(stack.fronts[0].url, channel)
    await bot.send(type="text", author="bot", text=(text := words()), colour="red")
    await bot.send(type="geojson", author="bot", layer_name="wells", **CRS, geojson=layer([]), more={"a": 1})
    await jane.row(text=text)
    await jane.row(layer_name="wells")
    await bot.leave()


async def test_a_front_that_dies_ends_the_connection_without_a_reason(start_stack: StackFactory) -> None:
    """The model notices the end as the plugin does; otherwise the scenes above could pass for the wrong reason."""
    stack = start_stack(channels="QGIS", heavy=0)
    client = QChat(stack.fronts[0].url, "jane")
    await client.connect("QGIS")
    await client.heard(type="newcomer", newcomer="jane")
    stack.fronts[0].signal(signal.SIGKILL)
    await client.ended()
    assert not client.red_bars
    await asyncio.to_thread(stack.fronts[0].kill)
