"""Foreign pages in a browser try to use a chat that only this browser can reach."""

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import words
from tests.support.rest import Rest, channel_path

ATTEMPTS = 5  # for each origin, over the websocket and over HTTP

# {host} is our own
FORGED = [
    "https://evil.example",
    "http://{host}.evil.example",
    "http://evil.example/{host}",
    "http://evil.example@{host}",
    "http://{host}@evil.example",
    "http://{host}#.evil.example",
    "http://{host}\\.evil.example",
    "http://{host}, http://evil.example",
    "http://{host} http://evil.example",
    "http://localhost:1",
    "ftp://{host}",
    "file://",
    "null",
    "http://[",
    "http://[::ffff]:x",
    "http://" + "a" * 4000,
    "\x80\xff",
]


async def test_forged_origins_are_refused_and_do_not_affect_others(start_stack: StackFactory) -> None:
    # Given an ordinary user
    stack = start_stack(heavy=0)
    front = stack.fronts[0]
    host = front.url.removeprefix("http://")
    user = await Client.connect(front.url, "QGIS")
    rest = Rest(front.url)

    async def knock(origin: str) -> None:
        body = json.dumps({"author": "evil", "text": words()})
        for _ in range(ATTEMPTS):
            with pytest.raises(InvalidStatus) as refused:
                await Client.connect(front.url, "QGIS", origin=origin)
            assert refused.value.response.status_code == 403
            answer = await rest.fetch(channel_path("QGIS", "text"), "PUT", body, Origin=origin)
            assert answer.code == 403
            assert "Access-Control-Allow-Origin" not in answer.headers

    # When pages of all kinds try to join and to write, repeatedly and at once
    attack = asyncio.gather(*(knock(origin.format(host=host)) for origin in FORGED))
    said = []
    while not attack.done():
        said.append(await user.say())
        await user.until(text=said[-1])
    await attack

    # Then none was admitted, and the user's messages were published all the time
    assert len(said) > ATTEMPTS
    assert user.texts() == said
    await user.count(1)
    assert await rest.get(channel_path("QGIS", "users")) == []
    rest.close()
    await user.leave()
