"""The web client in a real browser, over the real server."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.webdriver import Keys

from gischat.protocol.file_names import file_name
from tests.support.contract import sample, words
from tests.support.layers import feature, layer, point
from tests.support.pictures import as_base64, encoded, opened, phone_photo, quarters
from tests.support.processes import Stack
from tests.web.conftest import Browse, Join
from tests.web.page import LOST_LINE, PUBLISHED

StackFactory = Callable[..., Stack]


# Coming and going


async def test_the_lobby_tells_the_rules_and_who_is_where(browse: Browse, join: Join, channel: str) -> None:
    await join(channel)
    late = browse()
    late.wait(lambda: _refreshed(late, f"{channel}\n1 person"), "the lobby to count one person")
    assert late.find("#rules").text == "Be kind."


async def test_the_list_tells_who_is_here_until_one_leaves(browse: Browse, join: Join, channel: str) -> None:
    zoe = await join(channel, "Zoe")
    await join(channel)
    page = browse()
    page.join(channel, "mike")
    page.until_people("mike (you)", "Zoe")
    page.until_shown("and 1 incognito", within="#incognito")

    adam = await join(channel, "adam")
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


async def test_without_a_nickname_one_reads_along_unseen(browse: Browse, join: Join, channel: str) -> None:
    # Given what was said by somebody who may have been registered then, and whose clocks are wrong by years
    stranger = await join(channel)
    said = []
    for timestamp in (0, 12, 253_370_764_800):
        said.append(text := words())
        await stranger.send(**sample("text", text=text, author="harry", timestamp=timestamp))
    await stranger.until(type="text", text=said[-1])
    john = await join(channel, "john")

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


async def test_with_a_nickname_that_cannot_be_one_stays_in_the_lobby(browse: Browse, join: Join, channel: str) -> None:
    await join(channel, "jane")
    page = browse()
    page.choose(channel)
    nickname = page.find("#nickname")
    nickname.send_keys("jané", Keys.ENTER)
    assert nickname.get_property("validity")["patternMismatch"] is True  # type: ignore[index]
    nickname.clear()
    nickname.send_keys("jane", Keys.ENTER)
    page.until_shown(f"User 'jane' already registered in channel {channel}", within="#lobby-notice")
    page.join(channel, "janet")


# What people say


ATTACKS = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    '"><svg onload=alert(1)>',
]


async def test_no_field_of_any_message_becomes_markup_or_a_link(browse: Browse, join: Join, channel: str) -> None:
    # Given somebody who writes an attack wherever something can be written
    attack = """"><img src=x onerror="document.title='owned'"><a href="javascript:document.title='owned'">x</a>"""
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    await john.send(**sample("geojson", layer_name=attack, crs_authid=attack[:50], crs_wkt=attack, style=attack))
    await john.send(**sample("model", model_name=attack, model_group=attack, raw_xml=attack))
    await john.send(**sample("script", name=attack, raw_pycode=attack))
    await john.send(**sample("crs", crs_authid=attack[:50], avatar=attack))
    await john.send(type="like", liker_author="john", liked_author="jane", message=attack[:255])
    await john.say("javascript:document.title='owned' data:text/html,x blob:x //x")
    page.until_shown("//x")
    page.until_shown("john likes")

    # Then all of it is text
    assert page.all("#log :is(script, svg, img, iframe, a)") == []
    assert "owned" not in page.browser.title.replace("_", "")
    # … but the downloads, each of which has a plain name
    names = [link.get_attribute("data-file") or "" for link in page.all("#log .download")]
    assert len(names) == 4
    assert [name for name in names if re.search(r"[^\w .-]|^\.", name)] == []

    # The same for other attacks
    for attack in ATTACKS:
        await john.say(attack)
        await john.send(**sample("geojson", layer_name=attack))
        page.until_shown(f"shared the layer “{file_name(attack)}”")
    assert set(ATTACKS) <= set(page.texts())
    assert page.all("#log :is(script, svg, img, iframe, a)") == []
    assert page.browser.title != "owned"

    # Web addresses, and nothing else, become links
    await john.say(
        "see https://example.org/a?b=c&d=%20, (http://example.org/x), ftp://example.org or javascript:alert(1)."
    )
    page.message("see https")
    links = page.all(".message a")
    targets = ["https://example.org/a?b=c&d=%20", "http://example.org/x"]
    assert [link.get_attribute("href") for link in links] == targets
    assert {link.get_attribute("rel") for link in links} == {"noopener noreferrer nofollow"}


def test_the_browser_itself_stops_markup_on_the_page(browse: Browse) -> None:
    """What our own page never does, a mistake in it could not do either."""
    page = browse()
    page.expected_errors = ("TrustedHTML", "Content Security Policy")
    page.find("#join")
    refused = """
        const made = document.createElement("div");
        try { made.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
        return made.innerHTML;
    """
    assert page.browser.execute_script(refused) == "TypeError"


