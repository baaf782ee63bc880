"""Bots for tests under faults: they reconnect whenever their connection ends, and record everything in a ledger.

Peer      receives everything; reconnects with `?after=` the last message that it has received
Talker    … and sends bursts of texts and photos; repeats messages of unknown outcome under the same id
Guest     receives everything, and registers its nickname after each connection
"""

import asyncio
import contextlib
import functools
import json
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from gischat.front.close_status import HISTORY_TIMEOUT, PING_TIMEOUT, SHUTTING_DOWN, SLOW_CLIENT
from tests.support.contract import CANARY, Message, check, sample
from tests.support.ledger import Ledger
from tests.support.pictures import as_base64, encoded, quarters
from tests.support.waiting import DEADLINE

RETURN_SECONDS = 0.1

TAKEN = "already registered"
MISSED = "What you missed is no longer kept"
GAP = "some messages may be missing"
GOODBYES = {
    status.user_message for status in (HISTORY_TIMEOUT, SHUTTING_DOWN, PING_TIMEOUT, SLOW_CLIENT)
}  # they refuse no message

_OPTIONS: dict[str, Any] = {"compression": None, "max_size": None, "ping_interval": None, "proxy": None}


class Session:
    """One connection of a peer."""

    def __init__(self, connection: ClientConnection, *, continues: bool) -> None:
        self.connection = connection
        self.is_over = False
        self.is_in = False  # the history has arrived, and a count
        self.continues = continues  # its first messages follow exactly the last ones received before
        self.refusals: list[str] = []
        self.is_taken = False
        self.has_gap = False

    async def send(self, message: Message) -> None:
        await self.connection.send(json.dumps(message))


class Peer:
    """A client in the channel. `urls` are the fronts that it connects to in turn, beginning with the first."""

    def __init__(self, name: str, urls: Sequence[str], channel: str, ledger: Ledger, dice: random.Random) -> None:
        self.name = name
        self.nb_users: int | None = None
        self.sessions = 0
        self.session: Session | None = None
        self.closings: list[int | None] = []  # close codes of connections that we did not close
        self._urls = list(urls)
        self._channel = channel
        self._ledger = ledger
        self._dice = dice
        self._last: str | None = None
        self._news = asyncio.Event()
        self._present: asyncio.Task[None] | None = None
        self.breach: BaseException | None = None
        self.was_published: Callable[[str], bool] = lambda id: False  # as an operator could find out
        ledger.join(name)

    async def come(self) -> None:
        """Connect, and from now on reconnect whenever the connection ends."""
        self._present = asyncio.create_task(self._stay())
        await self.wait(lambda: self.session is not None and self.session.is_in, "to be in")

    async def leave(self) -> None:
        await _cancelled(self._present)

    def move(self) -> None:
        """Cut the connection, and so move to the next front."""
        assert self.session is not None
        self.session.connection.transport.abort()

    async def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition that depends on this peer's messages or connection."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    self.raise_breach()
                    self._news.clear()
                    with contextlib.suppress(TimeoutError):
                        # Others' messages may make it true, too.
                        async with asyncio.timeout(0.5):
                            await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} waited {DEADLINE} s for {what}; {self._ledger.balance()}") from None

    def raise_breach(self) -> None:
        if self.breach is not None:
            raise self.breach

    async def _stay(self) -> None:
        place = 0
        while True:
            with contextlib.suppress(OSError, InvalidHandshake, TimeoutError, EOFError):
                await self._be_on(self._urls[place % len(self._urls)])
            place += 1
            await asyncio.sleep(RETURN_SECONDS)

    async def _be_on(self, url: str) -> None:
        query = f"?after={self._last}" if self._last else ""
        address = f"{url.replace('http', 'ws', 1)}/channel/{quote(self._channel)}/ws{query}"
        async with connect(address, open_timeout=5, close_timeout=1, **_OPTIONS) as connection:
            session = self.session = Session(connection, continues=bool(query) or not self.sessions)
            self.sessions += 1
            try:
                async for frame in connection:
                    self._receive(session, frame)
            except ConnectionClosed:
                pass
            finally:
                session.is_over = True
                self._news.set()
            self.closings.append(connection.close_code)

    def _receive(self, session: Session, frame: str | bytes) -> None:
        try:
            message = json.loads(frame)
            check(message)
        except Exception as error:
            self.breach = self.breach or AssertionError(f"{error!r} in frame {frame[:300]!r}")
        else:
            if message["type"] == "nb_users":
                self.nb_users = message["nb_users"]
                session.is_in = True
            elif message["type"] == "uncompliant":
                self._be_refused(session, message["reason"])
            else:
                if not self._ledger.may_be_echo(self.name, message["id"]):
                    self._last = message["id"]  # not of an echo, which may come long after its message
                is_history = not session.continues and not session.is_in
                self._ledger.hear(self.name, message["id"], may_repeat=is_history, fills_gap=not session.continues)
                self.hear(message)
        self._news.set()

    def hear(self, message: Message) -> None:
        """Hook for subclasses, called with each message."""

    def _be_refused(self, session: Session, reason: str) -> None:
        if reason.startswith(MISSED):
            session.continues = False
            self._ledger.tell_of_gap(self.name)
        elif GAP in reason:
            session.has_gap = True
            self._ledger.tell_of_gap(self.name)
        elif TAKEN in reason:
            session.is_taken = True
        elif reason not in GOODBYES:
            session.refusals.append(reason)


