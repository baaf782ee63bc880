"""The Matrix bridge, between clients and a real Synapse."""

import base64
import contextlib
from typing import Any

from tornado.httpclient import HTTPError

from tests.bridges.conftest import Bridged
from tests.support.admin import Admin, below
from tests.support.contract import sample, words
from tests.support.pictures import encoded, opened, quarters


async def test_texts_and_replies_are_bridged_both_ways(bridged: Bridged) -> None:
    async with bridged.joined("jane") as jane:
        # Given a text from QGIS
        text = await jane.say()
        in_the_room = await bridged.alice.until(body=f"jane: {text}")
        assert in_the_room["sender"] == bridged.bot.user

        # When alice replies in the room as clients do: formatted, and with the old quotation
        answer = words()
        formatted = {"format": "org.matrix.custom.html", "formatted_body": f"<mx-reply>x</mx-reply><b>{answer}</b>"}
        reply = {"m.relates_to": {"m.in_reply_to": {"event_id": in_the_room["event_id"]}}}
        event = await bridged.alice.say(f"> <@bot> jane: {text}\n\n**{answer}**", **formatted, **reply)

        # Then it is a reply to that text, by a registered nickname that names the homeserver
        heard = await jane.until(type="text", text=answer)
        said = next(m for m in jane.received if m.get("text") == text)
        assert (heard["author"], heard["in_reply_to_id"]) == (bridged.alice.nickname, said["id"])

        # And a reply to it is a reply in the room
        await jane.send(type="text", author="jane", text=(last := words()), in_reply_to_id=heard["id"])
        found = await bridged.alice.until(body=f"jane: {last}")
        assert found["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": event}}
        # And no message of the room has come back to it
        assert not [body for body in bridged.alice.bodies() if body.endswith(f": {answer}")]


async def test_pictures_are_bridged_both_ways(bridged: Bridged) -> None:
    async with bridged.joined("jane") as jane:
        # To the room: the published picture, with its size
        picture = encoded(quarters(1600, 400), "PNG")
        await jane.send(**sample("image", author="jane", image_data=base64.b64encode(picture).decode()))
        shown = await jane.until(type="image", author="jane")
        content = (await bridged.alice.until(msgtype="m.image"))["content"]
        assert (content["body"], content["info"]["w"], content["info"]["h"]) == ("jane: a picture", 800, 200)
        assert await bridged.alice.download(content["url"]) == base64.b64decode(shown["image_data"])

        # From the room: scaled, and with its caption
        url = await bridged.alice.upload(picture, "image/png")
        caption = words()
        await bridged.alice.send(msgtype="m.image", body=caption, filename="field.png", url=url, info={"size": 1})
        taken = await jane.until(type="image", author=bridged.alice.nickname)
        assert opened(taken["image_data"]).size == (800, 200)
        await jane.until(type="text", text=caption)


async def test_likes_and_reactions_are_converted(bridged: Bridged) -> None:
    async with bridged.joined("jane") as jane:
        # A reaction to jane's message becomes a like
        text = await jane.say()
        event = (await bridged.alice.until(body=f"jane: {text}"))["event_id"]
        relation = {"rel_type": "m.annotation", "event_id": event, "key": "👍"}
        await bridged.alice.send("m.reaction", **{"m.relates_to": relation})
        like = await jane.until(type="like")
        assert (like["liker_author"], like["liked_author"], like["message"]) == (bridged.alice.nickname, "jane", text)

        # A like of a message from the room becomes a reaction
        said = words()
        event = await bridged.alice.say(said)
        await jane.until(text=said)
        await jane.send(type="like", liker_author="jane", liked_author=bridged.alice.nickname, message=said)
        expected = {"rel_type": "m.annotation", "event_id": event, "key": "👍 jane"}
        await bridged.alice.until(**{"m.relates_to": expected})


