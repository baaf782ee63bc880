"""The Telegram bridge, between clients and a stand-in of the Bot API."""

import base64
import json
from typing import Any

from tests.bridges.bot_api import refusing
from tests.bridges.telegram_groups import person
from tests.bridges.telegram_stack import ALICE, TOPIC, BridgedGroups
from tests.support.admin import Admin, below
from tests.support.contract import sample, words
from tests.support.pictures import encoded, opened, quarters
from tests.support.waiting import LOOK, until


async def test_texts_and_replies_are_bridged_both_ways(telegram: BridgedGroups) -> None:
    group = telegram.group
    async with telegram.joined() as jane:
        # To the group: with the author in bold, for any script and Unicode plane
        await jane.say(text := f"שלום 𝒳 🗺️ <b>*_{words()}")
        sent = await group.until(f"jane: {text}")
        assert sent["entities"] == [{"type": "bold", "offset": 0, "length": 4}]

        # From the group: a reply, with URLs after their link texts, whose offsets count UTF-16 units
        answer = words()
        link = {"type": "text_link", "offset": 3, "length": len(answer), "url": "https://example.org/"}
        reply: dict[str, Any] = {"reply_to_message": {"message_id": sent["message_id"]}, "entities": [link]}
        message = group.say(f"🗺 {answer} ok", **reply)
        heard = await jane.until(type="text", text=f"🗺 {answer} (https://example.org/) ok")
        original = next(one for one in jane.received if one.get("text") == text)
        assert (heard["author"], heard["in_reply_to_id"]) == (ALICE, original["id"])

        # And a reply to it is a reply in the group
        await jane.send(type="text", author="jane", text=(last := words()), in_reply_to_id=heard["id"])
        assert (await group.until(f"jane: {last}"))["reply_parameters"]["message_id"] == message
        # A person who is renamed keeps the nickname
        group.say(text := words(), person(username="renamed"))
        await jane.until(type="text", text=text, author=ALICE)
        # No message came back, and none from before the bridge's start
        assert not [one for one in group.texts() if answer in one]
        assert "before the bridge was there" not in jane.texts()


async def test_pictures_and_layers_are_bridged_both_ways(telegram: BridgedGroups) -> None:
    group, api = telegram.group, telegram.api
    async with telegram.joined() as jane:
        picture = encoded(quarters(1600, 400), "PNG")
        await jane.send(**sample("image", author="jane", image_data=base64.b64encode(picture).decode()))
        shown = await jane.until(type="image", author="jane")
        assert (await group.until("jane: a picture"))["photo"] == base64.b64decode(shown["image_data"])
        # A picture that is too narrow for Telegram's photos is sent as a file
        narrow = encoded(quarters(800, 8), "PNG")
        await jane.send(**sample("image", author="jane", image_data=base64.b64encode(narrow).decode()))
        await until(lambda: any("document" in one for one in group.messages), "the picture as a file", every=LOOK)

        # From the group, the size that suffices for the channel is used, and scaled; the caption follows
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
        taken = await jane.until(type="geojson", author=ALICE)
        assert (taken["layer_name"], taken["crs_authid"]) == ("Roads 2026", "EPSG:4326")

        # A file that bots may not have is named, whatever size is stated
        jane.unread.clear()  # the history may contain a text of hers
        huge = {"file_name": "huge.png", "mime_type": "image/png"}
        group.say(document=api.upload(b"x" * 50_000_000, **huge) | {"file_size": 1})
        assert "huge.png: too large" in (await jane.until(type="text", author=ALICE))["text"]


async def test_likes_and_reactions_are_converted(telegram: BridgedGroups) -> None:
    group = telegram.group
    async with telegram.joined() as jane:
        text = await jane.say()
        message = (await group.until(f"jane: {text}"))["message_id"]
        group.react(message)
        like = await jane.until(type="like")
        assert (like["liker_author"], like["liked_author"], like["message"]) == (ALICE, "jane", text)
        # A reaction that is removed and added again is no second like
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
        # Where reactions are forbidden, a text replaces them
        telegram.api.faults["setMessageReaction"] = [refusing(400, "Bad Request: REACTION_INVALID")]
        await jane.send(type="like", liker_author="jane", liked_author=ALICE, message=said)
        assert (await group.until_reply(message))["text"] == "jane likes this."


async def test_positions_are_bridged_both_ways(telegram: BridgedGroups) -> None:
    group = telegram.group
    async with telegram.joined() as jane:
        # The second message is delayed when the API demands it, and the first is not repeated
        telegram.api.faults["sendLocation"] = [refusing(429, "Too Many Requests: retry after 1", retry_after=1)]
        lambert = {"crs_authid": "EPSG:2154", "crs_wkt": ""}
        await jane.send(**sample("position", author="jane", **lambert, x=700_000, y=6_600_000))
        told = await group.until("jane: a position, 700000 6600000 (EPSG:2154)")
        place = await group.until_reply(told["message_id"])
        assert (place["latitude"], place["longitude"]) == (46.5, 3.0)
        assert len([one for one in group.texts() if "700000 6600000" in one]) == 1

        group.say(location={"latitude": 45.76, "longitude": 4.84, "live_period": 60}, venue={"title": "Lyon"})
        there = await jane.until(type="position", author=ALICE)
        assert (there["x"], there["y"], there["crs_authid"]) == (4.84, 45.76, "EPSG:4326")
        assert there["crs_wkt"].startswith('GEOGCS["WGS 84"')
        await jane.until(type="text", text="Lyon")


async def test_edits_become_texts_and_a_moderators_deletion_deletes(telegram: BridgedGroups) -> None:
    group = telegram.group
    async with telegram.joined() as jane:
        message = group.say(text := words())
        heard = await jane.until(text=text)
        group.edit(message, text)  # Telegram also reports edits that do not change the text
        group.edit(message, better := words())
        edited = await jane.until(text=f"(edited) {better}")
        assert edited["in_reply_to_id"] == heard["id"]
        assert f"(edited) {text}" not in jane.texts()

        await jane.say(wrong := words())
        await group.until(f"jane: {wrong}")
        id = (await jane.until(text=wrong))["id"]
        await Admin(telegram.stack.fronts[0].url).act("DELETE", below("QGIS", f"messages/{id}"))
        await until(lambda: f"jane: {wrong}" not in group.texts(), "the deletion", every=LOOK)


async def test_a_topic_is_a_separate_channel(telegram: BridgedGroups) -> None:
    forum = telegram.forum
    async with telegram.joined("john", "Geotribu") as john:
        await john.say(text := words(), author="john")
        assert (await forum.until(f"john: {text}"))["message_thread_id"] == TOPIC
        forum.say(elsewhere := words())
        forum.say(in_thread := words(), message_thread_id=TOPIC)  # a reply thread, outside of topics
        forum.say(here := words(), topic=TOPIC)
        await john.until(text=here)
        assert not {elsewhere, in_thread} & set(john.texts())
    assert f"jane: {text}" not in telegram.group.texts()
