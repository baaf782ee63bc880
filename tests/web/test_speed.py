"""What makes much work on the page is done once, and not before somebody wants it: counted, not timed."""

import json
import uuid
from typing import Any

from tests.support.contract import sample, words
from tests.support.layers import feature, layer, point
from tests.web.conftest import Browse
from tests.web.page import Page

# Lets a test bring messages to the page all at once, as a server does after a pause.
LISTEN = """
const Real = WebSocket;
globalThis.WebSocket = class extends Real {
    constructor(...options) {
        super(...options);
        globalThis.socket = this;
    }
};
"""
BRING = "for (const data of arguments[0]) socket.onmessage({ data });"
FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]));"


def message(type_: str, **changes: Any) -> str:
    """A message as a server sends it."""
    empty = {"avatar": None, "style": None, "model_group": None} if type_ == "geojson" else {"avatar": None}
    return json.dumps({"id": str(uuid.uuid4()), "timestamp": 1_700_000_000, **empty, **sample(type_, **changes)})


def bring(page: Page, *messages: str) -> None:
    page.browser.execute_script(BRING, messages)
    page.browser.execute_async_script(FRAMES)


def layouts(page: Page) -> int:
    """How often the browser has laid out the page."""
    metrics = page.browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return int(next(metric["value"] for metric in metrics if metric["name"] == "LayoutCount"))


def open_page(browse: Browse, channel: str) -> Page:
    page = browse()
    page.browser.execute_cdp_cmd("Performance.enable", {})
    script = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
    page.reload()
    page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    page.join(channel)
    return page


def test_200_messages_at_once_in_a_full_log_are_laid_out_together(browse: Browse, channel: str) -> None:
    page = open_page(browse, channel)
    bring(page, *(message("text", text=words()) for _ in range(499)), message("text", text=(full := words())))
    page.message(full)
    before = layouts(page)
    bring(page, *(message("text", text=words()) for _ in range(199)), message("text", text=(last := words())))
    page.wait(lambda: page.in_sight(last), "the last message")
    assert layouts(page) - before < 100  # one for each would be 200; on a fast machine it is a handful
    assert len(page.all("#log > *")) == 500  # a page that is open for long does not grow for ever


def test_a_large_layer_is_written_down_when_somebody_saves_it(browse: Browse, channel: str) -> None:
    page = open_page(browse, channel)
    page.browser.execute_script(
        """
        globalThis.written = 0;
        const { stringify } = JSON;
        JSON.stringify = (value, ...options) => {
            const text = stringify(value, ...options);
            globalThis.written += text?.length ?? 0;
            return text;
        };
        """
    )
    features = [feature(point(x, 0.5), properties={"name": "x" * 5000}) for x in range(400)]
    bring(page, message("geojson", layer_name="wells", geojson=layer(features)))
    shown = page.message("shared the layer “wells” (400 features, EPSG:2154)")
    assert page.browser.execute_script("return written") < 10_000
    saved = json.loads(page.downloaded(shown.find_element("css selector", ".download")))
    assert saved["features"] == features