async def test_edits_become_texts_and_deletions_delete(bridged: Bridged) -> None:
    async with bridged.joined("jane") as jane:
        event = await bridged.alice.say(text := words())
        heard = await jane.until(text=text)
        edit = {"m.new_content": {"msgtype": "m.text", "body": "better"}}
        relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": event}}
        await bridged.alice.say("* better", **edit, **relation)
        edited = await jane.until(text="(edited) better")
        assert edited["in_reply_to_id"] == heard["id"]

        await bridged.alice.redact(event)
        await bridged.alice.say(marker := words())
        await jane.until(text=marker)

        # A moderator's deletion is a redaction in the room
        await jane.say(wrong := words())
        event = (await bridged.alice.until(body=f"jane: {wrong}"))["event_id"]
        id = (await jane.until(text=wrong))["id"]
        await Admin(bridged.stack.fronts[0].url).act("DELETE", below("QGIS", f"messages/{id}"))
        assert (await bridged.alice.until(redacts=event))["sender"] == bridged.bot.user
    async with bridged.joined("john") as john:
        await john.until(text=marker)
        assert text not in john.texts()


async def test_refusals_are_sent_to_the_room(bridged: Bridged) -> None:
    url = await bridged.alice.upload(b"not a picture", "image/png")
    event = await bridged.alice.send(msgtype="m.image", body="x.png", url=url)
    expected = {"m.in_reply_to": {"event_id": event}}
    notice = (await bridged.alice.until(**{"m.relates_to": expected, "msgtype": "m.notice"}))["content"]["body"]
    assert notice.startswith("Not passed on to the channel QGIS: ")


async def test_moderation_applies_to_users_of_the_room(bridged: Bridged) -> None:
    admin, alice = Admin(bridged.stack.fronts[0].url), bridged.alice
    await admin.act("POST", below("QGIS", "announcements"), {"text": (text := words())})
    await alice.until(body=f"gischat: {text}")
    async with bridged.joined("jane") as jane:
        # Given alice, who has written in the room
        await alice.say(text := words())
        await jane.until(type="text", text=text)
        answer = await admin.act("GET", "connections?channel=QGIS")
        people = {one["nickname"]: one["address"] for one in answer["connections"]}
        assert (people[alice.nickname], answer["missing"]) == ("matrix", [])

        # When she is kicked, she may come back
        await admin.act("DELETE", below("QGIS", f"users/{alice.nickname}"))
        await jane.until(type="exiter", exiter=alice.nickname)
        await alice.say(text := words())
        await jane.until(type="newcomer", newcomer=alice.nickname)
        await jane.until(type="text", text=text)

        # When she is banned, she may not come back, nor with another nickname
        await admin.act("POST", "bans", {"nickname": alice.nickname, "seconds": 600, "channel": "QGIS"})
        await jane.until(type="exiter", exiter=alice.nickname)
        event = await alice.say(words())
        answered = {"m.relates_to": {"m.in_reply_to": {"event_id": event}}, "msgtype": "m.notice"}
        assert "is banned until" in (await alice.until(**answered))["content"]["body"]
        await admin.act("DELETE", f"bans/{alice.nickname}")
        await alice.say(text := words())
        assert (await jane.until(type="text", text=text))["author"] == alice.nickname


GARBAGE: list[dict[str, Any]] = [
    {"msgtype": "m.image", "body": "x.png", "url": "http://127.0.0.1/x"},
    {"msgtype": "m.image", "body": "huge.png", "url": "mxc://example.test/x", "info": {"size": 50_000_000}},
    {"msgtype": "m.file", "body": "../../etc/passwd.geojson", "url": "mxc://example.test/nothing"},
    {"msgtype": "m.text", "body": "x", "m.relates_to": {"rel_type": "m.replace", "event_id": "$nothing"}},
    {"m.relates_to": {"rel_type": "m.annotation", "event_id": ["$a"], "key": 3}},
]


async def test_events_of_any_shape_are_harmless(bridged: Bridged) -> None:
    async with bridged.joined("jane") as jane:
        for content in GARBAGE:
            for type in ("m.room.message", "m.reaction"):
                with contextlib.suppress(HTTPError):  # Synapse refuses some of them
                    await bridged.alice.send(type, **content)
        await bridged.alice.say(marker := words())
        await jane.until(text=marker)
        bridged.stack.assert_quiet_logs()
        assert "Traceback" not in bridged.bridge.whole_log()
