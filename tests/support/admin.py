"""Client of the admin API, over HTTP and by the command line."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tornado.httpclient import HTTPResponse

from tests.support.fork_server import run
from tests.support.processes import Process
from tests.support.rest import Rest

TOKEN = "a-token-that-nobody-guesses"


class Admin(Rest):
    """Requests to `/admin` of one front; paths are relative to that."""

    def __init__(self, base_url: str, token: str | None = TOKEN, name: str = "anna") -> None:
        super().__init__(base_url)
        self.headers = {"X-Moderator": name, **({"Authorization": f"Bearer {token}"} if token is not None else {})}

    async def ask(self, method: str, path: str, body: Any = None) -> HTTPResponse:
        """Send a request; returns the response, whatever its status."""
        return await self._client.fetch(
            f"{self.base_url}/admin/{path}",
            method=method,
            body=None if body is None else json.dumps(body),
            headers=self.headers,
            allow_nonstandard_methods=True,
            raise_error=False,
        )

    async def act(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that succeeds; returns the answer."""
        response = await self.ask(method, path, body)
        assert response.code in (200, 201), f"{method} {path}: {response.code} {response.body[:500]!r}"
        return json.loads(response.body)

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request that fails; returns the status and the reason."""
        response = await self.ask(method, path, body)
        return response.code, json.loads(response.body)["detail"]


class Ran(NamedTuple):
    """The result of a command."""

    status: int
    out: str
    err: str


async def gischat_admin(url: str, *arguments: str, directory: Path, **environment: str) -> Ran:
    """Run `gischat admin` in a process, by default with the token in its environment."""
    given = {"ADMIN_TOKEN": TOKEN, "ADMIN_URL": url} | environment
    given = {name: value for name, value in given.items() if value}
    ran = await asyncio.to_thread(run, "-m", "gischat", "admin", *arguments, directory=directory, **given)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def acts(front: Process) -> list[dict[str, Any]]:
    """The moderators' acts that a front has logged since its mark."""
    lines = [json.loads(line) for line in front.new_log().splitlines() if '"message": "moderation: ' in line]
    assert all(line["level"] == "INFO" and line["logger"] == "gischat.front.handlers.admin" for line in lines)
    return lines


def below(channel: str, end: str) -> str:
    """A path of a channel."""
    return f"channels/{quote(channel, safe='')}/{end}"