async def test_a_reply_shows_what_it_replies_to(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    question = await john.say(author="john")
    asked = await john.until(type="text", text=question)

    page.message(question).find_element("css selector", "[aria-label='Reply to john']").click()
    page.say(answer := words())

    received = await john.until(type="text", text=answer)
    assert received["in_reply_to_id"] == asked["id"]
    assert page.message(answer).find_element("css selector", ".quotation").text == f"john {question}"


async def test_a_like_goes_to_its_author(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    text = await john.say(author="john")

    page.message(text).find_element("css selector", "[aria-label='Like what john wrote']").click()
    liked = await john.until(type="like")
    assert (liked["liker_author"], liked["liked_author"], liked["message"]) == ("jane", "john", text)

    page.say(mine := words())
    await john.until(type="text", text=mine)
    await john.send(type="like", liker_author="john", liked_author="jane", message=mine)
    page.wait(lambda: "♥ john" in page.message(mine).text, "the like to be shown at the message")
    await john.send(type="like", liker_author="john", liked_author="jane", message=(other := words()))
    page.until_shown(f"john likes “{other}”")


def test_a_text_that_is_too_long_cannot_be_sent(browse: Browse, channel: str) -> None:
    page = browse()
    page.join(channel, "jane")
    # Counted in characters, as the server does: each of these is two UTF-16 units.
    page.browser.execute_script("document.getElementById('text').value = '🗺'.repeat(255)")
    page.find("#text").send_keys("x")
    page.until_shown("1 character too many", within="#length")
    assert not page.find("#send").is_enabled()
    page.find("#text").send_keys(Keys.BACKSPACE, Keys.ENTER)
    page.until_shown("🗺" * 255)


async def test_who_scrolled_up_stays_there_until_wanting_the_newest(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel, "jane")
    for _ in range(40):
        last = await john.say()
    page.wait(lambda: page.in_sight(last), "the newest message to be in sight")

    page.browser.execute_script("document.getElementById('log').scrollTop = 0")
    page.until_scrolled_up()
    later = await john.say()
    page.message(later)
    assert not page.in_sight(later)
    page.find("#newest").click()
    page.wait(lambda: page.in_sight(later), "the newest message to be in sight")


# Pictures

PASTE = """
const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
const clipboardData = new DataTransfer();
clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
document.getElementById("text").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
"""


async def test_a_picture_is_shown_and_opens_large(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel)
    await john.send(**sample("image", author="john", image_data=as_base64(encoded(quarters(64, 48), "PNG"))))
    message = page.message("john")
    assert page.width_of_picture(message) == 64
    message.find_element("css selector", ".picture-link").click()
    assert page.find("#large img").get_attribute("alt") == "Picture from john"
    page.find("#large-close").click()
    page.wait(lambda: not page.all("dialog[open]"), "it to close")


async def test_pictures_are_sent_and_what_is_none_is_refused(
    browse: Browse, join: Join, channel: str, tmp_path: Path
) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel, "jane")

    # One that is picked, with its words
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(1600, 1200, orientation=6, description="home"))
    page.pick(photo)
    page.say(text := words())
    received = opened((await john.until(type="image"))["image_data"])
    assert received.size == (600, 800)
    await john.until(type="text", text=text)
    page.message(text)
    assert page.width_of_picture(page.all(PUBLISHED)[0]) == 600

    # One larger than a message may be is made smaller first
    photo.write_bytes(_heavy(phone_photo(3000, 2000, orientation=6, description="home")))
    page.pick(photo)
    page.find("#send").click()
    received = opened((await john.until(type="image"))["image_data"])
    assert (received.format, received.size) == ("JPEG", (533, 800))

    # One that is pasted
    page.browser.execute_script(PASTE, as_base64(encoded(quarters(40, 30), "PNG")))
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
    assert page.unsent().find_element("css selector", ".reason").text
    page.say(text := words())
    page.message(text)


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


async def test_what_is_shared_is_told_in_a_line_and_can_be_saved(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel)

    # A layer, with its style and CRS
    wells = layer([feature(point(652000.5, 6862000)), feature(None)])
    await john.send(**sample("geojson", author="john", layer_name="wells/été", geojson=wells, style="<qgis/>"))
    shown = page.message("shared the layer “wells_été” (2 features, EPSG:2154)")
    geojson, style = shown.find_elements("css selector", ".download")
    assert (geojson.text, style.text) == ("wells_été.geojson", "wells_été.qml")
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}
    assert json.loads(page.downloaded(geojson)) == {**wells, "crs": crs}
    assert page.downloaded(style) == "<qgis/>"

    # A program, which can be read before, and is warned of
    for message, summary, file, content in PROGRAMS:
        await john.send(**message)
        shown = page.message(summary)
        assert "only if you trust who made it" in shown.text
        link = shown.find_element("css selector", ".download")
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


# In the long run