class Talker(Peer):
    """Sends bursts of messages; waits until all messages of a burst are delivered or refused before the next."""

    photos = 0.12  # of all messages
    large_photos = 0.0  # of the photos
    longest_burst = 6
    pause = 0.15  # seconds, at the most, between two bursts

    @property
    def is_being_refused(self) -> bool:
        return self.session is not None and bool(self.session.refusals)

    async def talk(self, until: Callable[[], bool]) -> None:
        """Send bursts until the condition holds."""
        while not until():
            await self.say(self._dice.randint(1, self.longest_burst))
            await asyncio.sleep(self._dice.random() * self.pause)

    async def say(self, count: int) -> None:
        """Send so many messages; returns when each is received or refused."""
        await self.send([self._message() for _ in range(count)])

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages, repeating them until each is received or refused."""
        for message in messages:
            self._ledger.send(message["id"], self.name, message["type"])
        waiting = {message["id"]: message for message in messages}
        said: set[str] = set()
        refused_before: set[str] = set()  # perhaps refused, in earlier connections
        while True:
            session = await self._session(wait_until_in=self._dice.random() < 0.5)
            waiting = {id: message for id, message in waiting.items() if not self._ledger.has_heard(self.name, id)}
            session.refusals.clear()
            with contextlib.suppress(ConnectionClosed):
                for id, message in waiting.items():
                    if id in said:
                        self._ledger.send_again(id, was_refused=id in refused_before)
                    said.add(id)
                    await session.send(message)
            await self.wait(
                functools.partial(self._is_ended, session, waiting), f"{len(waiting)} messages to be heard or refused"
            )
            if len(session.refusals) >= len(refused := self._unresolved(waiting)):
                break
            if session.refusals:
                refused_before.update(refused)
        for id in refused:
            self._ledger.refuse(id)

    async def _session(self, *, wait_until_in: bool) -> Session:
        def there() -> bool:
            session = self.session
            return session is not None and not session.is_over and (session.is_in or not wait_until_in)

        await self.wait(there, "a connection")
        assert self.session is not None
        return self.session

    def _unresolved(self, messages: Iterable[str]) -> list[str]:
        """The messages whose echo has not arrived yet. After a gap the echo may have been missed: then it suffices that
        the message was published, since a repetition is not published again, and so not received."""
        unheard = [id for id in messages if not self._ledger.has_heard(self.name, id)]
        if self.session is None or (self.session.continues and not self.session.has_gap):
            return unheard
        self._ledger.delivered.update(filter(self.was_published, unheard))
        return [id for id in unheard if id not in self._ledger.delivered]

    def _is_ended(self, session: Session, waiting: Iterable[str]) -> bool:
        return session.is_over or len(session.refusals) >= len(self._unresolved(waiting))

    def _message(self) -> Message:
        id = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
        if self._dice.random() >= self.photos:
            return sample("text", id=id, author=self.name, text=f"{CANARY} {id}")
        large = self._dice.random() < self.large_photos
        return sample("image", id=id, author=self.name, image_data=photo(4000, 3000) if large else photo(120, 90))


@functools.cache
def photo(width: int, height: int) -> str:
    """A photo's `image_data`."""
    return as_base64(encoded(quarters(width, height), "JPEG"))


class Guest(Peer):
    """Registers under its own name."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._named_in: Session | None = None
        self._naming: asyncio.Task[None] | None = None

    @property
    def is_registered(self) -> bool:
        session = self.session
        return session is not None and self._named_in is session and not session.is_over and not session.is_taken

    async def come(self) -> None:
        await super().come()
        self._naming = asyncio.create_task(self._keep_named())
        await self.wait(lambda: self.is_registered, "its nickname")

    async def leave(self) -> None:
        await _cancelled(self._naming)
        await super().leave()

    async def _keep_named(self) -> None:
        """Send one `newcomer` per connection, as QGIS does; the server keeps the request while it cannot grant it."""
        while True:
            await self.wait_long(lambda: self.session is not None and not self.session.is_over and self.session.is_in)
            session = self.session
            assert session is not None
            with contextlib.suppress(ConnectionClosed):
                await session.send(sample("newcomer", newcomer=self.name))
            await self.wait_long(functools.partial(lambda of: of.is_over, session))

    async def wait_long(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    def hear(self, message: Message) -> None:
        if message["type"] == "newcomer" and message["newcomer"] == self.name:
            self._named_in = self.session
            if self.session is not None:
                self.session.is_taken = False
        elif message["type"] == "exiter" and message["exiter"] == self.name:
            self._named_in = None if self._named_in is self.session else self._named_in


async def _cancelled(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
