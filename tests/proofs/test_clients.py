"""Clients of a real instance, compared with the contract as a model: whatever they do, in whatever order.

They join, register, write, leave, lose their connection, come back for what they have missed, are frozen and banned.
After each step everybody has received exactly what the contract says, in one order, and the server says the same over
HTTP.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support.admin import TOKEN, Admin, below
from tests.support.client import Client
from tests.support.contract import Message, words
from tests.support.processes import Stack
from tests.support.rest import eventually

STORED = 4  # messages that the instance keeps
CHANNELS = [f"Salle {number:02}" for number in range(1, 9)]
NICKNAMES = ("jane", "john", "Joan-3")
UNSTORED = "wizz"
HEAD_COUNT = "nb_users"

Expected = dict[str, Any]  # the keys of a message that the model knows

names = st.sampled_from(NICKNAMES)
fronts = st.integers(0, 1)
places = st.integers(0, 20)  # of somebody among those who are there


@dataclass(eq=False)
class Person:
    """Somebody in the channel, as the model knows them."""

    client: Client
    nickname: str | None = None
    wish: str | None = None  # a nickname that somebody else has
    expected: list[Expected] = field(default_factory=list)  # since the last look


class Channel:
    """What the contract says of a channel; `log` is what was told to everyone."""

    def __init__(self) -> None:
        self.people: list[Person] = []
        self.wishes: list[Person] = []  # the oldest first
        self.log: list[Message] = []
        self.stored: list[Message] = []
        self.is_frozen = False
        self.banned: set[str] = set()

    def bearer(self, nickname: str) -> Person | None:
        return next((person for person in self.people if person.nickname == nickname), None)

    def tell_all(self, **message: Any) -> None:
        for person in self.people:
            person.expected.append(message)

    def free(self, person: Person) -> None:
        """Gives a nickname up, and to the one who has wished for it the longest."""
        nickname, person.nickname = person.nickname, None
        if nickname is None:
            return
        self.tell_all(type="exiter", exiter=nickname)
        heir = next((other for other in self.wishes if other.wish == nickname), None)
        if heir is not None and nickname not in self.banned:
            self.wishes.remove(heir)
            heir.wish = None
            self.bear(heir, nickname)

    def bear(self, person: Person, nickname: str) -> None:
        self.free(person)
        person.nickname = nickname
        self.tell_all(type="newcomer", newcomer=nickname)

    def part(self, person: Person) -> None:
        """Somebody is gone, however."""
        self.people.remove(person)
        if person in self.wishes:
            self.wishes.remove(person)
        self.free(person)


class Clients(RuleBasedStateMachine):
    """Made anew for each example, in a channel that is empty."""

    stack: Stack
    runner: asyncio.Runner
    channels: Iterator[str]

    def __init__(self) -> None:
        super().__init__()
        self.name = next(self.channels)
        self.model = Channel()
        self.run(self.begin())

    def run(self, doing: Coroutine[Any, Any, None]) -> None:
        self.runner.run(doing)

    async def begin(self) -> None:
        self.admin = Admin(self.stack.fronts[0].url)
        await eventually(self.nb_connected_users, 0)
        # Sees everything, and is never named
        self.witness = await self.enter(0)

    async def nb_connected_users(self) -> int:
        return await self.admin.nb_connected_users(self.name)

    # What can happen

    @precondition(lambda self: len(self.model.people) < 5)
    @rule(front=fronts)
    def join(self, front: int) -> None:
        self.run(self.doing(self.enter(front)))

    @rule(place=places, nickname=names)
    def register(self, place: int, nickname: str) -> None:
        person = self.somebody(place)
        if person is None or person.wish:
            return
        bearer = self.model.bearer(nickname)
        if nickname in self.model.banned:
            person.expected.append({"type": "uncompliant"})
        elif bearer is None:
            self.model.bear(person, nickname)
        elif bearer is not person:
            reason = f"User '{nickname}' already registered in channel {self.name}"
            person.expected.append({"type": "uncompliant", "reason": reason})
            person.wish = nickname
            self.model.wishes.append(person)
        self.run(self.doing(person.client.send(type="newcomer", newcomer=nickname)))

    @rule(place=places)
    def give_up(self, place: int) -> None:
        person = self.somebody(place)
        if person is None or person.nickname is None:
            return
        nickname = person.nickname
        self.model.free(person)
        self.run(self.doing(person.client.send(type="exiter", exiter=nickname)))

    @rule(place=places, author=names, is_stored=st.booleans())
    def say(self, place: int, author: str, is_stored: bool) -> None:
        person = self.somebody(place) or self.witness
        text = words() if is_stored else UNSTORED
        if self.model.is_frozen or author in self.model.banned:
            person.expected.append({"type": "uncompliant"})
        else:
            self.model.tell_all(type="text", author=author, text=text)
        self.run(self.doing(person.client.send(type="text", author=author, text=text)))

    @rule(place=places, liked=names)
    def like(self, place: int, liked: str) -> None:
        person = self.somebody(place) or self.witness
        bearer = self.model.bearer(liked)
        if self.model.is_frozen:
            person.expected.append({"type": "uncompliant"})
        elif bearer is not None:
            bearer.expected.append({"type": "like", "liked_author": liked, "liker_author": "stranger"})
        like = {"type": "like", "liker_author": "stranger", "liked_author": liked, "message": words()}
        self.run(self.doing(person.client.send(**like)))

    @rule(place=places)
    def break_the_contract(self, place: int) -> None:
        person = self.somebody(place) or self.witness
        person.expected.append({"type": "uncompliant"})
        self.run(self.doing(person.client.send_raw("not json")))

    @rule(place=places, dies=st.booleans())
    def leave(self, place: int, dies: bool) -> None:
        if person := self.somebody(place):
            self.run(self.doing(self.go(person, dies=dies)))

    @rule(place=places, front=fronts, missed=st.integers(0, 3))
    def come_back(self, place: int, front: int, missed: int) -> None:
        if person := self.somebody(place):
            self.run(self.doing(self.miss(person, front, missed)))

    @rule()
    def freeze(self) -> None:
        self.model.is_frozen = not self.model.is_frozen
        method = "PUT" if self.model.is_frozen else "DELETE"
        self.run(self.doing(self.admin.act(method, below(self.name, "freeze"))))

    @rule(nickname=names)
    def ban(self, nickname: str) -> None:
        if nickname in self.model.banned:
            self.model.banned.remove(nickname)
            self.run(self.doing(self.lift(nickname)))
        else:
            self.model.banned.add(nickname)
            self.run(self.doing(self.shut_out(nickname)))

    # How it happens

    def somebody(self, place: int) -> Person | None:
        """Of those who are there; the witness is left in peace."""
        others = [person for person in self.model.people if person is not self.witness]
        return others[place % len(others)] if others else None

    async def enter(self, front: int, after: str | None = None) -> Person:
        """Joins, and is told the history, or what it has missed."""
        query = "" if after is None else f"?after={after}"
        history = self.model.stored if after is None else missed(self.model.log, after)
        person = Person(await Client.connect(self.stack.fronts[front].url, self.name, query=query))
        person.expected += history
        await person.client.until(type=HEAD_COUNT)
        self.model.people.append(person)
        return person

    async def go(self, person: Person, *, dies: bool) -> None:
        if dies:
            person.client.reset()
        else:
            await person.client.leave()
        self.model.part(person)

    async def miss(self, person: Person, front: int, number: int) -> None:
        """Loses the connection, and comes back for what it has missed."""
        last = self.model.log[-1]["id"] if self.model.log else None
        await self.go(person, dies=True)
        for _ in range(number):
            await self.speak()
        # What the rest heard meanwhile is in the log, which says what there is to hear
        await self.look()
        await self.enter(front, last)

    async def lift(self, nickname: str) -> None:
        await self.admin.act("DELETE", f"bans/{nickname.lower()}")

    async def shut_out(self, nickname: str) -> None:
        await self.admin.act("POST", "bans", {"nickname": nickname, "channel": self.name, "seconds": 3600})
        if bearer := self.model.bearer(nickname):
            assert (await bearer.client.closed())[0] == 1008
            self.model.part(bearer)

    async def speak(self) -> str:
        """The instance says something, which passes where a channel is frozen."""
        text = words()
        self.model.tell_all(type="text", author="gischat", text=text)
        await self.admin.act("POST", below(self.name, "announcements"), {"text": text})
        return text

    # What is to be seen of it

    async def doing(self, act: Coroutine[Any, Any, Any]) -> None:
        await act
        await self.look()
        await self.compare()

    async def look(self) -> None:
        """Everybody has received what the model says, in the same order; what they do comes to an end before."""
        await self.come_to_rest()
        marker = await self.speak()
        for person in self.model.people:
            await person.client.until(type="text", text=marker)
            received = [message for message in person.client.received if message["type"] != HEAD_COUNT]
            assert_told(received, person.expected)
            if person is self.witness:
                self.remember(received)
            person.expected.clear()
            person.client.received.clear()
            person.client.unread.clear()

    async def come_to_rest(self) -> None:
        """What follows from an act comes when the server has noticed it: a client that is gone, a name that is free."""
        for person in self.model.people:
            for message in person.expected:
                await person.client.until(**message)

    def remember(self, received: list[Message]) -> None:
        told = [message for message in received if message["type"] not in ("uncompliant", "like")]
        self.model.log += told
        kept = [message for message in told if message["type"] == "text" and message["text"] != UNSTORED]
        self.model.stored = (self.model.stored + kept)[-STORED:]

    async def compare(self) -> None:
        """What everybody knows, and what the server says of it."""
        for person in self.model.people:
            await person.client.count(len(self.model.people))
        nicknames = sorted((person.nickname for person in self.model.people if person.nickname), key=str.lower)
        for url in (front.url for front in self.stack.fronts):
            rest = Admin(url)
            await eventually(lambda rest=rest: rest.users(self.name), nicknames)
            await eventually(lambda rest=rest: rest.last(self.name), self.model.stored)
            await eventually(lambda rest=rest: rest.nb_connected_users(self.name), len(self.model.people))
            rest.close()

    def teardown(self) -> None:
        self.run(self.end())

    async def end(self) -> None:
        for nickname in self.model.banned:
            await self.lift(nickname)
        if self.model.is_frozen:
            await self.admin.act("DELETE", below(self.name, "freeze"))
        await asyncio.gather(*(person.client.leave() for person in self.model.people))
        await self.admin.act("DELETE", below(self.name, "messages"))
        self.admin.close()


def missed(log: list[Message], after: str) -> list[Message]:
    """What was told after that message."""
    (place,) = [number for number, message in enumerate(log) if message["id"] == after]
    return log[place + 1 :]


def assert_told(received: list[Message], expected: list[Expected]) -> None:
    assert len(received) == len(expected), (received, expected)
    for message, wanted in zip(received, expected, strict=True):
        assert wanted.items() <= message.items()


@pytest.fixture(scope="module")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """Two fronts and two workers, so that nothing is in order by chance."""
    options = {"channels": ",".join(CHANNELS), "admin_token": TOKEN, "max_stored_messages": STORED}
    with open_stack(fronts=2, light=2, heavy=0, **options) as stack:
        yield stack
    stack.assert_quiet_logs()


def test_clients_are_told_what_the_contract_says(stack: Stack) -> None:
    def channels() -> Iterator[str]:
        while True:
            yield from CHANNELS

    Clients.stack, Clients.channels = stack, channels()
    with asyncio.Runner() as Clients.runner:
        bounds = settings(
            max_examples=max(settings.default.max_examples // 12, 1),
            stateful_step_count=20,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # what never comes is waited for, each time that a failure is made smaller
            report_multiple_bugs=False,
        )
        run_state_machine_as_test(Clients, settings=bounds)
