"""Servers under attack, and an ordinary user who must not be affected."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.attacks.attackers import CHANNEL, PROXIES
from tests.support import fork_server
from tests.support.client import Client
from tests.support.fork_server import BARE_ENVIRONMENT, RUN_WITHIN
from tests.support.processes import ROOT, Stack

StackFactory = Callable[..., Stack]

# The defaults of settings
HONEST = {
    "max_messages_per_minute": 1200,
    "max_heavy_per_minute": 60,
    "max_address_messages_per_minute": 1500,
    "max_address_requests_per_minute": 6000,
}
# … and lower limits where an attack would take too long to reach the default
LOW = {
    "max_connections": 80,
    "max_connections_per_address": 40,
    "max_pending_connections": 60,
    "handshake_seconds": 5,
    "max_front_bytes": 4 * 2**20,
    "ws_ping_interval": 1,
    "ws_ping_timeout": 10,
}
ADDRESSES = itertools.count()
ROUNDS = 8  # minimum during an attack
PAUSE_SECONDS = 0.05  # between two texts


class User:
    """A client that sends a text, waits for its echo, and continues."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.said: list[str] = []

    async def talk(self, until: Callable[[], bool]) -> None:
        """Send texts until the condition holds, some rounds at least; each echo must arrive within the deadline."""
        least = len(self.said) + ROUNDS
        while len(self.said) < least or not until():
            self.said.append(await self.client.say(author=self.name))
            await self.client.until(type="text", text=self.said[-1])
            await asyncio.sleep(PAUSE_SECONDS)

    def has_heard_everything(self) -> bool:
        """Check that all echoes arrived once and in order, and nothing was refused."""
        ours = [m["text"] for m in self.client.received if m["type"] == "text" and m["author"] == self.name]
        return ours == self.said and not any(m["type"] == "uncompliant" for m in self.client.received)


class House:
    """A front to attack, with its worker."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.front = stack.fronts[0]

    def address(self) -> str:
        """An address that no other client of the test has."""
        number = next(ADDRESSES)
        return f"10.1.{number // 250}.{number % 250 + 1}"

    @asynccontextmanager
    async def user(self) -> AsyncIterator[User]:
        """An ordinary user; checks at the end that all echoes arrived."""
        address = self.address()
        client = await Client.connect(self.front.url, CHANNEL, additional_headers={"X-Forwarded-For": address})
        user = User(client, f"jane-{address.replace('.', '-')}")
        try:
            yield user
            assert user.has_heard_everything()
        finally:
            await client.leave()

    async def endures(self, attack: str, user: User, **options: Any) -> Any:
        """Run an attack while the user sends texts; returns its result."""
        async with self.attacked(attack, **options) as result:
            await user.talk(result.done)
            return result.result()

    @asynccontextmanager
    async def attacked(self, attack: str, **options: Any) -> AsyncIterator["asyncio.Future[Any]"]:
        """Run an attack as long as the context lasts; the future is its result."""
        arguments = ["-m", "tests.attacks.attackers", attack, str(self.front.port), json.dumps(options)]
        (its_in, ours_out), (ours_in, its_out) = (map(os.fdopen, os.pipe(), ("rb", "wb")) for _ in range(2))
        log = self.stack.directory / "attack.log"
        with its_in, its_out, log.open("wb") as errors:
            process = fork_server.start(arguments, BARE_ENVIRONMENT, ROOT, its_out, errors, its_in)
        with ours_in:
            result = asyncio.create_task(asyncio.to_thread(lambda: json.loads(ours_in.readline() or "null")))
            try:
                yield result
            finally:
                ours_out.close()
                status = await asyncio.to_thread(process.wait, RUN_WITHIN)
                await asyncio.wait([result])
        assert status == 0, f"the attack {attack} failed: {log.read_text()}"

    def descriptors(self) -> int:
        """The number of open files and sockets of the front."""
        return len(list(Path(f"/proc/{self.front.pid}/fd").iterdir()))

    def resident_bytes(self) -> int:
        """The front's memory."""
        return int(Path(f"/proc/{self.front.pid}/statm").read_text().split()[1]) * 4096

    def told(self, name: str) -> int:
        """The number of log lines about rejections of that kind, at most one per minute."""
        return self.front.whole_log().count(f'"message": "{name}: ')


@pytest.fixture(scope="module")
def guarded(open_stack: StackFactory) -> Iterator[Stack]:
    """One front and one worker; all of this machine is a trusted proxy, so that attackers can have any address."""
    with open_stack(light=1, heavy=0, channels=CHANNEL, trusted_proxies=PROXIES, **HONEST, **LOW) as stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture
def house(io_loop: IOLoop, guarded: Stack) -> House:
    return House(guarded)
