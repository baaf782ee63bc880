"""Private channels by tokens and keys, in a real browser: the page keeps them for the tab alone.

The server's address has a path: `BASE_PATH=/maps/chat`.
"""

import re
from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver import Keys
from tornado.ioloop import IOLoop

from tests.conftest import StackFactory
from tests.support.admin import TOKEN as ADMIN_TOKEN
from tests.support.admin import Admin
from tests.support.client import Client
from tests.support.contract import words
from tests.support.processes import Stack
from tests.support.rest import eventually
from tests.web.axe import Audit
from tests.web.conftest import Browse
from tests.web.page import CSS, Page

BASE = "/maps/chat"
PRIVATE, OTHER = "Été à la mer", "Other"
TOKEN = "s3cret &é#+/"
PLAIN = "s3cret-and-plain"
STORES = "return [JSON.stringify(localStorage), document.cookie, JSON.stringify([...await caches.keys()])]"
TAB = "return JSON.stringify(sessionStorage)"

# What the browser makes of the page's codes: their text, by squares that are looked at one by one
MODULES = """
const svg = document.querySelector(arguments[0] + " svg");
return [svg.viewBox.baseVal.width - 8, svg.querySelector("path").getAttribute("d")];
"""

Visit = Callable[[str], Page]


@pytest.fixture(scope="module")
def house(open_stack: StackFactory) -> Iterator[Stack]:
    """A front with private channels, both of the same tokens."""
    tokens = "\n".join(f"{channel}:{token}" for channel in (PRIVATE, OTHER) for token in (TOKEN, PLAIN))
    options = {"channels": f"QGIS,{PRIVATE},{OTHER}", "channel_tokens": tokens, "admin_token": ADMIN_TOKEN}
    with open_stack(heavy=0, base_path=BASE, **options) as stack:
        yield stack
        stack.assert_quiet_logs()
    assert "s3cret" not in stack.fronts[0].whole_log()


@pytest.fixture
def visit(house: Stack, browse: Browse) -> Visit:
    """Opens a page there."""

    def visit(path: str) -> Page:
        page = browse(path, base_url=house.fronts[0].url, keeps_itself="/k/" in path)
        page.expected_errors = ("401",)  # the browser's own line, when it is told that a token is needed
        return page

    return visit


async def member(house: Stack) -> Client:
    bearer = {"Authorization": "Bearer " + TOKEN.encode().decode("latin-1")}
    return await Client.connect(house.fronts[0].url, PRIVATE, additional_headers=bearer)


@pytest.fixture
def admin(io_loop: IOLoop, house: Stack) -> Iterator[Admin]:
    admin = Admin(house.fronts[0].url)
    yield admin
    admin.close()


def channels(page: Page) -> list[str]:
    page.find("#channels input")
    return [str(one.get_property("value")) for one in page.all("#channels input")]


async def test_a_private_channel_asks_for_its_token_until_it_is_right(
    io_loop: IOLoop, house: Stack, visit: Visit, audit: Audit
) -> None:
    # Given the address as people type it, without a slash at its end
    url = house.fronts[0].url
    page = visit(BASE)
    assert page.browser.current_url == f"{url}{BASE}/"

    # It asks for a token, and an open channel asks for none
    assert not page.all("#token")[0].is_displayed()
    page.choose(PRIVATE)
    page.find("#nickname").send_keys("jane", Keys.ENTER)
    page.until_shown("This channel is private", within="#lobby-notice")
    page.choose("QGIS")
    assert not page.all("#token")[0].is_displayed()
    page.choose(PRIVATE)
    page.find("#nickname").send_keys(Keys.ENTER)

    page.find("#token").send_keys("wrong", Keys.ENTER)
    page.until_shown("does not open the channel", within="#lobby-notice")
    assert page.find("#token").get_property("value") == ""
    audit(page, "a wrong token")
    page.find("#token").send_keys(TOKEN, Keys.ENTER)
    page.until_shown("jane joined")
    page.until_people("jane (you)")
    john = await member(house)
    page.until_shown(await john.say())
    page.say(text := words())
    page.until_shown(text)
    assert "s3cret" not in page.browser.current_url
    await john.leave()

    # All that the page asks for is below that address
    assert f"{url}{BASE}/web/chat.js" in page.requested()
    assert [asked for asked in page.requested() if BASE not in asked] == []


