"""The web client in a real browser, over the real server: who is here, what people say, and what they share."""

import json
import random
import re
import uuid
from pathlib import Path

from selenium.webdriver import Keys

from gischat.protocol.file_names import file_name
from tests.conftest import Join
from tests.support.contract import sample, words
from tests.support.layers import feature, layer, point
from tests.support.pictures import as_base64, encoded, opened, phone_photo, quarters
from tests.support.rest import Rest, eventually
from tests.web.axe import Audit
from tests.web.conftest import Browse
from tests.web.page import CSS, PUBLISHED


async def test_the_lobby_and_the_list_tell_who_is_here(browse: Browse, join: Join, rest: Rest, channel: str) -> None:
    # Given somebody who is registered, and somebody who is not
    zoe = await join(channel, nickname="Zoe")
    await join(channel)
    await eventually(lambda: rest.nb_connected_users(channel), 2)
    page = browse()
    page.until_shown(f"{channel}\n2 people", within="#channels")
    assert page.find("#rules").text == "Be kind."

    # With what cannot be a nickname, or is taken, one stays in the lobby
    page.choose(channel)
    nickname = page.find("#nickname")
    nickname.send_keys("jané", Keys.ENTER)
    assert nickname.get_property("validity")["patternMismatch"] is True  # type: ignore[index]
    nickname.clear()
    nickname.send_keys("Zoe", Keys.ENTER)
    page.until_shown(f"User 'Zoe' already registered in channel {channel}", within="#lobby-notice")

    # The list tells who is here until one leaves
    page.join(channel, "mike")
    page.until_people("mike (you)", "Zoe")
    page.until_shown("and 1 incognito", within="#incognito")
    adam = await join(channel, nickname="adam")
    page.until_people("adam", "mike (you)", "Zoe")
    page.until_shown("adam joined")
    page.until_shown("4 people here", within="#people-title")
    await adam.leave()
    page.until_people("mike (you)", "Zoe")
    page.until_shown("adam left")
    page.until_shown("3 people here", within="#people-title")
    page.find("#leave").click()
    page.find("#join")
    await zoe.until(type="exiter", exiter="mike")
    await zoe.count(2)


async def test_without_a_nickname_one_reads_along_unseen(
    browse: Browse, join: Join, audit: Audit, channel: str
) -> None:
    # Given what was said by somebody who may have been registered then, and whose clocks are wrong by years
    stranger = await join(channel)
    said = []
    for timestamp in (0, 12, 253_370_764_800):
        said.append(text := words())
        await stranger.send(**sample("text", text=text, author="harry", timestamp=timestamp))
    await stranger.until(type="text", text=said[-1])
    john = await join(channel, nickname="john")

    page = browse()
    page.join(channel)
    said.append(await john.say(author="john"))
    page.until_shown(said[-1])
    assert page.texts() == said
    assert page.all(".verdict") == []
    assert len(page.all(".day")) == 1
    assert not {"1970", "9999"} & {*re.findall(r"\d{4}", page.find("#log").text)}
    page.until_people("john")
    assert "reading along unseen" in page.find("#reading").text
    assert not any(part.is_displayed() for part in page.all("#composer, [aria-label^=Reply], [aria-label^=Like]"))
    audit(page, "reading along")


# What people say


ATTACKS = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    '"><svg onload=alert(1)>',
]
MAKE_MARKUP = """
const made = document.createElement("div");
try { made.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
return made.innerHTML;
"""


