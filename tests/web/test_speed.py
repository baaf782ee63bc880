"""What makes much work on the page is done once, and not before somebody wants it: counted, not timed."""

import json
import uuid
from typing import Any

from tests.support.contract import sample, words
from tests.support.layers import feature, layer, point
from tests.web.conftest import Browse
from tests.web.page import CSS, Page

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
COUNT_WRITTEN = """
globalThis.written = 0;
const { stringify } = JSON;
JSON.stringify = (value, ...options) => {
    const text = stringify(value, ...options);
    globalThis.written += text?.length ?? 0;
    return text;
};
"""


def message(type_: str, **changes: Any) -> str:
    """A message as a server sends it."""
    empty = {"avatar": None, "style": None, "model_group": None} if type_ == "geojson" else {"avatar": None}
    return json.dumps({"id": str(uuid.uuid4()), "timestamp": 1_700_000_000, **empty, **sample(type_, **changes)})


def bring_texts(page: Page, number: int) -> None:
    page.run(BRING, [message("text", text=(last := words())) for _ in range(number)])
    page.until_drawn()
    page.wait(lambda: page.in_sight(last), "the last message")


def layouts(page: Page) -> int:
    """How often the browser has laid out the page."""
    metrics = page.browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return int(next(metric["value"] for metric in metrics if metric["name"] == "LayoutCount"))


def test_much_is_done_together_and_large_layers_are_written_down_when_wanted(browse: Browse, channel: str) -> None:
    page = browse()
    page.browser.execute_cdp_cmd("Performance.enable", {})
    page.run(LISTEN)
    page.join(channel)

    # 200 messages at once in a full log are laid out together
    bring_texts(page, 500)
    before = layouts(page)
    bring_texts(page, 200)
    assert layouts(page) - before < 100  # one for each would be 200; on a fast machine it is a handful
    assert len(page.all("#log > *")) == 500  # a page that is open for long does not grow for ever

    # A large layer is written down when somebody saves it
    page.run(COUNT_WRITTEN)
    features = [feature(point(x, 0.5), properties={"name": "x" * 5000}) for x in range(100)]
    page.run(BRING, [message("geojson", layer_name="wells", geojson=layer(features))])
    shown = page.message("shared the layer “wells” (100 features, EPSG:2154)")
    assert page.run("return written") < 10_000
    saved = json.loads(page.downloaded(shown.find_element(CSS, ".download")))
    assert saved["features"] == features
