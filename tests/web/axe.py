"""What axe-core, which knows the rules of WCAG and how browsers are read aloud, finds on the page: nothing."""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from tests.support.contract import BROADCAST, sample, words
from tests.support.pictures import phone_photo
from tests.web.conftest import Browse, Join
from tests.web.page import LOST_LINE, Page
from tests.web.test_map import READBACK

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
# The contrast of each element costs most. Of a long list a few are enough, and what stands as it stood in an earlier
# state, or behind a dialog, has been looked at.
RUN = """
const done = arguments[arguments.length - 1];
for (const [part, stood] of globalThis.lookedAt ?? []) if (part.outerHTML !== stood) delete part.dataset.audited;
const dialog = document.querySelector("dialog[open]");
const context = {include: [dialog ?? document], exclude: [["#channels > :nth-child(n+4)"], ["[data-audited]"]]};
axe.run(context, {resultTypes: ["violations"], preload: false, selectors: false})
    .then(done, (error) => done({violations: [{id: String(error), nodes: []}]}));
"""
# On the phone, which hides more than the screen
REMEMBER = """
globalThis.lookedAt ??= new Map();
for (const part of document.querySelectorAll(":is(#lobby, .bar, #log, #people, #composer) > *")) {
    if (!part.checkVisibility()) continue;
    part.dataset.audited = "";
    lookedAt.set(part, part.outerHTML);
}
"""
WIDE, PHONE = (1200, 800), (390, 844)
LOOKS = {"light": WIDE, "dark": PHONE}
ALL_LOOKS = [(scheme, size) for scheme in LOOKS for size in (WIDE, PHONE)]


class Audit:
    """Looks at a page as it is; in the end there is a report, and nothing in it."""

    def __init__(self, report: Path, looks: list[tuple[str, tuple[int, int]]]) -> None:
        self._report = report
        self._looks = looks
        self.found: dict[str, list[str]] = {}

    def look(self, page: Page, state: str) -> None:
        """In one colour scheme after the other, on a screen and on a phone."""
        for scheme, size in self._looks:
            page.resize(*size)
            page.show_in(scheme)
            if not page.browser.execute_script("return 'axe' in window"):
                page.browser.execute_script(AXE)
            result = page.browser.execute_async_script(RUN)
            self.found[f"{state}, {scheme}, {size[0]}"] = [
                f"{rule['id']}: {node['html']} {node['failureSummary']}"
                for rule in result["violations"]
                for node in rule["nodes"] or [{"html": "", "failureSummary": ""}]
            ]
        page.browser.execute_script(REMEMBER)
        page.resize(*WIDE)

    def assert_clean(self) -> None:
        self._report.parent.mkdir(parents=True, exist_ok=True)
        self._report.write_text(json.dumps(self.found, indent=1, ensure_ascii=False), "utf-8")
        assert {state: faults for state, faults in self.found.items() if faults} == {}


@pytest.fixture
def audit(request: pytest.FixtureRequest) -> Iterator[Audit]:
    """Asserts in the end, so that all states are seen."""
    looks = ALL_LOOKS if request.config.getoption("--long") else [*LOOKS.items()]
    report = request.config.rootpath / f".cache/reports/axe/{request.node.name}.json"
    audit = Audit(report, looks)
    yield audit
    audit.assert_clean()


async def test_the_lobby(browse: Browse, join: Join, channel: str, audit: Audit) -> None:
    jane = await join(channel, "jane")
    page = browse()
    page.choose(channel)
    page.find("#nickname").send_keys("jane")
    page.find("#enter").click()
    page.until_shown("already registered", within="#lobby-notice")
    # As if it were private, too
    page.browser.execute_script("document.getElementById('token-field').hidden = false")
    audit.look(page, "nickname taken, token wanted")
    page.join(channel)
    page.until_shown(await jane.say())
    audit.look(page, "reading along")
    page.expected_errors = ("ERR_INTERNET_DISCONNECTED",)
    page.lose_network()
    page.find("#leave").click()
    page.until_shown("cannot be reached", within="#lobby-notice")
    audit.look(page, "server away")


