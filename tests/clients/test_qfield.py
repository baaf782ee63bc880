"""Scenes with QField and its QChat plugin."""

import asyncio
from typing import Any

import pytest

from tests.clients.conftest import FRESH_CHANNELS, NAMED_CHANNELS, ConnectClient
from tests.clients.qchat import QChat
from tests.clients.qfield import DEFAULT_NICKNAME, QField, shown_time
from tests.support.contract import sample, words
from tests.support.pictures import TINY_PNG
from tests.support.processes import Stack
from tests.support.rest import eventually


@pytest.mark.parametrize("end", ["", "/", " "])
async def test_it_lists_channels_and_connects_with_any_end_of_the_address(
    stack: Stack, qfield: ConnectClient, channel: str, end: str
) -> None:
    client = await qfield(channel, "jane", server=stack.fronts[0].url + end)
    await client.heard(type="newcomer", newcomer="jane")
    assert client.title_users == 1
    assert await asyncio.to_thread(client.channels) == NAMED_CHANNELS + FRESH_CHANNELS


async def test_it_chats_with_qgis(qfield: ConnectClient, qgis: ConnectClient, channel: str) -> None:
    field, desk = await qfield(channel, "fred"), await qgis(channel, "dora")
    field.say(text := words())
    assert (await desk.row(text=text)).author == "fred"
    desk.say(answer := words())
    await field.shown(text=answer)

    field.send_map(TINY_PNG)
    await desk.row(type="image", author="fred")
    shown = await field.shown(type="image")
    assert shown["image_data"]


async def test_it_shows_known_types_and_ignores_others(
    qfield: ConnectClient, qgis: ConnectClient, channel: str
) -> None:
    field, desk = await qfield(channel, "fred"), await qgis(channel, "dora")
    await desk.heard(type="newcomer", newcomer="dora")
    sent = ("image", "geojson", "crs", "bbox", "position", "model", "script")
    for type_ in sent:
        desk.send(**sample(type_, author="dora"))
    desk.say(marker := words())
    await desk.row(text=marker)
    await field.shown(text=marker)
    assert {message["type"] for message in field.history} == {"image", "bbox", "position", "text"}


async def test_clients_with_the_same_default_nickname_can_chat(
    qfield: ConnectClient, channel: str, stack: Stack
) -> None:
    """The plugin does not show the second client's refusal; when the first one leaves, the second gets the nickname."""
    first = await qfield(channel)
    await first.heard(type="newcomer", newcomer=DEFAULT_NICKNAME)
    second = await qfield(channel)
    await second.heard(type="uncompliant")
    second.say(text := words())
    assert (await first.shown(text=text))["author"] == DEFAULT_NICKNAME
    assert not [message for message in second.history if message["type"] == "uncompliant"]

    await first.disconnect()
    await second.heard(type="newcomer", newcomer=DEFAULT_NICKNAME)
    looker_on = QChat(stack.fronts[0].url, "anyone")
    looker_on.channel = channel
    await eventually(lambda: asyncio.to_thread(looker_on.users), [DEFAULT_NICKNAME])


async def test_a_disconnecting_client_leaves_once(qfield: ConnectClient, qgis: ConnectClient, channel: str) -> None:
    """It sends `exiter` and closes at once; others receive one `exiter`, not two."""
    desk = await qgis(channel, "dora")
    await desk.heard(type="newcomer", newcomer="dora")
    field = await qfield(channel, "fred")
    await desk.heard(type="newcomer", newcomer="fred")
    await field.disconnect()
    await desk.heard(type="exiter", exiter="fred")
    await desk.until(lambda: desk.title_users == 1, "the count of one")
    desk.say(marker := words())
    await desk.row(text=marker)
    assert [m["type"] for m in desk.last_words if m.get("exiter") == "fred"] == ["exiter"]


async def test_it_reconnects_with_the_same_nickname(qfield: ConnectClient, channel: str) -> None:
    first = await qfield(channel, "fred")
    await first.heard(type="newcomer", newcomer="fred")
    await first.disconnect()
    again = await qfield(channel, "fred")
    await again.heard(type="newcomer", newcomer="fred")


async def test_its_times_are_in_1970(qfield: ConnectClient, channel: str) -> None:
    """It interprets the protocol's seconds as milliseconds; sending milliseconds would break QGIS."""
    field = await qfield(channel, "fred")
    field.say(text := words())
    assert shown_time(await field.shown(text=text)).year == 1970


async def test_it_receives_the_history(qfield: ConnectClient, channel: str) -> None:
    before = await qfield(channel, "fred")
    before.say(text := words())
    await before.shown(text=text)
    after: Any = await qfield(channel, "freda")
    await after.shown(text=text)
    assert isinstance(after, QField)