async def test_no_field_of_any_message_becomes_markup_or_a_link(browse: Browse, join: Join, channel: str) -> None:
    # Given somebody who writes an attack wherever something can be written
    attack = """"><img src=x onerror="document.title='owned'"><a href="javascript:document.title='owned'">x</a>"""
    john = await join(channel, nickname="john")
    page = browse()
    page.join(channel, "jane")
    await john.send(**sample("geojson", layer_name=attack, crs_authid=attack[:50], crs_wkt=attack, style=attack))
    await john.send(**sample("model", model_name=attack, model_group=attack, raw_xml=attack))
    await john.send(**sample("script", name=attack, raw_pycode=attack))
    await john.send(**sample("crs", crs_authid=attack[:50], avatar=attack))
    await john.send(type="like", liker_author="john", liked_author="jane", message=attack[:255])
    for text in ATTACKS:
        await john.say(text)
        await john.send(**sample("geojson", layer_name=text))
    await john.say("javascript:document.title='owned' data:text/html,x blob:x //x")
    page.until_shown(f"shared the layer “{file_name(ATTACKS[-1])}”")
    page.until_shown("//x")
    page.until_shown("john likes")

    # Then all of it is text
    assert set(ATTACKS) <= set(page.texts())
    assert page.all("#log :is(script, svg, img, iframe, a)") == []
    assert "owned" not in page.browser.title
    # … but the downloads, each of which has a plain name
    names = [link.get_attribute("data-file") or "" for link in page.all("#log .download")]
    assert len(names) == 4 + len(ATTACKS)
    assert [name for name in names if re.search(r"[^\w .-]|^\.", name)] == []

    # Web addresses, and nothing else, become links
    await john.say(
        "see https://example.org/a?b=c&d=%20, (http://example.org/x), ftp://example.org or javascript:alert(1)."
    )
    page.message("see https")
    links = page.all(".message a")
    targets = ["https://example.org/a?b=c&d=%20", "http://example.org/x"]
    assert [link.get_attribute("href") for link in links] == targets
    assert {link.get_attribute("rel") for link in links} == {"noopener noreferrer nofollow"}

    # What our own page never does, a mistake in it could not do either: the browser itself stops markup
    page.expected_errors = ("TrustedHTML", "Content Security Policy")
    assert page.run(MAKE_MARKUP) == "TypeError"


async def test_replies_likes_long_texts_and_a_long_talk(browse: Browse, join: Join, audit: Audit, channel: str) -> None:
    john = await join(channel, nickname="john")
    page = browse()
    page.join(channel, "jane")

    # A reply shows what it replies to
    asked = await john.until(type="text", text=await john.say(author="john"))
    page.message(asked["text"]).find_element(CSS, "[aria-label='Reply to john']").click()
    page.say(answer := words())
    assert (await john.until(type="text", text=answer))["in_reply_to_id"] == asked["id"]
    assert page.message(answer).find_element(CSS, ".quotation").text == f"john {asked['text']}"

    # A like goes to its author, and is shown at what was liked
    page.message(asked["text"]).find_element(CSS, "[aria-label='Like what john wrote']").click()
    liked = await john.until(type="like")
    assert (liked["liker_author"], liked["liked_author"], liked["message"]) == ("jane", "john", asked["text"])
    await john.send(type="like", liker_author="john", liked_author="jane", message=answer)
    page.wait(lambda: "♥ john" in page.message(answer).text, "the like to be shown at the message")
    await john.send(type="like", liker_author="john", liked_author="jane", message=(other := words()))
    page.until_shown(f"john likes “{other}”")

    # … which may be gone
    await john.send(**sample("text", text=(late := words()), author="john", in_reply_to_id=str(uuid.uuid4())))
    page.message(late)

    # Counted in characters, as the server does: each of these is two UTF-16 units
    page.run("document.getElementById('text').value = '🗺'.repeat(255)")
    page.find("#text").send_keys("x")
    page.until_shown("1 character too many", within="#length")
    assert not page.find("#send").is_enabled()
    audit(page, "a reply, a like, and a text that is too long")
    page.find("#text").send_keys(Keys.BACKSPACE, Keys.ENTER)
    page.until_shown("🗺" * 255)

    # Who scrolled up stays there until wanting the newest
    for _ in range(30):
        last = await john.say()
    page.wait(lambda: page.in_sight(last), "the newest message to be in sight")
    page.run("document.getElementById('log').scrollTop = 0")
    page.until_drawn()
    page.message(later := await john.say())
    assert not page.in_sight(later)
    page.find("#newest").click()
    page.wait(lambda: page.in_sight(later), "the newest message to be in sight")


PASTE = """
const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
const clipboardData = new DataTransfer();
clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
document.getElementById("text").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
"""


