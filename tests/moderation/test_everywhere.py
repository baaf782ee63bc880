"""Requests that concern all channels and all fronts of an instance."""

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.support.admin import Admin
from tests.support.client import Client
from tests.support.contract import words
from tests.support.processes import Stack


@pytest.fixture
def admin(io_loop: IOLoop, house: Stack) -> Iterator[Admin]:
    client = Admin(house.fronts[0].url)
    yield client
    client.close()


async def test_an_announcement_to_all_arrives_in_all_channels(house: Stack, admin: Admin) -> None:
    clients = [await Client.connect(house.fronts[0].url, "QGIS"), await Client.connect(house.fronts[1].url, "Geotribu")]
    answer = await admin.act("POST", "announcements", {"text": (text := words())})
    ids = {one["channel"]: one["id"] for one in answer["published"]}
    assert list(ids) == ["QGIS", "Geotribu"]
    for client, channel in zip(clients, ids, strict=True):
        assert (await client.until(author="gischat", text=text))["id"] == ids[channel]
        await client.leave()


async def test_a_front_that_does_not_answer_is_named(house: Stack, admin: Admin) -> None:
    clients = [await Client.connect(front.url, "QGIS") for front in house.fronts]
    for client in clients:
        await client.until(type="nb_users")
    whole = await admin.act("GET", "connections")
    # When a front hangs
    house.fronts[1].freeze()
    try:
        part = await admin.act("GET", "connections")
    finally:
        house.fronts[1].wake()
    # Then the list names the front as missing
    assert (len(whole["fronts"]), len(whole["connections"]), whole["missing"]) == (2, 2, [])
    (answering,) = [front["front"] for front in part["fronts"]]
    assert [one["front"] for one in part["connections"]] == [answering]
    assert {answering, *part["missing"]} == {front["front"] for front in whole["fronts"]}
    for client in clients:
        await client.leave()


async def test_a_new_front_knows_the_restrictions_of_its_channels(house: Stack, admin: Admin) -> None:
    await admin.act("POST", "bans", {"nickname": "pest", "seconds": 600})
    await admin.act("PUT", "channels/Geotribu/freeze")
    # When a front is restarted
    house.fronts[1].restart()
    house.wait_healthy(house.fronts[1])
    # Then it enforces the earlier restrictions
    client = await Client.connect(house.fronts[1].url, "QGIS")
    await client.say(author="Pest")
    assert "banned" in await client.refusal()
    reader = await Client.connect(house.fronts[1].url, "Geotribu")
    await reader.say()
    assert "frozen" in await reader.refusal()
    await admin.act("DELETE", "bans/pest")
    await admin.act("DELETE", "channels/Geotribu/freeze")
    for one in (client, reader):
        await one.until(text=await one.say())
        await one.leave()