def test_a_token_in_a_link_leaves_the_address_and_lasts_for_the_tab(visit: Visit) -> None:
    # Given a link with the token behind the #
    page = visit(BASE)
    given = {"channel": PRIVATE, "token": TOKEN}
    page.run("location.hash = new URLSearchParams(arguments[0])", given)
    page.wait(lambda: "token" not in page.browser.current_url, "the token to leave the address")

    # When the page is loaded anew by it, and again, then it is in, and only the tab keeps the token
    page.browser.refresh()
    page.find("#nickname").send_keys("joan", Keys.ENTER)
    page.until_shown("joan joined")
    page.reload()
    page.until_people("joan (you)")
    assert not any("s3cret" in kept for kept in page.run(STORES))
    assert "s3cret" in page.run(TAB)


async def test_a_key_leaves_the_address_is_kept_for_the_tab_and_shown_only_if_asked_for(
    house: Stack, admin: Admin, visit: Visit
) -> None:
    url = house.fronts[0].url + BASE
    key = await admin.act("POST", "keys", {"channels": [PRIVATE]})

    async def status() -> int:
        return (await admin.fetch(key["path"] + "/rules")).code

    await eventually(status, 200)

    # The address bar has no key; the lobby lists what the key opens
    page = visit(BASE + key["path"])
    page.wait(lambda: page.browser.current_url == f"{url}/", "the key to leave the address")
    assert channels(page) == ["QGIS", PRIVATE]
    page.reload()
    assert channels(page) == ["QGIS", PRIVATE]

    # It says how to connect with something else, with the key if somebody wants that
    page.find("#connect summary").click()
    page.until_shown(url, within="#address")
    page.until_shown(f"{url}/qfield", within="#plugin")
    page.until_shown(f"{url}/channel/QGIS/features.geojson", within="#feed")
    page.until_shown(f"{url.replace('http', 'ws')}/channel/QGIS/ws", within="#socket")
    page.find("#plugin-code svg")
    plain = page.run(MODULES, "#address-code")
    assert (plain[0] - 17) % 4 == 0  # a version of ISO/IEC 18004
    assert re.fullmatch(r"(M\d+ \d+h1v1h-1z)+", plain[1])
    with_key = f"{url}/k/{key['key']}"
    page.find("#with-key").click()
    page.until_shown(with_key, within="#address")
    page.wait(lambda: page.run(MODULES, "#address-code") != plain, "another code")
    page.choose(PRIVATE)
    page.until_shown(f"{with_key}/channel/%C3%89t%C3%A9%20%C3%A0%20la%20mer/features.geojson", within="#feed")
    page.find("#with-key").click()

    # What the page shows has no key, and only the tab keeps it
    page.join(PRIVATE, "june")
    page.say(text := words())
    page.until_shown(text)
    page.message(text).find_element(CSS, "[aria-label^='Copy a link']").click()
    assert key["key"] not in page.browser.page_source + page.browser.current_url + house.fronts[0].whole_log()
    assert not any(key["key"] in kept for kept in page.run(STORES))

    # When it is revoked, the page says so, and is what it is for everybody
    await admin.act("DELETE", f"keys/{key['id']}")
    page.until_shown("The key that you came with is not valid", within="#lobby-notice")
    page.wait(lambda: channels(page) == ["QGIS", PRIVATE, OTHER], "all public channels to be listed")


OPERATIONS = """
return [...document.querySelectorAll(".opblock-summary")].map((one) =>
    [one.querySelector(".opblock-summary-method").innerText, one.querySelector("[data-path]").dataset.path]);
"""


async def test_the_documentation_shows_every_endpoint_and_can_be_tried_out_with_a_token(
    house: Stack, admin: Admin, visit: Visit
) -> None:
    page = visit(f"{BASE}/docs/")
    page.find(".opblock")
    assert page.browser.current_url == f"{house.fronts[0].url}{BASE}/docs"
    paths = (await admin.get("/openapi.json"))["paths"]
    described = {(method.upper(), path) for path, item in paths.items() for method in item if method != "parameters"}
    assert {(method, path) for method, path in page.run(OPERATIONS)} == described

    page.find(".authorize").click()
    page.find(".modal-ux input").send_keys(PLAIN)
    page.all(".modal-ux .authorize")[0].click()
    page.find(".modal-ux .btn-done").click()
    page.find(".opblock-put .opblock-summary-control").click()
    page.find(".opblock-put .try-out__btn").click()
    page.find(f".opblock-put tr[data-param-name='channel'] option[value='{PRIVATE}']").click()
    john = await member(house)
    page.find(".opblock-put .execute").click()
    await john.until(type="text", text="Hello")
    page.until_shown("200", within=".opblock-put .live-responses-table .response .response-col_status")
    await john.leave()
