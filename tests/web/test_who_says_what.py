"""Who said it, to whom, in which channel, and in which direction it reads."""

from collections.abc import Iterator

from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.conftest import Join
from tests.support.contract import sample, words
from tests.web.axe import Audit
from tests.web.conftest import Browse
from tests.web.page import CSS, Page

# The channel in the address
CHOSEN = "return new URLSearchParams(location.hash.slice(1)).get('channel')"
GO_TO = """
const [channel, message] = arguments;
location.hash = new URLSearchParams({ channel, ...(message && { message }) });
"""
NO_MESSAGE = "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"
DIRECTION = "return getComputedStyle(arguments[0]).direction"
WATCH_MOTION = """
globalThis.moved = [];
new MutationObserver(() => moved.push(document.body.className)).observe(document.body, { attributes: true });
"""


def verdict(page: Page, text: str) -> str:
    """How the author of a message is marked."""
    return " ".join(mark.text for mark in page.message(text).find_elements(CSS, ".verdict"))


def is_own(page: Page, text: str) -> bool:
    return "own" in str(page.message(text).get_attribute("class")).split()


async def test_authors_are_marked_portrayed_and_mentioned(
    browse: Browse, join: Join, audit: Audit, channel: str
) -> None:
    john = await join(channel, nickname="john")
    stranger = await join(channel)
    page = browse()
    page.join(channel, "jane_gis")
    page.until_people("jane_gis (you)", "john")
    page.message(await john.say(author="john"))  # what follows is no part of the history, whose authors are not judged

    # Who is not registered is marked, and who looks as if they were
    known = await john.say(author="john")
    unknown = await stranger.say(author="harry")
    alike = await stranger.say(author="Jane_GIS")
    other = await stranger.say(author="j0hn")
    page.message(other)
    verdicts = [verdict(page, text) for text in (known, unknown, alike, other)]
    assert verdicts == ["", "not registered", "not jane_gis", "not john"]

    # The page's own messages are known by their ids, and not by their author; they have the portrait that is chosen
    page.find("#settings-open").click()
    audit(page, "the settings")
    page.find("#avatars label[title='Globe']").click()
    page.find("#settings form > button").click()
    page.say(mine := words())
    assert (await john.until(type="text", text=mine))["avatar"] == "mIconXyz.svg"
    page.message(mine)
    forged = await john.say(author="jane_gis")
    assert (is_own(page, mine), is_own(page, forged)) == (True, False)

    # Others have the portrait that their client chose
    await john.send(**sample("text", text=(drawn := words()), author="john", avatar="mGeoPackage.svg"))
    await john.send(**sample("text", text=(letter := words()), author="john", avatar="unknown.svg"))
    assert page.message(drawn).find_elements(CSS, ".portrait svg path")
    assert page.message(letter).find_element(CSS, ".portrait").text == "J"

    # Each text has its direction; what turns the direction of letters turns no others
    arabic = await john.say("مرحبا بالعالم GIS", author="john")
    assert page.run(DIRECTION, page.message(arabic).find_element(CSS, ".words")) == "rtl"
    await john.send(type="like", liker_author="john", liked_author="jane_gis", message="\u202eabc")
    page.until_shown("john likes")
    assert page.find(".quiet.like > span > bdi").get_property("textContent") == "\u202eabc"

    # Mentions are completed and marked
    page.find("#text").send_keys("hello @jo")
    page.until_shown("@john", within="#completions")
    audit(page, "completing a mention, and authors who are not registered")
    page.find("#text").send_keys(Keys.ENTER, "look", Keys.ENTER)
    await john.until(type="text", text="hello @john look")
    assert page.message("hello @john").find_element(CSS, "span.mention").text == "@john"
    await john.say(to_me := f"{words()} @Jane_GIS and @all", author="john")
    assert [mark.text for mark in page.message(to_me).find_elements(By.TAG_NAME, "mark")] == ["@Jane_GIS", "@all"]
    nobody = await john.say("me@janet.org", author="john")
    assert page.message(nobody).find_elements(By.TAG_NAME, "mark") == []

    # Cheat codes are played, and not shown
    shown = page.texts()
    await john.say("qgisprolicense", author="john")
    assert "QGIS is free" in page.notice()
    page.run(WATCH_MOTION)
    page.say("wizz")
    page.wait(lambda: page.run("return moved.includes('wizz')"), "the page to shake")
    page.say(marker := words())
    page.message(marker)
    assert page.texts() == [*shown, marker]
    assert page.all(".unsent") == []

    # The page's own messages are known after a reload, too
    forged = await john.say(author="jane_gis")
    page.reload()
    page.message(forged)
    assert (is_own(page, marker), is_own(page, forged)) == (True, False)


async def test_several_channels_are_open_in_one_tab(
    browse: Browse, join: Join, audit: Audit, fresh_channels: Iterator[str]
) -> None:
    first, second = next(fresh_channels), next(fresh_channels)
    john, mike = await join(first, nickname="john"), await join(second, nickname="mike")
    wanted = (await john.until(type="text", text=await john.say(author="john")))["id"]

    page = browse()
    page.join(first, "jane")
    page.find("#text").send_keys(draft := words())
    page.find("#more-rooms").click()
    audit(page, "the lobby with a room to go back to")
    page.join(second, "jane")
    page.say(there := words())
    await mike.until(type="text", text=there)

    # What comes elsewhere is counted, and who is meant by it sees that
    for _ in range(25):
        await john.say(author="john")
    await john.say(f"@jane {words()}", author="john")
    page.wait(lambda: page.browser.title.startswith("@ (26) "), "the title to count them")
    assert page.find(".badge.mentioned").text == "26"
    audit(page, "two rooms and a mention")

    # It is where one left it
    page.find("#rooms .tab:first-child").click()
    page.until_shown(first, within="#channel-name")
    assert page.find("#text").get_property("value") == draft
    assert not page.all(".badge")

    # A link leads to a message
    page.run(GO_TO, first, wanted)
    page.wait(
        lambda: page.browser.switch_to.active_element.get_attribute("data-id") == wanted,
        "the message to have the focus",
    )
    page.run(GO_TO, first, NO_MESSAGE)
    assert page.notice() == "This message is no longer here."

    # And after a reload
    page.reload()
    page.until_people("jane (you)", "john")
    assert [tab.text for tab in page.all("#rooms .tab")] == [first, second]
    page.find("#leave").click()
    page.until_shown(second, within="#channel-name")
    await john.until(type="exiter", exiter="jane")


def test_back_and_forward_and_the_address_change_the_channel(browse: Browse, fresh_channels: Iterator[str]) -> None:
    first, second, third = (next(fresh_channels) for _ in range(3))
    page = browse()
    page.join(first, "jane")
    page.find("#more-rooms").click()
    page.join(second, "jane")
    page.browser.back()
    page.until_shown(first, within="#channel-name")
    page.browser.forward()
    page.until_shown(second, within="#channel-name")
    page.run(GO_TO, third)
    page.until_shown(third, within="#channel-name")
    page.until_people("jane (you)")
    page.run("location.hash = '#channel=Nowhere'")
    assert "no channel “Nowhere”" in page.notice()
    for earlier in (third, second, first):
        page.browser.back()
        page.wait(lambda earlier=earlier: page.run(CHOSEN) == earlier, f"{earlier} to be chosen")
    page.browser.back()
    page.find("#join")
