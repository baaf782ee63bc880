"""What somebody wrote, and what was said while the network was away: nothing of it is lost."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from urllib.request import Request, urlopen

from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from gischat.front.channel.join_buffer import MISSED
from gischat.front.channel.room import GAP
from gischat.front.close_status import PING_TIMEOUT, RATE_LIMIT_ABUSE, SLOW_CLIENT, SLOW_UPLOAD
from gischat.front.limits.rate_limit import wait_advice
from tests.support.client import Client
from tests.support.contract import words
from tests.support.pictures import opened, phone_photo
from tests.support.processes import Stack
from tests.web.conftest import Browse, Join
from tests.web.page import LOST_LINE, Page

StackFactory = Callable[..., Stack]

OFFLINE = (LOST_LINE, "net::ERR_INTERNET_DISCONNECTED")


def choose(page: Page, message: Callable[[], WebElement], choice: str) -> None:
    """Press a button of a message that was not sent; found anew if the page has just drawn it again."""

    def press() -> bool:
        buttons = message().find_elements(By.CSS_SELECTOR, ".choices button")
        next(found for found in buttons if found.text == choice).click()
        return True

    page.wait(press, f"{choice!r} to be pressed")


def lose(page: Page) -> None:
    """Cut the page off, and wait until it has noticed."""
    page.expected_errors = OFFLINE
    page.lose_network()
    page.until_shown("Not connected", within="#connection")


# What was said meanwhile


async def test_what_was_said_while_the_page_was_offline_comes(browse: Browse, join: Join, channel: str) -> None:
    # Given more messages than the channel's history has
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    before = await john.say(author="john")
    page.message(before)
    lose(page)
    missed = [await john.say(author="john") for _ in range(12)]
    await john.until(type="text", text=missed[-1])

    # When the page comes back
    page.regain_network()

    # Then all of them are there, in their order, and nothing is said to be missing
    page.message(missed[-1])
    assert page.texts() == [before, *missed]
    assert page.all(".gap") == []
    assert "missing" not in page.find("#log").text


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


def test_what_is_told_to_all_is_known_to_the_page() -> None:
    """It refuses nothing, though it comes as an `uncompliant`."""
    room = resources.files("gischat").joinpath("web/room.js").read_text()
    assert f'"{GAP}"' in room
    assert f'"{MISSED}"' in room


def test_the_page_knows_after_which_closes_it_is_worth_coming_back() -> None:
    connection = resources.files("gischat").joinpath("web/connection.js").read_text()
    for status in (PING_TIMEOUT, SLOW_CLIENT, SLOW_UPLOAD, RATE_LIMIT_ABUSE):
        assert json.dumps(status.reason) in connection


# What was refused


async def test_a_photo_its_caption_and_its_reply_stay_together(
    browse: Browse, join: Join, channel: str, tmp_path: Path
) -> None:
    # Given a reply with a picture that cannot be read, and a caption
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    asked = await john.say(author="john")
    page.message(asked).find_element(By.CSS_SELECTOR, "[aria-label='Reply to john']").click()
    broken = tmp_path / "photo.png"
    broken.write_text("not a picture")
    page.pick(broken)
    page.say(caption := words())

    # When it is refused, nothing of it is sent, and it stays as it was written, over a reload, too
    def refused() -> WebElement:
        message = page.unsent(caption)
        assert message.find_element(By.CSS_SELECTOR, ".quotation").text == f"john {asked}"
        assert message.find_element(By.CSS_SELECTOR, ".reason").text
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
    assert asked in page.find("#reply-text").text
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(160, 120, orientation=6, description="home"))
    page.pick(photo)
    page.find("#text").send_keys(Keys.ENTER)
    await john.until(type="image")
    sent = await john.until(type="text", text=caption)
    assert sent["in_reply_to_id"] == (await john.until(type="text", text=asked))["id"]
    page.message(caption)
    assert page.all(".unsent") == []


async def test_a_refused_message_can_be_sent_again_or_removed(browse: Browse, start_stack: StackFactory) -> None:
    # Given a channel in which a moderator has frozen the talk
    stack = start_stack(heavy=0, channels="QGIS", admin_token="0123456789abcdef0123")
    page = browse(base_url=stack.fronts[0].url)
    page.expected_errors = (LOST_LINE,)
    page.join("QGIS", "jane")
    _freeze(stack, "PUT")
    page.say(first := words())
    page.unsent(first)
    page.say(second := words())
    page.unsent(second)
    assert page.texts() == []

    # When it is over, each goes its own way
    choose(page, lambda: page.unsent(second), "Remove")
    _freeze(stack, "DELETE")
    page.say(third := words())
    page.message(third)
    choose(page, lambda: page.unsent(first), "Send again")

    page.message(first)
    assert page.texts() == [third, first]
    assert page.all(".unsent") == []


async def test_what_comes_too_often_waits_in_sight_and_is_sent_when_the_server_lets_it(
    browse: Browse, start_stack: StackFactory
) -> None:
    # 20 at once, and one every three seconds
    stack = start_stack(heavy=0, channels="QGIS", max_messages_per_minute=20)
    page = browse(base_url=stack.fronts[0].url)
    page.expected_errors = (LOST_LINE,)
    john = await Client.connect(stack.fronts[0].url, "QGIS")
    page.join("QGIS", "jane")
    said = [words() for _ in range(26)]
    page.browser.execute_script(
        """
        const text = document.getElementById("text");
        for (const words of arguments[0]) {
            text.value = words;
            text.dispatchEvent(new Event("input"));
            document.getElementById("composer").requestSubmit();
        }
        """,
        said,
    )
    page.wait(lambda: page.all(".unsent .reason"), "the server to refuse one")
    waiting = [message.text for message in page.all(".unsent")]
    assert waiting
    assert all(any(text in message for text in said) for message in waiting)

    page.wait(lambda: not page.all(".unsent"), "all to be sent")
    await john.until(type="text", text=said[-1])
    assert john.texts() == said
    assert page.texts() == said
    await john.leave()


def test_the_page_understands_how_long_it_shall_wait() -> None:
    outbox = resources.files("gischat").joinpath("web/outbox.js").read_text()
    assert r"/Please wait (\d+) seconds?\./" in outbox
    assert (wait_advice(1), wait_advice(20)) == ("Please wait 1 second.", "Please wait 20 seconds.")


# What is not sent yet

# Whether the page asks before its tab is closed
ASKS = """
const event = new Event("beforeunload", { cancelable: true });
dispatchEvent(event);
return event.defaultPrevented;
"""


async def test_what_was_written_offline_outlives_a_reload_and_is_sent(
    browse: Browse, join: Join, channel: str, tmp_path: Path
) -> None:
    john = await join(channel)
    page = browse()
    page.join(channel, "jane")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(160, 120, orientation=6, description="home"))
    page.pick(photo)
    assert not page.browser.execute_script(ASKS)
    lose(page)
    page.say(caption := words())
    page.say(mistake := words())
    page.wait(lambda: len(page.all(".unsent .choices")) == 2, "both messages to wait")
    choose(page, lambda: page.all(".unsent")[1], "Remove")
    page.wait(lambda: len(page.all(".unsent")) == 1, "one to be removed")

    # One who leaves is asked
    assert page.browser.execute_script(ASKS)
    page.find("#leave").click()
    page.until_shown("has not been sent", within="#question")
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
    page.find("#lobby")


def test_a_draft_outlives_a_reload(browse: Browse, channel: str, tmp_path: Path) -> None:
    page = browse()
    page.join(channel, "jane")
    page.say(said := words())
    page.message(said).find_element(By.CSS_SELECTOR, "[aria-label='Reply to jane']").click()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(160, 120, orientation=6, description="home"))
    page.pick(photo)
    page.find("#text").send_keys(draft := words())

    page.reload()

    page.until_shown("photo.jpg", within="#attachment-text")
    assert page.find("#text").get_property("value") == draft
    assert said in page.find("#reply-text").text
    page.find("#text").send_keys(Keys.ENTER)
    page.message(draft)
    page.reload()
    page.message(draft)
    assert page.find("#text").get_property("value") == ""


def _freeze(stack: Stack, method: str) -> None:
    request = Request(
        f"{stack.fronts[0].url}/admin/channels/QGIS/freeze",
        method=method,
        headers={"Authorization": "Bearer 0123456789abcdef0123"},
        data=b"{}" if method == "PUT" else None,
    )
    urlopen(request).close()
