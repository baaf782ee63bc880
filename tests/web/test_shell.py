"""What the page is made of: its functions, its sentences, its size."""

import gzip
import json
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import gischat
from tests.conftest import Join
from tests.support.contract import words
from tests.support.processes import ROOT
from tests.web.conftest import Browse
from tests.web.page import CSS

WEB = Path(gischat.__file__).parent / "web"
SENTENCES = {file.stem: json.loads(file.read_text("utf-8")) for file in (WEB / "i18n").glob("*.json")}
LANGUAGES = ["de", "en", "es", "fr", "it", "pt"]
FIRST_LOAD = 120_000  # bytes, compressed


def test_the_functions_of_the_page() -> None:
    """`*_test.js` beside this file, run by Deno."""
    command = (sys.executable, "deploy/page.py", "deno", "test", "--quiet", "--no-check", "tests/web")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_language_has_all_sentences() -> None:
    assert sorted(SENTENCES) == LANGUAGES
    offered = re.findall(r"^  (\w\w): ", (WEB / "i18n.js").read_text("utf-8"), re.MULTILINE)
    assert sorted(offered) == LANGUAGES
    for language in LANGUAGES:
        assert list(SENTENCES[language]) == list(SENTENCES["en"]), language
        for key, sentence in SENTENCES[language].items():
            assert _values(sentence) == _values(SENTENCES["en"][key]), (language, key)
            assert set(sentence) >= {"one", "other"} if isinstance(sentence, dict) else sentence.strip()


def _values(sentence: str | dict[str, str]) -> set[str]:
    """What a sentence has values for."""
    forms = sentence.values() if isinstance(sentence, dict) else [sentence]
    return set(chain.from_iterable(re.findall(r"\{(\w+)\}", form) for form in forms))


def test_the_page_says_nothing_else() -> None:
    """Each sentence that the code names is there, and each that is there is named."""
    files = [file for file in WEB.rglob("*.js") if "built" not in file.parts]
    code = "".join(file.read_text("utf-8") for file in (*files, WEB / "index.html"))
    named = set(re.findall(r'data-t(?:-[a-z-]+)?="(\w+)"', code)) | set(re.findall(r'\b(?:t|nodes)\(\s*"(\w+)"', code))
    assert named - set(SENTENCES["en"]) == set()
    mentioned = set(re.findall(r'"(\w+)"', code))
    composed = {key for key in SENTENCES["en"] if key.startswith("icon_") or key.endswith("_to")}
    assert set(SENTENCES["en"]) - mentioned - composed == set()


async def test_the_page_is_small_installable_and_speaks_the_language_that_one_chooses(
    browse: Browse, join: Join, channel: str
) -> None:
    # Given a link to a channel that is none
    john = await join(channel, nickname="john")
    page = browse("/#channel=Nowhere")
    page.until_shown("There is no channel “Nowhere” here", within="#lobby-notice")

    # It can be installed
    manifest = page.browser.execute_cdp_cmd("Page.getAppManifest", {})
    assert manifest["url"].endswith("/web/manifest.json")
    assert manifest["errors"] == []
    for icon in json.loads(manifest["data"])["icons"]:
        assert (WEB / icon["src"].removeprefix("/web/")).is_file()
    faults = page.browser.execute_cdp_cmd("Page.getInstallabilityErrors", {})["installabilityErrors"]
    assert [fault["errorId"] for fault in faults if fault["errorId"] != "in-incognito"] == []

    # All that it loads is small
    page.join(channel, "jane")
    paths = {url.removeprefix(page.base_url) for url in page.requested()}
    files = [WEB / path.removeprefix("/web/") for path in paths if path.startswith("/web/")]
    assert WEB / "chat.js" in files
    size = sum(len(gzip.compress(file.read_bytes())) for file in [WEB / "index.html", *files])
    assert size < FIRST_LOAD

    # It speaks another language
    page.find("#settings-open").click()
    page.find("#language option[value='fr']").click()
    page.until_shown("Quitter", within="#leave")
    assert page.run("return document.documentElement.lang") == "fr"
    await john.say(said := words(), author="john")
    assert page.message(said).find_element(CSS, ".tool").text == "Répondre"
    page.until_shown("2 personnes ici", within="#people-title")
