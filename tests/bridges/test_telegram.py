"""The Telegram bridge, between clients and a stand-in of the Bot API."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest

from tests.bridges.bot_api import TOKEN, BotApi, Group, person, refusing
from tests.bridges.conftest import bridge_of, wait_there
from tests.conftest import StackFactory, _processes
from tests.support.admin import TOKEN as ADMIN_TOKEN
from tests.support.admin import Admin, below
from tests.support.client import Client
from tests.support.contract import CANARY, sample, words
from tests.support.pictures import encoded, opened, quarters
from tests.support.processes import Process, Stack
from tests.support.waiting import LOOK, until

GROUP, FORUM, TOPIC = -1001, -1002, 5
ALICE = "alice_b-telegram"

EXPECTED_REFUSALS = {
    "getFile: Bad Request: file is too big",
    "getFile: Bad Request: invalid file_id",
    "sendPhoto: Bad Request: PHOTO_INVALID_DIMENSIONS",
    "sendMessage: Forbidden: bot was kicked from the supergroup chat",
    "getChatMember: Bad Request: group chat was upgraded to a supergroup chat",
    "sendMessage: Bad Request: group chat was upgraded to a supergroup chat",
    "getUpdates: Conflict: terminated by other getUpdates request",
}


@dataclass
class Bridged:
    """A stack whose channels are bridged with a group and a topic of a forum."""

    stack: Stack
    bridge: Process
    api: BotApi
    group: Group
    forum: Group

    @asynccontextmanager
    async def joined(self, nickname: str = "jane", channel: str = "QGIS") -> AsyncIterator[Client]:
        client = await Client.connect(self.stack.fronts[0].url, channel)
        try:
            await client.register(nickname)
            yield client
        finally:
            await client.leave()


@pytest.fixture(scope="module")
def bridged(request: pytest.FixtureRequest, open_stack: StackFactory) -> Iterator[Bridged]:
    api = BotApi()
    group, forum = api.group(GROUP), api.group(FORUM, topics=(TOPIC,))
    api.start()
    stack = open_stack(
        telegram_bridges=f"QGIS={GROUP},Geotribu={FORUM}/{TOPIC}",
        telegram_api=api.url,
        telegram_token=TOKEN,
        telegram_notices="yes",
        admin_token=ADMIN_TOKEN,
    )
    bridge = bridge_of(stack)
    try:
        with stack:
            request.config.stash[_processes].append(bridge)
            group.say("before the bridge was there")
            bridge.start()
            wait_there(bridge, "telegram")
            yield Bridged(stack, bridge, api, group, forum)
            assert bridge.stop() == 0
            stack.assert_quiet_logs()
            assert {*api.refusals} <= EXPECTED_REFUSALS  # the bridge asks for nothing that is not taken
            for secret in (TOKEN, TOKEN.partition(":")[2], CANARY, "Traceback"):
                assert secret not in bridge.whole_log()
    finally:
        bridge.kill()
        api.close()


async def test_texts_and_replies_go_both_ways(bridged: Bridged) -> None:
    group = bridged.group
    async with bridged.joined() as jane:
        # To the group: with the author in bold, whatever script and planes the text is in
        await jane.say(text := f"שלום 𝒳 🗺️ <b>*_{words()}")
        sent = await group.until(f"jane: {text}")
        assert sent["entities"] == [{"type": "bold", "offset": 0, "length": 4}]

        # From the group: as a reply, its links behind their words, which are counted in UTF-16
        answer = words()
        link = {"type": "text_link", "offset": 3, "length": len(answer), "url": "https://example.org/"}
        reply: dict[str, Any] = {"reply_to_message": {"message_id": sent["message_id"]}, "entities": [link]}
        message = group.say(f"🗺 {answer} ok", **reply)
        heard = await jane.until(type="text", text=f"🗺 {answer} (https://example.org/) ok")
        original = next(one for one in jane.received if one.get("text") == text)
        assert (heard["author"], heard["in_reply_to_id"]) == (ALICE, original["id"])

        # And an answer to that is a reply in the group
        await jane.send(type="text", author="jane", text=(last := words()), in_reply_to_id=heard["id"])
        assert (await group.until(f"jane: {last}"))["reply_parameters"]["message_id"] == message
        # Nothing came back, and nothing from before the bridge was there
        assert not [one for one in group.texts() if answer in one]
        assert "before the bridge was there" not in jane.texts()


async def test_people_are_told_apart_whatever_they_are_called(bridged: Bridged) -> None:
    async with bridged.joined() as jane:
        twins = [person(7, "", first_name="李雷"), person(8, "", first_name="李雷")]
        anonymous: dict[str, Any] = {"sender_chat": {"id": GROUP, "title": "A group"}}
        texts = [words() for _ in range(4)]
        for text, by in zip(texts, twins, strict=False):
            bridged.group.say(text, by)
        bridged.group.say(texts[2], person(1087968824, "GroupAnonymousBot"), **anonymous)
        bridged.group.say(texts[3], person(7, "renamed"))
        authors = [(await jane.until(type="text", text=text))["author"] for text in texts]
        assert all(author.startswith("telegram-") for author in authors[:2])
        assert authors[2].startswith("A-group-telegram-")
        assert len(set(authors)) == 3
        assert authors[3] == authors[0]  # a nickname is kept


async def test_pictures_and_layers_go_both_ways_as_files(bridged: Bridged) -> None:
    group, api = bridged.group, bridged.api
    async with bridged.joined() as jane:
        picture = encoded(quarters(1600, 400), "PNG")
        await jane.send(**sample("image", author="jane", image_data=base64.b64encode(picture).decode()))
        shown = await jane.until(type="image", author="jane")
        assert (await group.until("jane: a picture"))["photo"] == base64.b64decode(shown["image_data"])
        # What is too narrow for a photo of Telegram's comes as a file
        narrow = encoded(quarters(800, 8), "PNG")
        await jane.send(**sample("image", author="jane", image_data=base64.b64encode(narrow).decode()))
        await until(lambda: any("document" in one for one in group.messages), "the picture as a file", every=LOOK)

        # From the group, the size that the channel shows is taken, and scaled; the caption comes behind it
        sizes = [api.upload(b"none", width=320, height=80), api.upload(picture, width=1600, height=400)]
        group.say(caption=(caption := words()), photo=sizes)
        taken = await jane.until(type="image", author=ALICE)
        assert opened(taken["image_data"]).size == (800, 200)
        await jane.until(type="text", text=caption)

        layer = sample("geojson", author="jane", layer_name="wells")
        await jane.send(**layer)
        sent = await group.until("jane: the layer wells (1 feature, EPSG:2154)")
        assert json.loads(sent["document"])["features"] == layer["geojson"]["features"]
        collection = {"type": "FeatureCollection", "features": layer["geojson"]["features"]}
        group.say(document=api.upload(json.dumps(collection).encode(), file_name="Roads 2026.geojson"))
        assert (await jane.until(type="geojson", author=ALICE))["layer_name"] == "Roads 2026"

        # What cannot be had is named: too large for bots, whatever is said of its size; no picture; another file
        huge = {"file_name": "huge.png", "mime_type": "image/png"}
        group.say(document=api.upload(b"x" * 50_000_000, **huge) | {"file_size": 1})
        assert "huge.png: too large" in (await jane.until(type="text", author=ALICE))["text"]
        message = group.say(document=api.upload(b"no picture", **huge))
        told = await group.until_reply(message)
        assert told["text"].startswith("Not passed on to the channel QGIS: ")
        group.say(document=api.upload(b"x", file_name="plan.pdf"))
        await jane.until(type="text", text="(a file: plan.pdf)")


async def test_likes_and_reactions_are_the_same(bridged: Bridged) -> None:
    group = bridged.group
    async with bridged.joined() as jane:
        text = await jane.say()
        message = (await group.until(f"jane: {text}"))["message_id"]
        group.react(message)
        like = await jane.until(type="like")
        assert (like["liker_author"], like["liked_author"], like["message"]) == (ALICE, "jane", text)
        # Taken back and given again, it is no second one
        group.react(message, ("🔥",), ())
        group.react(message)
        group.say(marker := words())
        await jane.until(text=marker)
        assert len([one for one in jane.received if one["type"] == "like"]) == 1

        message = group.say(said := words())
        await jane.until(text=said)
        await jane.send(type="like", liker_author="jane", liked_author=ALICE, message=said)
        await until(lambda: group.reactions, "the reaction", every=LOOK)
        assert group.reactions[0]["message_id"] == message
        # Where reactions are forbidden, words say it
        bridged.api.faults["setMessageReaction"] = [refusing(400, "Bad Request: REACTION_INVALID")]
        await jane.send(type="like", liker_author="jane", liked_author=ALICE, message=said)
        assert (await group.until_reply(message))["text"] == "jane likes this."


async def test_places_go_both_ways(bridged: Bridged) -> None:
    group = bridged.group
    async with bridged.joined() as jane:
        # A second message waits when the API wants that, and the first is not repeated
        bridged.api.faults["sendLocation"] = [refusing(429, "Too Many Requests: retry after 1", retry_after=1)]
        lambert = {"crs_authid": "EPSG:2154", "crs_wkt": ""}
        await jane.send(**sample("position", author="jane", **lambert, x=700_000, y=6_600_000))
        told = await group.until("jane: a position, 700000 6600000 (EPSG:2154)")
        place = await group.until_reply(told["message_id"])
        assert (place["latitude"], place["longitude"]) == (46.5, 3.0)
        assert len([one for one in group.texts() if "700000 6600000" in one]) == 1

        group.say(location={"latitude": 45.76, "longitude": 4.84, "live_period": 60}, venue={"title": "Lyon"})
        there = await jane.until(type="position", author=ALICE)
        assert (there["x"], there["y"], there["crs_authid"]) == (4.84, 45.76, "EPSG:4326")
        await jane.until(type="text", text="Lyon")


async def test_edits_come_as_texts_and_a_moderator_deletes(bridged: Bridged) -> None:
    group = bridged.group
    async with bridged.joined() as jane:
        message = group.say(text := words())
        heard = await jane.until(text=text)
        group.edit(message, text)  # Telegram tells of edits that change no word
        group.edit(message, better := words())
        edited = await jane.until(text=f"(edited) {better}")
        assert edited["in_reply_to_id"] == heard["id"]
        assert f"(edited) {text}" not in jane.texts()

        await jane.say(wrong := words())
        await group.until(f"jane: {wrong}")
        id = (await jane.until(text=wrong))["id"]
        await Admin(bridged.stack.fronts[0].url).act("DELETE", below("QGIS", f"messages/{id}"))
        await until(lambda: f"jane: {wrong}" not in group.texts(), "the deletion", every=LOOK)


async def test_who_is_banned_does_not_come_back_under_another_nickname(bridged: Bridged) -> None:
    group, admin = bridged.group, Admin(bridged.stack.fronts[0].url)
    mallory = person(666, "mallory")
    async with bridged.joined() as jane:
        # Given somebody who was here, and has been banned since
        group.say(text := words(), mallory)
        await jane.until(type="text", text=text, author="mallory-telegram")
        group.say(left_chat_member=mallory)
        await jane.until(type="exiter", exiter="mallory-telegram")
        ban = await admin.act("POST", "bans", {"nickname": "mallory-telegram"})
        await jane.say(marker := words())
        await group.until(f"jane: {marker}")
        # When they say something again, they are told why nobody hears it
        message = group.say(again := words(), mallory)
        assert (await group.until_reply(message))["text"].startswith("Not passed on to the channel QGIS: ")
        group.say(marker := words())
        await jane.until(text=marker)
        assert again not in jane.texts()
        await admin.act("DELETE", f"bans/{ban['id']}")


async def test_a_topic_is_a_channel_of_its_own(bridged: Bridged) -> None:
    forum = bridged.forum
    async with bridged.joined("john", "Geotribu") as john:
        await john.say(text := words(), author="john")
        assert (await forum.until(f"john: {text}"))["message_thread_id"] == TOPIC
        forum.say(elsewhere := words())
        forum.say(in_thread := words(), message_thread_id=TOPIC)  # a row of replies, outside of topics
        forum.say(here := words(), topic=TOPIC)
        await john.until(text=here)
        assert not {elsewhere, in_thread} & set(john.texts())
    assert f"jane: {text}" not in bridged.group.texts()


async def test_what_is_said_while_the_bot_is_thrown_out_waits(bridged: Bridged) -> None:
    bridged.group.status = "kicked"
    async with bridged.joined() as jane:
        await jane.say(text := words())
        said = "403 Forbidden: bot was kicked from the supergroup chat: the bot may not write in the group"
        await until(lambda: said in bridged.bridge.whole_log(), said, every=LOOK)
        bridged.group.status = "administrator"
        await bridged.group.until(f"jane: {text}")


async def test_a_group_that_becomes_a_supergroup_stays_bridged(bridged: Bridged) -> None:
    new = bridged.api.group(-1003)
    bridged.group.moved_to = new.id
    async with bridged.joined() as jane:
        await jane.say(text := words())
        await new.until(f"jane: {text}")
        new.say(answer := words())
        await jane.until(text=answer)
    assert "write -1003 for -1001 in TELEGRAM_BRIDGES" in bridged.bridge.whole_log()
    bridged.group = new
    # Somebody who comes and goes is told, where that is wanted
    async with bridged.joined("newton") as newton:
        await new.until("newton has joined the channel.")
        new.say(new_chat_members=[person(77, "bob99")])
        await newton.until(type="newcomer", newcomer="bob99-telegram")
        new.say(left_chat_member=person(77, "bob99"))
        await newton.until(type="exiter", exiter="bob99-telegram")


GARBAGE: list[dict[str, Any]] = [
    {},
    {"message": 7},
    {"message": {"chat": {"id": []}, "from": {"id": 1}, "text": "x"}},
    {"message": {"chat": {"id": GROUP}}},
    {"message": {"chat": {"id": -9, "title": "Somebody else's"}, "from": {"id": 1}, "message_id": 1, "text": CANARY}},
    {"edited_message": {"chat": {"id": GROUP}, "from": {"id": 1}, "message_id": 1, "text": "x"}},
    {"message_reaction": {"chat": {"id": GROUP}, "message_id": 1, "new_reaction": 3}},
    {"message_reaction": {"chat": {"id": GROUP}, "message_id": 1, "new_reaction": [3], "user": "x"}},
]
CONTENTS: list[dict[str, Any]] = [
    {"photo": [{"file_id": "nothing", "width": "x"}, 3]},
    {"photo": []},
    {"document": {"file_id": 3, "file_name": ["x.geojson"]}},
    {"document": {"file_id": "nothing", "file_name": "../../etc/passwd.geojson"}},
    {"location": {"latitude": 1e308, "longitude": "x"}},
    {"location": {"latitude": 10**400, "longitude": 4}},
    {"sticker": {"emoji": 3}},
    {"poll": []},
    {"text": "x" * 100_000},
    {"text": "\u200b"},
    {"text": "ab", "entities": [{"type": "text_link", "offset": 1, "length": 10**30, "url": "https://x"}, 7]},
    {"text": "ab", "reply_to_message": {"message_id": "x"}, "sender_chat": 3},
    {"unknown": {"kind": True}},
]


async def test_updates_of_any_shape_do_no_harm(bridged: Bridged) -> None:
    async with bridged.joined() as jane:
        for update in GARBAGE:
            bridged.api.tell(**update)
        for content in CONTENTS:
            bridged.group.say(**content)
        bridged.group.say(marker := words())
        await jane.until(text=marker)
    assert "not bridged: -9" in bridged.bridge.whole_log()
    assert "could not be read" not in bridged.bridge.whole_log()


async def test_everything_comes_in_order_whatever_fails(bridged: Bridged) -> None:
    group, api = bridged.group, bridged.api
    async with bridged.joined() as jane:
        from_qgis = [f"q{number:02} {words()}" for number in range(15)]
        from_group = [f"g{number:02} {words()}" for number in range(15)]

        async def break_things() -> None:
            for process in (bridged.bridge, bridged.stack.light[0]):
                await asyncio.to_thread(process.kill)
                await asyncio.to_thread(process.start)
            await asyncio.to_thread(api.stop)
            await asyncio.to_thread(api.start)
            api.faults["sendMessage"] = [
                refusing(429, "Too Many Requests: retry after 1", retry_after=1),
                refusing(502, f"Bad Gateway {TOKEN}"),
                lambda handler: handler.write("[" * 1000),
                lambda handler: handler.redirect("http://127.0.0.1:1/"),
            ]
            api.faults["getUpdates"] = [
                refusing(409, "Conflict: terminated by other getUpdates request"),
                refusing(401, f"Unauthorized: {TOKEN}"),
                lambda handler: handler.write({"ok": True, "result": "nonsense"}),
            ]

        async def talk_in_qgis() -> None:
            for text in from_qgis:
                await jane.say(text)
                await group.until(f"jane: {text}")

        async def talk_in_the_group() -> None:
            for text in from_group:
                group.say(text)
                await asyncio.sleep(0)

        await asyncio.gather(break_things(), talk_in_qgis(), talk_in_the_group())
        for text in from_group:
            assert (await jane.until(type="text", text=text))["author"] == ALICE
        assert [text for text in jane.texts() if text in from_group] == from_group
        expected = [f"jane: {text}" for text in from_qgis]
        # Telegram cannot be asked what it has taken: what was on its way when the bridge was killed may come twice.
        assert [text for text, _ in groupby(text for text in group.texts() if text in expected)] == expected
        assert not [text for text in group.texts() if text in from_group]


async def test_a_bridge_that_is_stopped_goes_on_where_it_was(bridged: Bridged) -> None:
    async with bridged.joined() as jane:
        assert await bridged.bridge.stopped() == 0
        texts, answers = [await jane.say() for _ in range(3)], [words() for _ in range(3)]
        for answer in answers:
            bridged.group.say(answer)
        bridged.bridge.start()
        await bridged.group.until(f"jane: {texts[-1]}")
        await jane.until(text=answers[-1])
        assert [text for text in jane.texts() if text in answers] == answers
        assert [one for one in bridged.group.texts() if one.removeprefix("jane: ") in texts] == [
            f"jane: {text}" for text in texts
        ]