async def test_the_room(browse: Browse, join: Join, channel: str, audit: Audit, tmp_path: Path) -> None:
    jane, page = await join(channel, "jane"), browse()
    page.join(channel, "john")
    audit.look(page, "empty room")
    # Everything that can be said, and answered
    for type_ in BROADCAST:
        await jane.send(**sample(type_))
    await jane.until(type="geojson")
    said = await jane.until(type="text")
    reply = {"author": "jane", "in_reply_to_id": said["id"]}
    await jane.send(type="text", text=f"{words()} https://example.org/ 🗺️", **reply)
    await jane.send(type="text", text=words(), author="jane", in_reply_to_id="8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11")
    page.say(own := words())
    page.message(own)
    await jane.send(type="like", liker_author="jane", liked_author="john", message=own)
    page.wait(lambda: "♥ jane" in page.message(own).text, "the like to be shown")
    adam = await join(channel, "adam")
    await adam.leave()
    page.until_shown("adam left")
    page.message(said["text"]).find_element("css selector", "[aria-pressed]").click()
    audit.look(page, "every type of message")
    # What is about to be said
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(phone_photo(40, 30, orientation=6, description="a well"))
    page.pick(picture)
    page.message(said["text"]).find_element("css selector", ".tool").click()
    page.find("#text").send_keys("x" * 250)
    audit.look(page, "reply and picture")
    page.find("#attachment-remove").click()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    page.pick(bad)
    page.find("#send").click()
    page.unsent()
    page.find("#text").send_keys(Keys.CONTROL, "a")
    page.find("#text").send_keys("@ja")
    page.find("#completions")
    audit.look(page, "refused, and completing a mention")
    page.find("#text").send_keys(Keys.ESCAPE)
    page.find(".picture-link").click()
    page.find("#large img")
    audit.look(page, "large picture")
    page.find("#large-close").click()
    page.find("#leave").click()
    page.find("#question")
    audit.look(page, "leaving with something unsent")
    page.find("#question button[autofocus]").click()
    page.find("#settings-open").click()
    page.find("#settings")
    audit.look(page, "settings")
    page.find("#settings form > button").click()
    page.resize(*PHONE)
    page.find("#people-toggle").click()
    page.find("#people")
    page.expected_errors = (LOST_LINE, "ERR_INTERNET_DISCONNECTED")
    page.lose_network()
    page.until_shown("Not connected", within="#connection")
    audit.look(page, "people on a phone, and connection lost")


async def test_several_rooms(browse: Browse, join: Join, fresh_channels: Iterator[str], audit: Audit) -> None:
    first, second = next(fresh_channels), next(fresh_channels)
    john, page = await join(first, "john"), browse()
    page.join(first, "jane")
    page.find("#more-rooms").click()
    page.find("#back")
    audit.look(page, "lobby with a room to go back to")
    page.join(second, "jane")
    await john.say(f"@jane {words()}", author="john")
    page.find(".badge.mentioned")
    stranger = await join(second)
    page.message(await stranger.say(author="harry"))
    page.message(await stranger.say(author="Jane"))
    audit.look(page, "two rooms, a mention, and authors who are not registered")


async def test_the_map(browse: Browse, join: Join, channel: str, audit: Audit) -> None:
    jane, page = await join(channel, "jane"), browse()
    page.join(channel, "john")
    page.find("#map-toggle").click()
    page.expected_errors = READBACK
    page.find(".map-empty")
    audit.look(page, "empty map")
    for type_ in ("geojson", "crs", "bbox", "position"):
        await jane.send(**sample(type_, crs_wkt="", crs_authid="EPSG:2154"))
    page.wait(lambda: len(page.all(".thumbnail")) == 4, "four small maps")
    page.find(".map-tools .wide").click()
    page.find(".map-list summary, .map-list .map-item").click()
    audit.look(page, "what is on the map")
    page.all(".thumbnail")[0].click()
    page.find(".map-details")
    audit.look(page, "what was chosen")
    page.find("#map .map-tools button:last-child").click()
    page.find("#share").click()
    page.find("dialog[open] .offers")
    audit.look(page, "what may be shared")
