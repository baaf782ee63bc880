"""The page as its user sees it: what can be read on it, and what can be done with it."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.waiting import DEADLINE, awaited

CSS = By.CSS_SELECTOR

# Said by the browser itself whenever a server is away, and not to be prevented.
LOST_LINE = "WebSocket connection to"

# Messages that the server has broadcast: others wait, or were refused.
PUBLISHED = ".message:not(.unsent)"

# Asked in one go: the driver's own questions, for each element by itself, cost many times as much.
LOOKING = """
const isSeen = (one) =>
    (one.closest("select") ?? one).checkVisibility({opacityProperty: true, visibilityProperty: true});
const read = (one) => isSeen(one) ? one.innerText.replaceAll("\\u00a0", " ").trim() : "";
const all = [...document.querySelectorAll(arguments[0])];
"""
FIRST_SEEN = LOOKING + "return all.find(isSeen)"
READS = LOOKING + "return all.find((one) => read(one).includes(arguments[1]))"
TEXTS = LOOKING + "return all.map(read)"
REQUESTED = "return performance.getEntriesByType('resource').map(({ name }) => name)"
RADIO = "return [...document.querySelectorAll('#channels input')].find((one) => one.value === arguments[0])"
IN_SIGHT = """
const log = document.getElementById("log").getBoundingClientRect();
const found = [...document.querySelectorAll(".message")].find((one) => one.textContent.includes(arguments[0]));
return found !== undefined && found.getBoundingClientRect().bottom <= log.bottom;
"""
FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"

WITHOUT_WORKER = {"source": "delete Navigator.prototype.serviceWorker"}

T = TypeVar("T")


class Page:
    """One tab with the chat; `downloads` is where it saves files.

    With `keeps_itself` the page caches itself for when the server is away, for which all files are loaded twice.
    """

    def __init__(self, browser: Chrome, base_url: str, downloads: Path, *, keeps_itself: bool = False) -> None:
        self.browser = browser
        self.base_url = base_url
        self.downloads = downloads
        self.expected_errors: tuple[str, ...] = ()
        self.size = (0, 0)
        self._errors: list[str] = []
        self._requested: list[str] = []
        self._is_somewhere = False
        self._script: dict[str, str] | None = None
        if not keeps_itself:
            self._script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", WITHOUT_WORKER)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.browser.execute_script(script, *arguments)

    def open(self, path: str = "/") -> None:
        """Load a page as somebody does who has never been here."""
        self.downloads.mkdir(exist_ok=True)
        behaviour = {"behavior": "allow", "downloadPath": str(self.downloads)}
        self.browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.forget()
        self.resize(1200, 800)
        self._emulate_media()
        self.browser.execute_cdp_cmd("Page.resetNavigationHistory", {})  # Chromium drops entries from a full one
        self._log()  # the browser's own start page, and what came after the last page's end
        self.browser.get(self.base_url + path)

    def forget(self) -> None:
        """Take away all that the browser keeps of the page, and leave it: what a tab keeps goes from within."""
        if (url := self.browser.current_url) != "about:blank":
            if url.startswith(self.base_url):
                self._requested += self.run(f"sessionStorage.clear(); {REQUESTED}")
            self.browser.get("about:blank")
        remembered = {"origin": self.base_url, "storageTypes": "local_storage,indexeddb,cache_storage,service_workers"}
        self.browser.execute_cdp_cmd("Storage.clearDataForOrigin", remembered)

    def reload(self) -> None:
        """Load the page again, in the same tab."""
        self._requested += self.requested()
        self.browser.refresh()

    def resize(self, width: int, height: int) -> None:
        """Show the page on a screen of that size."""
        self.size = (width, height)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def show_in(self, scheme: str) -> None:
        """Prefer `light` or `dark` colours, without any in between."""
        self._emulate_media(**{"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"})

    def prefer_motion(self, motion: str) -> None:
        """Prefer `reduce` or `no-preference`."""
        self._emulate_media(**{"prefers-reduced-motion": motion})

    def _emulate_media(self, **features: str) -> None:
        given = [{"name": name, "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": given})

    def lose_network(self) -> None:
        """Cut the browser off."""
        self.browser.execute_cdp_cmd("Network.enable", {})
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **unlimited})

    def regain_network(self) -> None:
        """Let the browser reach everybody again."""
        self.browser.execute_cdp_cmd("Network.disable", {})

    def be_at(self, latitude: float, longitude: float, accuracy: float) -> None:
        """Let the page know where the device is."""
        permitted = {"permissions": ["geolocation"], "origin": self.base_url}
        self.browser.execute_cdp_cmd("Browser.grantPermissions", permitted)
        where = {"latitude": latitude, "longitude": longitude, "accuracy": accuracy}
        self.browser.execute_cdp_cmd("Emulation.setGeolocationOverride", where)
        self._is_somewhere = True

    def close(self) -> None:
        """Leave the page: its connection ends."""
        self._errors += self._log()
        self.regain_network()
        self.forget()
        if self._is_somewhere:
            self.browser.execute_cdp_cmd("Emulation.clearGeolocationOverride", {})
            self.browser.execute_cdp_cmd("Browser.resetPermissions", {})
        if self._script:
            self.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", self._script)

    # What happens behind the scenes

    def errors(self) -> list[str]:
        """What the page logged as errors or warnings, but for what the test expects."""
        return [line for line in self._errors if not any(words in line for words in self.expected_errors)]

    def requested(self) -> list[str]:
        """The addresses that the page has asked for since it was loaded, but for its WebSockets."""
        return list(self.run(REQUESTED))

    def strangers(self) -> list[str]:
        """The addresses that the page asked for anywhere but at its own server.

        Those that the server's Content-Security-Policy forbids, as to any other's WebSocket, are errors.
        """
        own = (self.base_url + "/", "blob:" + self.base_url, "data:")
        return [url for url in self._requested if not url.startswith(own)]

    def _log(self) -> list[str]:
        """What has been logged since the last time."""
        entries: list[dict[str, str]] = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    # Finding

    def find(self, selector: str) -> WebElement:
        """The first element of a CSS selector, as soon as it can be seen."""
        found: WebElement = self.wait(lambda: self.run(FIRST_SEEN, selector), f"{selector} to be seen")
        return found

    def all(self, selector: str) -> list[WebElement]:
        """The elements of a CSS selector that are there now."""
        return self.browser.find_elements(CSS, selector)

    def wait(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait until the condition holds, and return what it returned."""

        def found() -> T | None:
            with suppress(NoSuchElementException, StaleElementReferenceException):
                return condition()
            return None

        if it := awaited(found):
            return it
        shown = self.browser.find_element(By.TAG_NAME, "body").text
        raise AssertionError(f"waited {DEADLINE} s for {what}; the page shows:\n{shown}")

    def until_shown(self, words: str, *, within: str = "#log") -> WebElement:
        """The element in which these words can be read, as soon as there is one."""
        found: WebElement = self.wait(lambda: self.run(READS, within, words), f"{words!r} in {within}")
        return found

    # Reading

    def message(self, words: str) -> WebElement:
        """The message in which these words can be read, as soon as it is published."""
        return self.until_shown(words, within=PUBLISHED)

    def unsent(self, words: str = "") -> WebElement:
        """What was written here, and refused, in which these words can be read."""
        return self.until_shown(words, within=".message.refused")

    def texts(self) -> list[str]:
        """The bodies of the messages that are published, from top to bottom."""
        return self.texts_of(f"{PUBLISHED} .body")

    def texts_of(self, selector: str) -> list[str]:
        """What can be read in each of the elements of a CSS selector."""
        return list(self.run(TEXTS, selector))

    def until_people(self, *names: str) -> None:
        """Wait until the list has these names and no others."""
        self.wait(lambda: self.texts_of("#nicknames li bdi") == list(names), f"people to be {names}")

    def in_sight(self, words: str) -> bool:
        """Whether the message with these words, if there is one, lies in the visible part of the log."""
        return bool(self.run(IN_SIGHT, words))

    def until_drawn(self) -> None:
        """Wait until the page has been drawn once more: it hears of scrolling with the next frame."""
        self.browser.execute_async_script(FRAMES)

    def notice(self) -> str:
        """The notice, as soon as there is one."""
        return self.find("#notice-text").text

    def width_of_picture(self, message: WebElement) -> int:
        """How wide the message's picture is, in its own pixels, as soon as it is shown."""
        image = message.find_element(CSS, ".picture-link img")
        return self.wait(lambda: int(str(image.get_property("naturalWidth"))), "the picture to be decoded")

    def downloaded(self, link: WebElement) -> str:
        """Click a download and return the saved file's content."""
        name = link.get_attribute("data-file")
        assert name
        link.click()
        file = self.downloads / name

        def is_saved() -> bool:  # a browser may begin with an empty file under that name
            return file.exists() and file.stat().st_size > 0 and not any(self.downloads.glob("*.crdownload"))

        self.wait(is_saved, f"{name} to be saved")
        return file.read_text("utf-8")

    # Doing

    def join(self, channel: str, nickname: str = "") -> None:
        """Go into a channel, by keyboard alone; wait until the page is there, and registered."""
        self.choose(channel)
        self.find("#nickname").clear()
        self.find("#nickname").send_keys(nickname, Keys.ENTER)
        if nickname:
            self.until_shown(f"{nickname} joined")
        else:
            self.until_shown("here", within="#people-title")

    def choose(self, channel: str) -> None:
        """Choose a channel in the lobby."""
        self.find("#join")

        def press() -> bool:  # found anew if the page has just drawn it again
            if offered := self.run(RADIO, channel):
                offered.click()
            return bool(offered)

        self.wait(press, f"{channel} to be offered")

    def say(self, text: str) -> None:
        """Write a text, at once and not letter by letter, and press Enter."""
        field = self.find("#text")
        self.run("arguments[0].focus()", field)
        self.browser.execute_cdp_cmd("Input.insertText", {"text": text})
        field.send_keys(Keys.ENTER)

    def pick(self, picture: Path) -> None:
        """Choose a picture file, and wait until it has been read."""
        self.all("#picture")[0].send_keys(str(picture))
        self.until_shown(picture.name, within="#attachment-text")
