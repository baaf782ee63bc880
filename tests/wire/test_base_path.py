"""`BASE_PATH=/maps/chat`: the instance has an address with a path, whether a proxy strips it or not."""

from collections.abc import Iterator

import pytest

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.processes import Stack
from tests.support.rest import Rest

BASE = "/maps/chat"
TOKEN = "0123456789abcdef"
EVERY_PATH = ["/", "/web/chat.js", "/version", "/channels", "/rules", "/status", "/docs", "/docs/swagger-ui.css"]
EVERY_PATH += ["/openapi.json", "/livez", "/readyz", "/channel/QGIS/users", "/channel/QGIS/last", "//rules"]


@pytest.fixture(scope="module")
def stack(open_stack: StackFactory) -> Iterator[Stack]:
    with open_stack(heavy=0, base_path=BASE, admin_token=TOKEN) as stack:
        yield stack
    stack.assert_quiet_logs()


async def test_every_path_but_the_operators_is_answered_with_and_without_the_base(rest: Rest) -> None:
    for path in EVERY_PATH:
        below, without = await rest.fetch(BASE + path), await rest.fetch(path)
        assert (below.code, below.body) == (200, without.body), path
    for unknown in (BASE + "/nowhere", "/maps/chatter/rules"):
        assert (await rest.fetch(unknown)).code == 404
    for path in ("/metrics", "/admin/bans"):
        for asked, code in ((path, 200), (BASE + path, 404), (f"{BASE}/{path}", 404)):
            assert (await rest.fetch(asked, Authorization=f"Bearer {TOKEN}")).code == code, asked


async def test_the_openapi_document_names_the_base(rest: Rest) -> None:
    document = await rest.get(BASE + "/openapi.json")
    assert document["servers"] == [{"url": BASE}]
    assert (await rest.get(BASE + "/map"))["code"] == f"{BASE}/web/built/map.js"
    assert document["paths"]["/metrics"]["get"]["servers"] == [{"url": "/"}]
    assert "servers" not in document["paths"]["/rules"]["get"]


async def test_messages_are_exchanged_below_the_base(stack: Stack) -> None:
    for slash in ("", "/"):
        jane = await Client.connect(stack.fronts[0].url + BASE + slash, "QGIS")
        await jane.until(text=await jane.say())
        await jane.leave()
