"""A key in the address, in a real browser; and how the lobby says to come with something else."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.admin import TOKEN, Admin
from tests.support.contract import words
from tests.support.processes import Stack
from tests.support.rest import eventually
from tests.web.conftest import Browse
from tests.web.page import Page

PRIVATE, OTHER = "Été à la mer", "Other"

# What the browser makes of the page's codes: their text, by squares that are looked at one by one
MODULES = """
const svg = document.querySelector(arguments[0] + " svg");
return [svg.viewBox.baseVal.width - 8, svg.querySelector("path").getAttribute("d")];
"""


@pytest.fixture(scope="module")
def house(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    tokens = f"{PRIVATE}:s3cret,{OTHER}:s3cret"
    options = {"channels": f"QGIS,{PRIVATE},{OTHER}", "channel_tokens": tokens, "admin_token": TOKEN}
    with open_stack(heavy=0, **options) as stack:
        yield stack
        stack.assert_quiet_logs()


@pytest.fixture
def admin(io_loop: IOLoop, house: Stack) -> Iterator[Admin]:
    client = Admin(house.fronts[0].url)
    yield client
    client.close()


async def made(admin: Admin) -> dict[str, Any]:
    key: dict[str, Any] = await admin.act("POST", "keys", {"channels": [PRIVATE]})

    async def is_heard() -> bool:
        return (await admin.fetch(key["path"] + "/rules")).code == 200

    await eventually(is_heard, True)
    return key


def channels(page: Page) -> list[str]:
    page.find("#channels input")
    return [str(one.get_property("value")) for one in page.all("#channels input")]


async def test_the_page_moves_a_key_out_of_its_address_and_keeps_it_for_the_tab(
    house: Stack, admin: Admin, browse: Browse
) -> None:
    url, key = house.fronts[0].url, await made(admin)
    page = browse(key["path"], base_url=url, keeps_itself=True)
    # The address bar and what the page shows have no key; the lobby lists what the key opens
    page.wait(lambda: page.browser.current_url == f"{url}/", "the key to leave the address")
    assert channels(page) == ["QGIS", PRIVATE]
    page.reload()
    assert channels(page) == ["QGIS", PRIVATE]
    page.join(PRIVATE, "jane")
    page.say(text := words())
    page.until_shown(text)
    page.message(text).find_element("css selector", "[aria-label^='Copy a link']").click()
    assert key["key"] not in page.browser.page_source + page.browser.current_url + house.fronts[0].whole_log()
    kept = "return [JSON.stringify(localStorage), document.cookie, JSON.stringify([...await caches.keys()])]"
    assert not any(key["key"] in one for one in page.browser.execute_script(kept))

    # When it is revoked, the page says so, and is what it is for everybody
    page.expected_errors = ("401",)
    await admin.act("DELETE", f"keys/{key['id']}")
    page.until_shown("The key that you came with is not valid", within="#lobby-notice")
    page.wait(lambda: channels(page) == ["QGIS", PRIVATE, OTHER], "all public channels to be listed")


async def test_the_lobby_says_how_to_connect_and_shows_the_key_only_if_asked_to(
    house: Stack, admin: Admin, browse: Browse
) -> None:
    url, key = house.fronts[0].url, await made(admin)
    page = browse(key["path"], base_url=url)
    page.find("#connect summary").click()
    page.until_shown(url, within="#address")
    page.until_shown(f"{url}/qfield", within="#plugin")
    page.until_shown(f"{url}/channel/QGIS/features.geojson", within="#feed")
    page.until_shown(f"{url.replace('http', 'ws')}/channel/QGIS/ws", within="#socket")
    page.find("#plugin-code svg")
    plain = page.browser.execute_script(MODULES, "#address-code")
    assert (plain[0] - 17) % 4 == 0  # a version of ISO/IEC 18004
    assert re.fullmatch(r"(M\d+ \d+h1v1h-1z)+", plain[1])
    # The key is in the address, and in its code, when somebody wants that
    page.find("#with-key").click()
    page.until_shown(url + key["path"], within="#address")
    page.wait(lambda: page.browser.execute_script(MODULES, "#address-code") != plain, "another code")
    page.choose(PRIVATE)
    page.until_shown(f"{url}{key['path']}/channel/%C3%89t%C3%A9%20%C3%A0%20la%20mer/features.geojson", within="#feed")
