"""A private channel in a real browser: the page asks for the token, and keeps it for the tab alone."""

from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver import Keys
from tornado.ioloop import IOLoop

from tests.support.client import Client
from tests.support.contract import words
from tests.support.processes import Stack
from tests.web.conftest import Browse
from tests.web.page import Page

CHANNELS = [f"Salle privée {number}" for number in range(1, 6)]
TOKEN = "s3cret &é#+/"
PLAIN = "s3cret-and-plain"

StackFactory = Callable[..., Stack]


@pytest.fixture(scope="module")
def house(open_stack: StackFactory) -> Iterator[Stack]:
    """A front with private channels, all of the same tokens."""
    tokens = "\n".join(f"{channel}:{token}" for channel in CHANNELS for token in (TOKEN, PLAIN))
    channels = ",".join(["QGIS", *CHANNELS])
    with open_stack(heavy=0, channels=channels, channel_tokens=tokens) as stack:
        yield stack
    assert "s3cret" not in stack.fronts[0].whole_log()


@pytest.fixture(scope="module")
def fresh_channels() -> Iterator[str]:
    """The names of channels that no test has used."""
    return iter(CHANNELS)


@pytest.fixture
def visit(house: Stack, browse: Browse) -> Callable[..., Page]:
    """Opens the chat there."""

    def visit(path: str = "/") -> Page:
        page = browse(path, base_url=house.fronts[0].url)
        page.expected_errors = ("401",)  # the browser's own line, when it is told that a token is needed
        return page

    return visit


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": "Bearer " + token.encode().decode("latin-1")}


def knock(page: Page, channel: str, nickname: str = "jane") -> None:
    """Ask to be let in."""
    page.choose(channel)
    page.find("#nickname").send_keys(Keys.CONTROL, "a")
    page.find("#nickname").send_keys(nickname, Keys.ENTER)


def test_a_private_channel_asks_for_its_token_until_it_is_right(visit: Callable[..., Page], channel: str) -> None:
    page = visit()
    assert not page.all("#token")[0].is_displayed()
    knock(page, channel)
    page.until_shown("This channel is private", within="#lobby-notice")

    page.find("#token").send_keys("wrong", Keys.ENTER)
    page.until_shown("does not open the channel", within="#lobby-notice")
    assert page.find("#token").get_property("value") == ""

    page.find("#token").send_keys(TOKEN, Keys.ENTER)
    page.until_shown("jane joined")
    page.until_people("jane (you)")
    page.say(text := words())
    page.until_shown(text)
    assert "s3cret" not in page.browser.current_url


def test_an_open_channel_asks_for_none(visit: Callable[..., Page], channel: str) -> None:
    page = visit()
    knock(page, channel)
    page.find("#token")
    page.choose("QGIS")
    assert not page.all("#token")[0].is_displayed()
    page.find("#nickname").send_keys(Keys.ENTER)
    page.until_shown("jane joined")


def test_a_token_in_a_link_leaves_the_address_and_lasts_for_the_tab(visit: Callable[..., Page], channel: str) -> None:
    # Given a link with the token behind the #
    page = visit()
    given = {"channel": channel, "token": TOKEN}
    hash_ = page.browser.execute_script("return '#' + new URLSearchParams(arguments[0])", given)
    page.browser.get(page.base_url + "/" + hash_)
    page.wait(lambda: "token" not in page.browser.current_url, "the token to leave the address")

    # When the page is loaded anew by it
    page.browser.refresh()
    page.find("#nickname").send_keys("jane", Keys.ENTER)

    # Then it is in, and so after another reload, which asks for nothing; and only the tab keeps the token
    page.until_shown("jane joined")
    page.reload()
    page.until_people("jane (you)")
    kept = "return [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]"
    local, tab, cookie = page.browser.execute_script(kept)
    assert ("s3cret" in local, "s3cret" in tab, "s3cret" in cookie) == (False, True, False)


async def test_what_is_said_there_comes_to_the_page(
    io_loop: IOLoop, house: Stack, visit: Callable[..., Page], channel: str
) -> None:
    john = await Client.connect(house.fronts[0].url, channel, additional_headers=bearer(TOKEN))
    page = visit()
    knock(page, channel)
    page.find("#token").send_keys(TOKEN, Keys.ENTER)
    page.until_shown("jane joined")
    page.until_shown(await john.say())
    await john.leave()


async def test_the_documentation_shows_every_endpoint_and_can_be_tried_out_with_a_token(
    io_loop: IOLoop, house: Stack, visit: Callable[..., Page], channel: str
) -> None:
    page = visit("/docs")
    page.find(".opblock")
    methods = page.texts_of(".opblock .opblock-summary-method")
    paths = [str(path.get_attribute("data-path")) for path in page.all(".opblock .opblock-summary-path")]
    shown = set(zip(methods, paths, strict=True))
    assert shown == {
        ("GET", "/version"),
        ("GET", "/rules"),
        ("GET", "/channels"),
        ("GET", "/status"),
        ("GET", "/map"),
        ("GET", "/qfield"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/channel/{channel}/users"),
        ("GET", "/channel/{channel}/last"),
        ("GET", "/channel/{channel}/features.geojson"),
        ("GET", "/channel/{channel}/messages/{id}.json"),
        ("GET", "/channel/{channel}/messages/{id}.geojson"),
        ("GET", "/channel/{channel}/messages/{id}.gpkg"),
        ("PUT", "/channel/{channel}/text"),
        ("GET", "/channel/{channel}/ws"),
        ("GET", "/channel/{channel}/events"),
        ("POST", "/hooks/{key}"),
    }

    page.find(".authorize").click()
    page.find(".modal-ux input").send_keys(PLAIN)
    page.all(".modal-ux .authorize")[0].click()
    page.find(".modal-ux .btn-done").click()
    page.find(".opblock-put .opblock-summary-control").click()
    page.find(".opblock-put .try-out__btn").click()
    page.find(f".opblock-put tr[data-param-name='channel'] option[value='{channel}']").click()
    john = await Client.connect(house.fronts[0].url, channel, additional_headers=bearer(TOKEN))
    page.find(".opblock-put .execute").click()
    assert (await john.until(type="text"))["text"] == "Hello"
    page.until_shown("200", within=".opblock-put .live-responses-table .response .response-col_status")
    await john.leave()
