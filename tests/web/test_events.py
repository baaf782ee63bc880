"""A browser's own EventSource reads a channel along, and comes back without a hole when the server restarts."""

import json

from selenium.webdriver import Chrome

from tests.support.processes import Stack
from tests.support.rest import channel_path
from tests.support.waiting import until
from tests.web.conftest import Join

OPEN = """
const [path] = arguments;
window.heard = []; window.opened = 0;
window.events = new EventSource(path);
window.events.onopen = () => { window.opened += 1; };
window.events.addEventListener("text", (event) => window.heard.push([event.lastEventId, JSON.parse(event.data)]));
"""


async def test_a_browser_reads_along_and_misses_nothing_of_a_restart(
    stack: Stack, browser: Chrome, join: Join, channel: str
) -> None:
    front = stack.fronts[0]
    browser.get(front.url + "/")
    jane = await join(channel, "jane")
    said = [await jane.say() for _ in range(3)]
    await jane.until(text=said[-1])

    browser.execute_script(OPEN, channel_path(channel, "events"))

    def heard() -> list[list[object]]:
        return list(browser.execute_script("return window.heard"))

    said.append(await jane.say())
    await until(lambda: len(heard()) == len(said), "all texts", every=0.1)
    await jane.leave()
    await front.stopped()
    front.start()
    stack.wait_healthy(front)
    john = await join(channel, "john")
    said += [await john.say() for _ in range(8)]  # more than the history holds
    await until(lambda: len(heard()) == len(said), "all texts", every=0.1)

    assert [message["text"] for _, message in heard()] == said
    assert all(id == message["id"] for id, message in heard())
    assert int(json.loads(browser.execute_script("return JSON.stringify(window.opened)"))) == 2
    browser.execute_script("window.events.close()")
