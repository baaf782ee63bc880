"""Who said it, to whom, and in which direction it reads."""

from collections.abc import Callable, Iterator

from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.support.contract import sample, words
from tests.support.processes import Stack
from tests.web.conftest import Browse, Join
from tests.web.page import Page

StackFactory = Callable[..., Stack]

# The channel in the address
CHOSEN = "return new URLSearchParams(location.hash.slice(1)).get('channel')"


def verdict(page: Page, text: str) -> str:
    """How the author of a message is marked."""
    return " ".join(mark.text for mark in page.message(text).find_elements(By.CSS_SELECTOR, ".verdict"))


async def test_what_is_mine_and_who_is_not_registered_is_marked(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    stranger = await join(channel)
    page = browse()
    page.join(channel, "jane_gis")
    page.until_people("jane_gis (you)", "john")
    known = await john.say(author="john")
    unknown = await stranger.say(author="harry")
    alike = await stranger.say(author="Jane_GIS")
    other = await stranger.say(author="j0hn")
    page.message(other)
    verdicts = [verdict(page, text) for text in (known, unknown, alike, other)]
    assert verdicts == ["", "not registered", "not jane_gis", "not john"]

    # Mine by its id, and not by its author
    page.say(mine := words())
    page.message(mine)
    forged = await john.say(author="jane_gis")

    def own(text: str) -> bool:
        return "own" in str(page.message(text).get_attribute("class")).split()

    assert (own(mine), own(forged)) == (True, False)
    page.reload()
    page.message(forged)
    assert (own(mine), own(forged)) == (True, False)


async def test_each_message_has_its_direction_and_portrait(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    arabic = await john.say("مرحبا بالعالم GIS", author="john")
    direction = "return getComputedStyle(arguments[0]).direction"
    assert page.browser.execute_script(direction, page.message(arabic).find_element(By.CSS_SELECTOR, ".words")) == "rtl"
    # What turns the direction of letters turns no others
    await john.send(type="like", liker_author="john", liked_author="jane", message="\u202eabc")
    page.until_shown("john likes")
    liked = page.find(".quiet.like > span > bdi")
    assert liked.get_property("textContent") == "\u202eabc"

    # The portrait that its author's client chose
    await john.send(**sample("text", text=(drawn := words()), author="john", avatar="mGeoPackage.svg"))
    await john.send(**sample("text", text=(letter := words()), author="john", avatar="unknown.svg"))
    assert page.message(drawn).find_elements(By.CSS_SELECTOR, ".portrait svg path")
    assert page.message(letter).find_element(By.CSS_SELECTOR, ".portrait").text == "J"
    page.find("#settings-open").click()
    page.find("#avatars label[title='Globe']").click()
    page.find("#settings form > button").click()
    page.say(mine := words())
    assert (await john.until(type="text", text=mine))["avatar"] == "mIconXyz.svg"


async def test_mentions_are_completed_marked_and_counted(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    page.until_people("jane (you)", "john")
    page.find("#text").send_keys("hello @jo")
    page.until_shown("@john", within="#completions")
    page.find("#text").send_keys(Keys.ENTER, "look", Keys.ENTER)
    await john.until(type="text", text="hello @john look")
    assert page.message("hello @john").find_element(By.CSS_SELECTOR, "span.mention").text == "@john"

    await john.say(to_me := f"{words()} @Jane and @all", author="john")
    assert [mark.text for mark in page.message(to_me).find_elements(By.TAG_NAME, "mark")] == ["@Jane", "@all"]
    assert page.message(await john.say("me@janet.org", author="john")).find_elements(By.TAG_NAME, "mark") == []


async def test_several_channels_are_open_in_one_tab(browse: Browse, join: Join, fresh_channels: Iterator[str]) -> None:
    first, second = next(fresh_channels), next(fresh_channels)
    john, mike = await join(first, "john"), await join(second, "mike")
    page = browse()
    page.join(first, "jane")
    page.find("#text").send_keys(draft := words())
    page.find("#more-rooms").click()
    page.join(second, "jane")
    page.say(there := words())
    await mike.until(type="text", text=there)

    # What comes elsewhere is counted, and who is meant by it sees that
    await john.say(author="john")
    await john.say(f"@jane {words()}", author="john")
    page.wait(lambda: page.browser.title.startswith("@ (2) "), "the title to count two")
    assert page.find(".badge.mentioned").text == "2"

    # It is where one left it
    page.find("#rooms .tab:first-child").click()
    page.until_shown(first, within="#channel-name")
    assert page.find("#text").get_property("value") == draft
    assert not page.all(".badge")
    assert len(page.texts()) == 2

    # And after a reload
    page.reload()
    page.until_people("jane (you)", "john")
    assert [tab.text for tab in page.all("#rooms .tab")] == [first, second]
    page.find("#leave").click()
    page.until_shown(second, within="#channel-name")
    await john.until(type="exiter", exiter="jane")


async def test_cheat_codes_are_played_and_not_shown(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    page.until_people("jane (you)", "john")
    await john.say("qgisprolicense", author="john")
    assert "QGIS is free" in page.notice()
    page.browser.execute_script(
        """
        globalThis.moved = [];
        new MutationObserver(() => moved.push(document.body.className)).observe(document.body, { attributes: true });
        """
    )
    page.say("wizz")
    page.wait(lambda: page.browser.execute_script("return moved.includes('wizz')"), "the page to shake")
    page.say(marker := words())
    page.message(marker)
    assert page.texts() == [marker]
    assert page.all(".unsent") == []


# Where one is


async def test_back_and_forward_and_the_address_change_the_channel(
    browse: Browse, fresh_channels: Iterator[str]
) -> None:
    first, second, third = (next(fresh_channels) for _ in range(3))
    page = browse()
    page.join(first, "jane")
    page.find("#more-rooms").click()
    page.join(second, "jane")
    page.browser.back()
    page.until_shown(first, within="#channel-name")
    page.browser.forward()
    page.until_shown(second, within="#channel-name")
    page.browser.execute_script("location.hash = new URLSearchParams({ channel: arguments[0] })", third)
    page.until_shown(third, within="#channel-name")
    page.until_people("jane (you)")
    page.browser.execute_script("location.hash = '#channel=Nowhere'")
    assert "no channel “Nowhere”" in page.notice()
    for earlier in (third, second, first):
        page.browser.back()
        page.wait(lambda earlier=earlier: page.browser.execute_script(CHOSEN) == earlier, f"{earlier} to be chosen")
    page.browser.back()
    page.find("#join")


def test_a_link_to_an_unknown_channel_says_so(browse: Browse) -> None:
    page = browse("/#channel=Nowhere")
    page.until_shown("There is no channel “Nowhere” here", within="#lobby-notice")


async def test_a_link_leads_to_a_message(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    wanted = (await john.until(type="text", text=await john.say(author="john")))["id"]
    page = browse()
    page.join(channel, "jane")
    for _ in range(30):
        last = await john.say(author="john")
    page.message(last)
    go = "location.hash = new URLSearchParams({ channel: arguments[0], message: arguments[1] })"
    page.browser.execute_script(go, channel, wanted)
    page.wait(
        lambda: page.browser.switch_to.active_element.get_attribute("data-id") == wanted,
        "the message to have the focus",
    )
    page.browser.execute_script(go, channel, "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11")
    assert page.notice() == "This message is no longer here."


def test_the_lobby_says_when_the_server_is_not_well(browse: Browse, start_stack: StackFactory) -> None:
    stack = start_stack(light=1, heavy=0, channels="QGIS", waits=True)
    stack.light[0].freeze()
    try:
        page = browse(base_url=stack.fronts[0].url)
        page.expected_errors = ("503",)
        page.wait(lambda: _is_unwell(page), "the lobby to say that the server is not well")
        assert page.find("#join").is_displayed()
    finally:
        stack.light[0].wake()


def _is_unwell(page: Page) -> bool:
    page.open()
    page.find("#join")
    return "The server is not well" in page.find("#lobby").text
