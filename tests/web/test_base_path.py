"""`BASE_PATH=/maps/chat`: the page and the documentation live below that path."""

from tests.conftest import StackFactory
from tests.web.conftest import Browse

BASE = "/maps/chat"


def test_the_page_and_the_documentation_live_below_it(start_stack: StackFactory, browse: Browse) -> None:
    (front,) = start_stack(heavy=0, base_path=BASE).fronts
    # Given the address as people type it, without a slash at its end
    page = browse(BASE, base_url=front.url)
    assert page.browser.current_url == f"{front.url}{BASE}/"

    # When somebody comes and speaks, then all that the page asks for is below that address
    page.join("QGIS", "jane")
    page.say("below")
    page.until_shown("below")
    asked = page.requested()
    assert f"{front.url}{BASE}/web/chat.js" in asked
    assert [url for url in asked if BASE not in url] == []

    # … and so is the documentation, with a slash at its end, too
    docs = browse(BASE + "/docs/", base_url=front.url)
    docs.find(".opblock")
    assert docs.browser.current_url == f"{front.url}{BASE}/docs"