def test_the_page_comes_back_by_itself_under_its_name_and_shows_nothing_twice(
    browse: Browse, start_stack: StackFactory
) -> None:
    stack = start_stack(heavy=0, channels="QGIS")
    front = stack.fronts[0]
    page = browse(base_url=front.url)
    page.expected_errors = (LOST_LINE,)
    page.join("QGIS", "jane")
    page.say(before := words())
    page.until_shown(before)

    front.stop()
    page.until_shown("Not connected", within="#connection")
    page.say(meanwhile := words())
    page.until_shown("Sending 1 message…", within="#sending")
    front.start()
    stack.wait_healthy(front)

    page.message(meanwhile)
    assert page.texts() == [before, meanwhile]
    page.until_people("jane (you)")


def test_the_words_before_a_close_refuse_nothing(browse: Browse, start_stack: StackFactory, tmp_path: Path) -> None:
    # Given a page whose picture waits for a worker that is not there
    stack = start_stack(heavy=0, channels="QGIS")
    front = stack.fronts[0]
    page = browse(base_url=front.url)
    page.expected_errors = (LOST_LINE,)
    page.join("QGIS", "jane")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(160, 120, orientation=6, description="home"))
    page.pick(photo)
    page.find("#send").click()
    page.until_shown("Sending 1 message…", within="#sending")

    # When the server restarts, and says so
    front.stop()

    # Then the picture is still on its way, and nobody is told that it was refused
    page.until_shown("Not connected", within="#connection")
    page.until_shown("Sending 1 message…", within="#sending")
    assert not page.all("#notice")[0].is_displayed()


async def test_a_nickname_that_is_still_held_after_a_reconnection_is_waited_for(
    browse: Browse, join: Join, channel: str
) -> None:
    watcher = await join(channel)
    page = browse()
    page.expected_errors = (LOST_LINE, "net::ERR_INTERNET_DISCONNECTED")
    page.join(channel, "jane")

    page.lose_network()
    page.until_shown("Not connected", within="#connection")
    await watcher.until(type="exiter", exiter="jane")
    holder = await join(channel, "jane")
    page.regain_network()
    page.until_shown("Waiting for your nickname", within="#connection")
    page.say(meanwhile := words())
    await holder.leave()

    await watcher.until(type="text", text=meanwhile)
    page.wait(lambda: page.all("#connection")[0].text == "", "the page to be content")


def test_a_message_that_is_not_confirmed_is_sent_once_more_and_then_given_up(browse: Browse) -> None:
    """The part that does it, with a clock of its own: it waits for most of a minute."""
    page = browse()
    happened = page.browser.execute_async_script("""
        const done = arguments[0];
        const happened = [], alarms = [];
        window.setTimeout = (alarm) => alarms.push(alarm);
        window.clearTimeout = () => {};
        const post = (id) => ({ id, at: Date.now(), messages: [{ id }], refused: false, sentAt: null });
        import("/web/outbox.js").then(({ Outbox }) => {
            const outbox = new Outbox("x", {
                send: ({ id }) => happened.push(`send ${id}`),
                onPost: ({ id, refused, messages }) => happened.push(`${id} ${messages.length} ${refused}`),
                onSilence: () => happened.push("silence"),
            });
            outbox.push(post("a"));
            outbox.resume();
            outbox.push(post("b"));
            alarms.at(-1)();
            outbox.pause();
            outbox.resume();
            alarms.at(-1)();
            outbox.settle("b");
            done([...happened, outbox.unsent]);
        });
    """)
    # A line that is there, or lost, shows at each
    first_try = ["a 1 false", "a 1 false", "send a", "b 1 false", "silence"]
    second_try = ["a 1 false", "b 1 false"] * 2 + ["send a", "a 1 true", "send b", "b 0 false"]
    assert happened == [*first_try, *second_try, 1]


def test_it_fits_a_phone(browse: Browse, channel: str) -> None:
    page = browse()
    page.resize(360, 640)
    page.join(channel, "jane")
    page.say("x" * 200)
    page.until_shown("x" * 200)
    assert not page.all("#people")[0].is_displayed()
    page.find("#people-toggle").click()
    page.until_people("jane (you)")
    width = page.browser.execute_script("return document.documentElement.scrollWidth")
    assert width == 360
    send = page.find("#send").rect
    assert send["x"] + send["width"] <= 360
    assert send["y"] + send["height"] <= 640

    # … and so does what it says of its connection
    page.resize(390, 844)
    page.expected_errors = (LOST_LINE, "net::ERR_INTERNET_DISCONNECTED")
    page.lose_network()
    page.until_shown("Not connected. Trying again", within="#connection")
    status = page.find("#connection")
    assert page.browser.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", status)
    assert status.rect["height"] < 30
    assert page.browser.execute_script("return document.documentElement.scrollWidth") == 390


def _refreshed(page: Any, words: str) -> bool:
    """Load the lobby again; whether its channels show these words."""
    page.open()
    page.find("#join")
    return words in page.find("#channels").text


def _heavy(photo: bytes) -> bytes:
    """A JPEG of the same picture that is larger than a message may be: a comment fills it (JPEG marker COM)."""
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    return photo[:2] + comment * (10_000_000 // len(comment)) + photo[2:]