async def test_pictures_are_sent_and_what_is_none_is_refused(
    browse: Browse, join: Join, audit: Audit, channel: str, tmp_path: Path
) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel, "jane")

    audit(page, "an empty room")

    # One that is picked, with its words
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(1000, 750, orientation=6, description="home"))
    page.pick(photo)
    page.say(text := words())
    received = opened((await john.until(type="image"))["image_data"])
    assert received.size == (600, 800)
    await john.until(type="text", text=text)
    page.message(text)
    assert page.width_of_picture(page.all(PUBLISHED)[0]) == 600

    page.find(".picture-link").click()
    assert page.find("#large img").get_attribute("alt") == "Picture from jane"
    audit(page, "a large picture")
    page.find("#large-close").click()

    # One larger than a message may be is made smaller first
    photo.write_bytes(_heavy(phone_photo(1500, 1000, orientation=6, description="home")))
    page.pick(photo)
    page.find("#send").click()
    received = opened((await john.until(type="image"))["image_data"])
    assert (received.format, received.size) == ("JPEG", (533, 800))

    # One that is pasted
    page.run(PASTE, as_base64(encoded(quarters(40, 30), "PNG")))
    page.until_shown("pasted.png", within="#attachment-text")
    page.find("#text").send_keys(Keys.ENTER)
    assert opened((await john.until(type="image"))["image_data"]).size == (40, 30)

    # A file that is none: by the page if it is too large, else by the server
    film = tmp_path / "film.png"
    film.write_bytes(random.Random(1).randbytes(10_000_000))
    page.all("#picture")[0].send_keys(str(film))
    assert page.notice() == "This picture is too large to be sent. Make it smaller first."
    file = tmp_path / "notes.png"
    file.write_text("not a picture")
    page.pick(file)
    page.find("#send").click()
    assert page.unsent().find_element(CSS, ".reason").text
    audit(page, "pictures, and one that was refused")
    page.say(text := words())
    page.message(text)


def _heavy(photo: bytes) -> bytes:
    """A JPEG of the same picture that is larger than a message may be: a comment fills it (JPEG marker COM)."""
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    return photo[:2] + comment * (10_000_000 // len(comment)) + photo[2:]


# What people share


PROGRAMS = [
    (
        sample("model", model_name="buffers", model_group="mine", raw_xml="<model/>"),
        "shared the model “buffers” (mine)",
        "buffers.model3",
        "<model/>",
    ),
    (
        sample("script", name="hello.py", raw_pycode="print('<b>hello</b>')\n"),
        "shared the script “hello.py”",
        "hello.py",
        "print('<b>hello</b>')\n",
    ),
]
PLACES = [
    (sample("crs"), "shared the coordinate reference system EPSG:2154"),
    (
        sample("bbox", xmin=0.1, xmax=652000.25, ymin=-3, ymax=6862000),
        "shared an extent x 0.1 … 652000.25, y -3 … 6862000 (EPSG:2154)",
    ),
    (sample("position", x=4.123456789, y=44), "shared a position 4.123457, 44 (EPSG:2154)"),
]


async def test_what_is_shared_is_told_in_a_line_and_can_be_saved(
    browse: Browse, join: Join, audit: Audit, channel: str
) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel)

    # A layer, with its style and CRS
    wells = layer([feature(point(652000.5, 6862000)), feature(None)])
    await john.send(**sample("geojson", author="john", layer_name="wells/été", geojson=wells, style="<qgis/>"))
    shown = page.message("shared the layer “wells_été” (2 features, EPSG:2154)")
    geojson, style = shown.find_elements(CSS, ".download")
    assert (geojson.text, style.text) == ("wells_été.geojson", "wells_été.qml")
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}
    assert json.loads(page.downloaded(geojson)) == {**wells, "crs": crs}
    assert page.downloaded(style) == "<qgis/>"

    # A program, which can be read before, and is warned of
    for message, summary, file, content in PROGRAMS:
        await john.send(**message)
        shown = page.message(summary)
        assert "only if you trust who made it" in shown.text
        link = shown.find_element(CSS, ".download")
        assert link.text == file
        assert page.downloaded(link) == content
        shown.find_element("tag name", "summary").click()
        page.until_shown(content.strip(), within=".program pre")

    # Places
    for message, _ in PLACES:
        await john.send(**message)
    summaries = [summary for _, summary in PLACES]
    page.until_shown(summaries[-1])
    assert page.texts()[-len(PLACES) :] == summaries
    audit(page, "what is shared")
