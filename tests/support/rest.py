"""Client of the HTTP API, as used by a bot."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.support.waiting import DEADLINE, LOOK


class Rest:
    """Requests to one front."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._client = AsyncHTTPClient(force_instance=True)

    async def fetch(
        self,
        path: str,
        method: str = "GET",
        body: str | bytes | None = None,
        *,
        follow_redirects: bool = True,
        **headers: str,
    ) -> HTTPResponse:
        """Send a request with these headers (`Content_Type="…"`); returns the response, whatever its status."""
        given = {"Content-Type": "application/json"} if body is not None else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.fetch(
            self.base_url + path,
            method=method,
            body=body,
            headers=given,
            follow_redirects=follow_redirects,
            raise_error=False,
        )

    async def get(self, path: str) -> Any:
        """The JSON answer of a GET, which must have status 200."""
        response = await self.fetch(path)
        assert response.code == 200, f"{path}: {response.code} {response.body[:300]!r}"
        return json.loads(response.body)

    async def users(self, channel: str) -> Any:
        return await self.get(channel_path(channel, "users"))

    async def last(self, channel: str) -> Any:
        return await self.get(channel_path(channel, "last"))

    async def put_text(self, channel: str, body: Any) -> HTTPResponse:
        """PUT a text; a str or bytes is sent unchanged, anything else as JSON."""
        raw = body if isinstance(body, str | bytes) else json.dumps(body)
        return await self.fetch(channel_path(channel, "text"), "PUT", raw)

    async def nb_connected_users(self, channel: str) -> int:
        channels = (await self.get("/status"))["channels"]
        return next(int(entry["nb_connected_users"]) for entry in channels if entry["name"] == channel)

    def close(self) -> None:
        self._client.close()


def channel_path(channel: str, end: str) -> str:
    """`/channel/{channel}/{end}`, percent-encoded."""
    return f"/channel/{quote(channel, safe='')}/{end}"


async def eventually(ask: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Poll until the answer is the expected one: for conditions without a notification."""
    answer = None
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                answer = await ask()
                if answer == expected:
                    return
                await asyncio.sleep(LOOK)
    except TimeoutError:
        message = f"waited {DEADLINE} s for {expected!r}, the last answer was {answer!r}"
        raise AssertionError(message) from None
