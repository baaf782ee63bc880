"""What the page is made of: its size, its sentences, and that it opens without a network."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest

import gischat
from tests.support.contract import words
from tests.support.processes import Stack
from tests.web.conftest import Browse, Join
from tests.web.page import LOST_LINE

WEB = Path(gischat.__file__).parent / "web"
SENTENCES = {file.stem: json.loads(file.read_text("utf-8")) for file in (WEB / "i18n").glob("*.json")}
LANGUAGES = ["de", "en", "es", "fr", "it", "pt"]
FIRST_LOAD = 120_000  # bytes, compressed

StackFactory = Callable[..., Stack]


def test_the_first_load_is_small(browse: Browse, channel: str) -> None:
    page = browse()
    page.join(channel, "jane")
    loaded = page.browser.execute_script("return performance.getEntriesByType('resource').map(({ name }) => name)")
    paths = {url.removeprefix(page.base_url) for url in loaded}
    files = [WEB / path.removeprefix("/web/") for path in paths if path.startswith("/web/")]
    assert WEB / "chat.js" in files
    size = sum(len(gzip.compress(file.read_bytes())) for file in [WEB / "index.html", *files])
    assert size < FIRST_LOAD


# Sentences


def test_every_language_is_offered() -> None:
    assert sorted(SENTENCES) == LANGUAGES
    offered = re.findall(r"^  (\w\w): ", (WEB / "i18n.js").read_text("utf-8"), re.MULTILINE)
    assert sorted(offered) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_missing_and_none_is_too_much(language: str) -> None:
    assert list(SENTENCES[language]) == list(SENTENCES["en"])
    for key, sentence in SENTENCES[language].items():
        assert _values(sentence) == _values(SENTENCES["en"][key]), key
        assert set(sentence) >= {"one", "other"} if isinstance(sentence, dict) else sentence.strip()


def test_the_page_says_nothing_else() -> None:
    """Each sentence that the code names is there, and each that is there is named."""
    code = "".join(file.read_text("utf-8") for file in chain(WEB.rglob("*.js"), [WEB / "index.html"]) if _is_ours(file))
    named = set(re.findall(r'data-t(?:-[a-z-]+)?="(\w+)"', code)) | set(re.findall(r'\b(?:t|nodes)\(\s*"(\w+)"', code))
    assert named - set(SENTENCES["en"]) == set()
    mentioned = set(re.findall(r'"(\w+)"', code))
    composed = {key for key in SENTENCES["en"] if key.startswith("icon_") or key.endswith("_to")}
    assert set(SENTENCES["en"]) - mentioned - composed == set()


def _values(sentence: str | dict[str, str]) -> set[str]:
    """What a sentence has values for."""
    forms = sentence.values() if isinstance(sentence, dict) else [sentence]
    return set(chain.from_iterable(re.findall(r"\{(\w+)\}", form) for form in forms))


def _is_ours(file: Path) -> bool:
    return "built" not in file.parts


async def test_the_page_speaks_the_language_that_one_chooses(browse: Browse, join: Join, channel: str) -> None:
    john = await join(channel, "john")
    page = browse()
    page.join(channel, "jane")
    page.find("#settings-open").click()
    page.find("#language option[value='fr']").click()
    page.until_shown("Quitter", within="#leave")
    assert page.browser.execute_script("return document.documentElement.lang") == "fr"
    await john.say(said := words(), author="john")
    assert page.message(said).find_element("css selector", ".tool").text == "Répondre"
    page.until_shown("2 personnes ici", within="#people-title")


# Without a network


@pytest.fixture
def started(start_stack: StackFactory) -> Iterator[Stack]:
    return start_stack(heavy=0, channels="QGIS")


def test_the_page_opens_without_a_server_and_keeps_what_is_written(browse: Browse, started: Stack) -> None:
    # Given a page that has been here before
    front = started.fronts[0]
    page = browse(base_url=front.url, keeps_itself=True)
    page.expected_errors = (LOST_LINE, "Failed to load resource", "net::ERR_CONNECTION_REFUSED")
    page.join("QGIS", "jane")
    kept = """
        const done = arguments[0];
        caches.open("gischat-shell").then(async (cache) => done((await cache.keys()).map(({ url }) => url)));
    """
    page.wait(lambda: len(page.browser.execute_async_script(kept)) > 20, "the page to be kept")
    assert not [url for url in page.browser.execute_async_script(kept) if "/channel" in url]

    # … which asks for each file once when it comes again
    page.reload()
    page.until_people("jane (you)")

    # When the server is away, and the page is loaded again
    front.stop()
    page.reload()
    page.until_shown("Not connected", within="#connection")
    page.say(text := words())
    page.wait(lambda: page.all(".unsent"), "the message to wait")
    page.reload()
    page.wait(lambda: page.all(".unsent"), "the message to wait still")

    # Then what was written meanwhile goes out as soon as it is back
    front.start()
    started.wait_healthy(front)
    page.message(text)
    assert page.all(".unsent") == []
    asked = [json.loads(line).get("path") for line in front.whole_log().splitlines()]
    assert asked.count("/web/chat.js") == 3  # the first visit's two, and the second's


def test_the_page_can_be_installed(browse: Browse) -> None:
    page = browse()
    manifest = page.browser.execute_cdp_cmd("Page.getAppManifest", {})
    assert manifest["url"].endswith("/web/manifest.json")
    assert manifest["errors"] == []
    for icon in json.loads(manifest["data"])["icons"]:
        assert (WEB / icon["src"].removeprefix("/web/")).is_file()
    faults = page.browser.execute_cdp_cmd("Page.getInstallabilityErrors", {})["installabilityErrors"]
    assert [fault["errorId"] for fault in faults if fault["errorId"] != "in-incognito"] == []
