"""A stack for the page, and a browser that tells everything."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.conftest import StackFactory
from tests.support.processes import Stack
from tests.web.axe import Audit
from tests.web.page import Page

# One for each test, and some for a few. Spaces, letters and signs that have to be percent-encoded in a path, in the
# page's own links too.
CHANNELS = [f"Salle {number:02} été+100%/{number}" for number in range(30)]

# Nothing but what the tests ask for: no first run, no updates, no reports, no process for each page.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-features=MediaRouter,OptimizationHints,SpareRendererForSitePerProcess,Translate",
    "--disable-site-isolation-trials",
    "--disable-sync",
    "--force-prefers-reduced-motion",
    "--lang=en-GB",
    "--process-per-site",
    "--renderer-process-limit=1",
)

Browse = Callable[..., Page]


@pytest.fixture(scope="package")
def shared_stack(open_stack: StackFactory) -> Iterator[Stack]:
    with open_stack(channels=",".join(CHANNELS)) as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """One front and one worker of each lane, with the default settings but for the channels.

    Whatever the page sends: no traceback, and no word of it, gets into the logs.
    """
    yield shared_stack
    shared_stack.assert_quiet_logs()


_unused = iter(CHANNELS)


@pytest.fixture
def fresh_channels() -> Iterator[str]:
    """The names of channels of the stack that no test has used."""
    return _unused


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser for all tests: starting one takes seconds."""
    shell = shutil.which("chromium-headless-shell")  # without a window's parts it needs a fifth less CPU
    chromium, driver = shell or shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "the tests of the page need chromium: tests/install-tools says how to get it"
    assert driver, "the tests of the page need chromedriver: tests/install-tools says how to get it"

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    if shell:
        options.set_capability("browserName", "chrome-headless-shell")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser') / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as browser:
        yield browser


@pytest.fixture
def browse(request: pytest.FixtureRequest, browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Browse]:
    """Opens the chat, `browse()`, or another page or front: `browse("/docs", base_url=…)`.

    After the test no page may have logged an error or asked anybody but its own server.
    """
    pages: list[Page] = []

    def open_(path: str = "/", *, base_url: str | None = None, keeps_itself: bool = False) -> Page:
        base = base_url or request.getfixturevalue("stack").fronts[0].url
        page = Page(browser, base, tmp_path / "downloads", keeps_itself=keeps_itself)
        pages.append(page)
        page.open(path)
        return page

    yield open_
    for page in pages:
        page.close()
    for page in pages:
        assert page.errors() == []
        assert page.strangers() == []


@pytest.fixture
def audit(request: pytest.FixtureRequest) -> Iterator[Audit]:
    """Looks at a page with axe, `audit(page, "an empty room")`; asserts in the end, so that all states are seen."""
    audit = Audit(thorough=bool(request.config.getoption("--long")))
    yield audit
    assert audit.faults == {}
