"""What somebody wrote, and what was said while the network or the server was away: nothing of it is lost."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from selenium.webdriver import Keys
from selenium.webdriver.remote.webelement import WebElement

from gischat.front.channel.join_buffer import MISSED
from gischat.front.channel.room import GAP
from gischat.front.close_status import PING_TIMEOUT, RATE_LIMIT_ABUSE, SLOW_CLIENT, SLOW_UPLOAD
from gischat.front.limits.rate_limit import wait_advice
from tests.conftest import Join, StackFactory
from tests.support.admin import TOKEN, Admin
from tests.support.client import Client
from tests.support.contract import words
from tests.support.pictures import opened, phone_photo
from tests.support.rest import channel_path
from tests.web.axe import Audit
from tests.web.conftest import Browse
from tests.web.page import CSS, LOST_LINE, Page

OFFLINE = (LOST_LINE, "net::ERR_INTERNET_DISCONNECTED")


def choose(page: Page, message: Callable[[], WebElement], choice: str) -> None:
    """Press a button of a message that was not sent; found anew if the page has just drawn it again."""

    def press() -> bool:
        buttons = message().find_elements(CSS, ".choices button")
        next(found for found in buttons if found.text == choice).click()
        return True

    page.wait(press, f"{choice!r} to be pressed")


def lose(page: Page) -> None:
    """Cut the page off, and wait until it has noticed."""
    page.expected_errors = OFFLINE
    page.lose_network()
    page.until_shown("Not connected", within="#connection")


def pick_photo(page: Page, directory: Path) -> None:
    photo = directory / "photo.jpg"
    photo.write_bytes(phone_photo(160, 120, orientation=6, description="home"))
    page.pick(photo)


# What was said meanwhile


async def test_what_was_said_offline_comes_and_a_held_nickname_is_waited_for(
    browse: Browse, join: Join, channel: str
) -> None:
    # Given more messages than the channel's history has
    john = await join(channel, nickname="john")
    page = browse()
    page.join(channel, "jane")
    before = await john.say(author="john")
    page.message(before)
    lose(page)
    missed = [await john.say(author="john") for _ in range(12)]
    await john.until(type="text", text=missed[-1])

    # When the page comes back, then all of them are there, in their order, and nothing is said to be missing
    page.regain_network()
    page.message(missed[-1])
    assert page.texts() == [before, *missed]
    assert page.all(".gap") == []
    assert "missing" not in page.find("#log").text

    # When somebody else has its nickname when it comes back, then it waits for that
    lose(page)
    holder = await join(channel, nickname="jane")
    page.regain_network()
    page.until_shown("Waiting for your nickname", within="#connection")
    page.say(meanwhile := words())
    await holder.leave()
    await john.until(type="text", text=meanwhile)
    page.wait(lambda: page.all("#connection")[0].text == "", "the page to be content")


async def test_where_the_server_no_longer_has_it_the_page_says_so(browse: Browse, start_stack: StackFactory) -> None:
    # Given a server that keeps next to nothing
    stack = start_stack(heavy=0, channels="QGIS", max_outbox_messages=3, max_stored_messages=2)
    front = stack.fronts[0]
    page = browse(base_url=front.url)
    page.join("QGIS", "jane")
    page.say(before := words())
    page.message(before)
    lose(page)
    john = await Client.connect(front.url, "QGIS")
    for _ in range(200):
        last = await john.say()
    await john.until(type="text", text=last)

    # When the page comes back
    page.regain_network()
    page.message(last)

    # Then it says where the gap is
    shown = [node.text.splitlines()[0] for node in page.all(".message:not(.unsent) .body, .gap")]
    assert shown[0] == before
    assert shown[1].startswith(MISSED)
    assert shown[-1] == last
    await john.leave()


def test_the_page_knows_the_servers_own_words() -> None:
    web = resources.files("gischat").joinpath("web")
    room, connection, outbox = (web.joinpath(f"{name}.js").read_text() for name in ("room", "connection", "outbox"))
    # What is told to all refuses nothing, though it comes as an `uncompliant`
    assert f'"{GAP}"' in room
    assert f'"{MISSED}"' in room
    # After these closes it is worth coming back
    for status in (PING_TIMEOUT, SLOW_CLIENT, SLOW_UPLOAD, RATE_LIMIT_ABUSE):
        assert json.dumps(status.reason) in connection
    # How long it shall wait
    assert r"/Please wait (\d+) seconds?\./" in outbox
    assert (wait_advice(1), wait_advice(20)) == ("Please wait 1 second.", "Please wait 20 seconds.")


# What was refused, and drafts


async def test_a_photo_its_caption_and_its_reply_stay_together(
    browse: Browse, join: Join, audit: Audit, channel: str, tmp_path: Path
) -> None:
    # Given a reply with a picture that cannot be read, and a caption
    john = await join(channel, nickname="john")
    page = browse()
    page.join(channel, "jane")
    asked = await john.until(type="text", text=await john.say(author="john"))
    page.message(asked["text"]).find_element(CSS, "[aria-label='Reply to john']").click()
    broken = tmp_path / "photo.png"
    broken.write_text("not a picture")
    page.pick(broken)
    page.say(caption := words())

    # When it is refused, nothing of it is sent, and it stays as it was written, over a reload, too
    def refused() -> WebElement:
        message = page.unsent(caption)
        assert message.find_element(CSS, ".quotation").text == f"john {asked['text']}"
        assert message.find_element(CSS, ".reason").text
        return message

    refused()
    page.say(marker := words())
    await john.until(type="text", text=marker)
    assert caption not in john.texts()
    page.reload()
    page.until_shown("jane joined")

    # Then it can be changed: the same words to the same person, with another picture
    choose(page, refused, "Edit")
    assert page.find("#text").get_property("value") == caption
    pick_photo(page, tmp_path)

    # … which as a draft outlives another reload
    page.reload()
    page.until_shown("photo.jpg", within="#attachment-text")
    assert page.find("#text").get_property("value") == caption
    assert asked["text"] in page.find("#reply-text").text
    audit(page, "a draft with a reply and a picture")
    page.find("#text").send_keys(Keys.ENTER)
    await john.until(type="image")
    assert (await john.until(type="text", text=caption))["in_reply_to_id"] == asked["id"]
    page.message(caption)
    assert page.all(".unsent") == []
    assert page.find("#text").get_property("value") == ""


# Fills the composer as fast as no person can
SAY_ALL = """
const text = document.getElementById("text");
for (const words of arguments[0]) {
    text.value = words;
    text.dispatchEvent(new Event("input"));
    document.getElementById("composer").requestSubmit();
}
"""


async def test_a_refused_message_can_be_sent_again_or_removed_and_what_comes_too_often_waits(
    browse: Browse, start_stack: StackFactory
) -> None:
    # Given a channel in which a moderator has frozen the talk, and each may send 12 at once, and one in five seconds
    stack = start_stack(heavy=0, channels="QGIS", admin_token=TOKEN, max_messages_per_minute=12)
    admin = Admin(stack.fronts[0].url)
    page = browse(base_url=stack.fronts[0].url)
    page.expected_errors = (LOST_LINE,)
    page.join("QGIS", "jane")
    john = await Client.connect(stack.fronts[0].url, "QGIS")
    await admin.act("PUT", "channels/QGIS/freeze")
    page.say(first := words())
    page.unsent(first)
    page.say(second := words())
    page.unsent(second)
    assert page.texts() == []

    # When it is over, each goes its own way
    choose(page, lambda: page.unsent(second), "Remove")
    await admin.act("DELETE", "channels/QGIS/freeze")
    page.say(third := words())
    page.message(third)
    choose(page, lambda: page.unsent(first), "Send again")
    page.message(first)
    assert page.texts() == [third, first]
    assert page.all(".unsent") == []

    # When there is more than may be sent, then it waits in sight, and is sent when the server lets it
    said = [words() for _ in range(12)]
    page.run(SAY_ALL, said)
    page.wait(lambda: page.all(".unsent .reason"), "the server to refuse one")
    waiting = [message.text for message in page.all(".unsent")]
    assert waiting
    assert all(any(text in message for text in said) for message in waiting)
    page.wait(lambda: not page.all(".unsent"), "all to be sent")
    await john.until(type="text", text=said[-1])
    assert john.texts() == [third, first, *said]
    assert page.texts() == [third, first, *said]
    await john.leave()
    admin.close()


# What is not sent yet

# Whether the page asks before its tab is closed
ASKS = """
const event = new Event("beforeunload", { cancelable: true });
dispatchEvent(event);
return event.defaultPrevented;
"""


async def test_what_was_written_offline_outlives_a_reload_and_is_sent(
    browse: Browse, join: Join, audit: Audit, channel: str, tmp_path: Path
) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel, "jane")
    pick_photo(page, tmp_path)
    assert not page.run(ASKS)
    lose(page)
    page.say(caption := words())
    page.say(mistake := words())
    page.wait(lambda: len(page.all(".unsent .choices")) == 2, "both messages to wait")
    choose(page, lambda: page.all(".unsent")[1], "Remove")
    page.wait(lambda: len(page.all(".unsent")) == 1, "one to be removed")

    # One who leaves is asked
    assert page.run(ASKS)
    page.find("#leave").click()
    page.until_shown("has not been sent", within="#question")
    audit(page, "leaving with something unsent")
    page.find("#question button[autofocus]").click()
    assert page.all("#composer")[0].is_displayed()

    page.regain_network()
    page.reload()

    assert opened((await john.until(type="image"))["image_data"]).size == (120, 160)
    await john.until(type="text", text=caption)
    page.message(caption)
    page.wait(lambda: not page.all(".unsent"), "nothing to wait any more")
    page.say(marker := words())
    await john.until(type="text", text=marker)
    assert mistake not in john.texts()

    # … and leaves
    lose(page)
    page.say(words())
    page.find("#leave").click()
    page.find("#question-yes").click()
    page.until_shown("cannot be reached", within="#lobby-notice")
    audit(page, "the lobby, and no server")


# When the server restarts

READ_ALONG = """
window.heard = []; window.opened = 0;
const events = new EventSource(arguments[0]);
events.onopen = () => { window.opened += 1; };
events.addEventListener("text", (event) => window.heard.push([event.lastEventId, JSON.parse(event.data)]));
"""
KEPT = """
const done = arguments[0];
caches.open("gischat-shell").then(async (cache) => done((await cache.keys()).map(({ url }) => url)));
"""


def test_the_page_comes_back_after_a_restart_and_opens_without_a_server(
    browse: Browse, start_stack: StackFactory, tmp_path: Path
) -> None:
    # Given a page that keeps itself and nothing else, and the browser's own EventSource
    stack = start_stack(heavy=0, channels="QGIS")
    front = stack.fronts[0]
    page = browse(base_url=front.url, keeps_itself=True)
    page.expected_errors = (LOST_LINE, "Failed to load resource", "net::ERR_")
    page.join("QGIS", "jane")
    page.say(before := words())
    page.message(before)
    page.wait(lambda: len(page.browser.execute_async_script(KEPT)) > 20, "the page to be kept")
    assert not [url for url in page.browser.execute_async_script(KEPT) if "/channel" in url]
    page.run(READ_ALONG, channel_path("QGIS", "events"))
    page.wait(lambda: page.run("return heard.length"), "the history")

    # When the server restarts, then both come back by themselves, and show nothing twice
    front.stop()
    page.until_shown("Not connected", within="#connection")
    page.say(meanwhile := words())
    page.until_shown("Sending 1 message…", within="#sending")
    front.start()
    stack.wait_healthy(front)
    page.message(meanwhile)
    assert page.texts() == [before, meanwhile]
    page.until_people("jane (you)")
    page.wait(lambda: page.run("return opened === 2 && heard.length === 2"), "the events")
    heard = page.run("return heard")
    assert [message["text"] for _, message in heard] == [before, meanwhile]
    assert all(id == message["id"] for id, message in heard)

    # When it comes again, it asks for each file once: see below
    page.reload()
    page.until_people("jane (you)")

    # When the server is away, and the page is loaded again, then it keeps what is written until it is back
    front.stop()
    page.reload()
    page.until_shown("Not connected", within="#connection")
    page.say(text := words())
    page.wait(lambda: page.all(".unsent"), "the message to wait")
    page.reload()
    page.wait(lambda: page.all(".unsent"), "the message to wait still")
    front.start()
    stack.wait_healthy(front)
    page.message(text)
    assert page.all(".unsent") == []
    asked = [json.loads(line).get("path") for line in front.whole_log().splitlines()]
    assert asked.count("/web/chat.js") == 3  # the first visit's two, and the second's

    # When it restarts while a picture waits for a worker that is not there, then nobody is told that it was refused
    pick_photo(page, tmp_path)
    page.find("#send").click()
    page.until_shown("Sending 1 message…", within="#sending")
    front.stop()
    page.until_shown("Not connected", within="#connection")
    page.until_shown("Sending 1 message…", within="#sending")
    assert not page.all("#notice")[0].is_displayed()
