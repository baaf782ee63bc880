"""A real Synapse on the loopback, with SQLite, and accounts there."""

import asyncio
import base64
import json
import os
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.support.fork_server import BARE_ENVIRONMENT
from tests.support.processes import HOST, START_WITHIN, Port, Process, _holds
from tests.support.waiting import DEADLINE

SERVER = "example.test"
CLIENT = "/_matrix/client/v3"


class Synapse(Process):
    """The homeserver; all its data are temporary."""

    def __init__(self, directory: Path) -> None:
        port = Port()
        self.url = f"http://{HOST}:{port.number}"
        port.release()
        unlimited = {"per_second": 10_000, "burst_count": 10_000}
        configuration = {
            "server_name": SERVER,
            "pid_file": str(directory / "synapse.pid"),
            "listeners": [
                {"port": port.number, "type": "http", "bind_addresses": [HOST], "resources": [{"names": ["client"]}]}
            ],
            "database": {"name": "sqlite3", "args": {"database": str(directory / "synapse.db")}},
            "media_store_path": str(directory / "media"),
            "signing_key_path": str(directory / "signing.key"),
            "log_config": str(directory / "log.yaml"),
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "macaroon_secret_key": "macaroon",
            "form_secret": "form",
            "federation_domain_whitelist": [],
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "report_stats": False,
            "redaction_retention_period": None,
            "rc_message": unlimited,
            "rc_registration": unlimited,
            "rc_joins": {"local": unlimited, "remote": unlimited},
        }
        console = {"class": "logging.StreamHandler"}
        logs = {"version": 1, "root": {"level": "WARNING", "handlers": ["console"]}, "handlers": {"console": console}}
        (directory / "log.yaml").write_text(json.dumps(logs))  # JSON is YAML
        (directory / "synapse.yaml").write_text(json.dumps(configuration))
        # Synapse would generate it in a process of its own, which takes as long as the server to start.
        seed = base64.b64encode(os.urandom(32)).decode().rstrip("=")
        (directory / "signing.key").write_text(f"ed25519 a_test {seed}\n")
        command = [str(Path(sys.executable).with_name("synapse_homeserver")), "-c", str(directory / "synapse.yaml")]
        super().__init__("synapse", command, BARE_ENVIRONMENT, directory)

    def start(self) -> None:
        """Start it, and wait until it answers, which takes seconds."""
        super().start()
        deadline = time.monotonic() + START_WITHIN
        while not _holds(self._answers):
            assert self.running, self.whole_log()
            assert time.monotonic() < deadline, self.whole_log()
            self.ends_within(0.2)

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=5) as answer:
            return bool(answer.status == 200)

    async def register(self, name: str) -> "Account":
        """Register an account with this name and a random suffix."""
        name = f"{name}{uuid.uuid4().hex[:6]}"
        content = {"username": name, "password": "pw", "auth": {"type": "m.login.dummy"}}
        answer = await _asked(self.url, "POST", f"{CLIENT}/register", content)
        return Account(self.url, answer["user_id"], answer["access_token"])


class Account:
    """An account, and what its user sees of one room."""

    def __init__(self, url: str, user: str, token: str) -> None:
        self.user = user
        self.token = token
        self.room = ""
        self.seen: list[dict[str, Any]] = []  # the room's events since its creation or joining
        self._url = url
        self._since = ""

    @property
    def nickname(self) -> str:
        """The nickname that a bridge gives to the user."""
        return self.user.removeprefix("@").replace(":", "-").replace(".", "-")

    async def ask(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        return await _asked(self._url, method, path, content, self.token)

    async def create_room(self) -> str:
        answer = await self.ask("POST", f"{CLIENT}/createRoom", {"preset": "public_chat"})
        self.room = str(answer["room_id"])
        return self.room

    async def join(self, room: str) -> None:
        await self.ask("POST", f"{CLIENT}/join/{quote(room)}", {})
        self.room = room

    async def send(self, type: str = "m.room.message", **content: Any) -> str:
        """Send an event to the room; return its id."""
        path = f"{CLIENT}/rooms/{quote(self.room)}/send/{type}/{uuid.uuid4()}"
        return str((await self.ask("PUT", path, content))["event_id"])

    async def say(self, text: str, **content: Any) -> str:
        return await self.send(msgtype="m.text", body=text, **content)

    async def leave(self) -> None:
        await self.ask("POST", f"{CLIENT}/rooms/{quote(self.room)}/leave", {})

    async def redact(self, event: str) -> None:
        await self.ask("PUT", f"{CLIENT}/rooms/{quote(self.room)}/redact/{quote(event)}/{uuid.uuid4()}", {})

    async def upload(self, data: bytes, content_type: str) -> str:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        url = f"{self._url}/_matrix/media/v3/upload"
        answer = await AsyncHTTPClient().fetch(HTTPRequest(url, "POST", headers, data, request_timeout=DEADLINE))
        return str(json.loads(answer.body)["content_uri"])

    async def download(self, address: str) -> bytes:
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self._url}/_matrix/client/v1/media/download/{address.removeprefix('mxc://')}"
        return bytes((await AsyncHTTPClient().fetch(HTTPRequest(url, "GET", headers))).body)

    async def until(self, **conditions: Any) -> dict[str, Any]:
        """Wait for an event of the room whose content has these values; return it."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for event in self.seen:
                    if all(event["content"].get(name) == value for name, value in conditions.items()):
                        return event
                await self.look()

    async def look(self) -> None:
        """Fetch new events; wait for them for a second at most."""
        query = {"timeout": 1000, "filter": json.dumps({"room": {"timeline": {"limit": 200}}})}
        if self._since:
            query["since"] = self._since
        answer = await self.ask("GET", f"{CLIENT}/sync?{urlencode(query)}")
        self._since = answer["next_batch"]
        room = answer.get("rooms", {}).get("join", {}).get(self.room, {})
        self.seen += room.get("timeline", {}).get("events", [])

    def bodies(self) -> list[str]:
        """The texts of all messages, in order."""
        return [e["content"]["body"] for e in self.seen if "body" in e["content"] and e["type"] == "m.room.message"]


async def _asked(url: str, method: str, path: str, content: Any = None, token: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = None if content is None else json.dumps(content)
    request = HTTPRequest(url + path, method, headers, body, request_timeout=DEADLINE)
    answer: dict[str, Any] = json.loads((await AsyncHTTPClient().fetch(request)).body)
    return answer
