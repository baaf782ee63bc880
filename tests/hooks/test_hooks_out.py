"""Outgoing hooks: posts are signed, in order, retried after a fault, and finally dead-lettered."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bridges.conftest import bridge_of
from tests.hooks.receiver import SECRET, Receiver, answer
from tests.support.admin import TOKEN, Admin, below
from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.fork_server import run
from tests.support.processes import HOST, Process, Stack, _environment
from tests.support.waiting import DEADLINE, LOOK, until

HIDDEN = f"/{CANARY}"  # addresses contain secrets


CHANNELS = ["first", "second", "third", "fourth"]  # one for each test


@dataclass
class Posting:
    """A bridge process with hooks of one channel; the tests share the other processes."""

    stack: Stack
    channel: str
    process: Process
    settings: dict[str, Any]

    def begin(self) -> None:
        """Start it, and wait until each hook knows its position."""
        hooks = self.settings["outgoing_hooks"].count("http")
        self.process.start()
        while len(self.process.records(logger="gischat.hooks.outgoing", level="INFO")) < hooks:
            assert not self.process.ends_within(0.05), self.process.whole_log()

    async def join(self) -> Client:
        return await Client.connect(self.stack.fronts[0].url, self.channel)

    async def letters(self, act: str, *places: str, fails: bool = False) -> str:
        """The output of `gischat dead-letters --hooks`."""
        command = ("-m", "gischat", "dead-letters", "--hooks", act, *places)
        environment = _environment({**self.stack.settings, **self.settings})
        ran = await asyncio.to_thread(run, *command, **environment)
        assert ran.returncode == int(fails), ran.stderr
        return ran.stderr if fails else ran.stdout

    async def letters_when(self, number: int) -> list[str]:
        """Wait for `number` dead letters of the channel; return their lines."""
        async with asyncio.timeout(DEADLINE):
            while True:
                lines = (await self.letters("list")).splitlines()
                if len(own := [line for line in lines if f"  {self.channel}  " in line]) >= number:
                    return own
                await asyncio.sleep(LOOK)


Start = Callable[..., Posting]


@pytest.fixture(scope="module")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    with open_stack(heavy=0, admin_token=TOKEN, channels=",".join(CHANNELS), max_stored_messages=0) as stack:
        yield stack


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """Starts processes that post a channel's messages; they end with the test."""
    started: list[Posting] = []

    def start(channel: str, *urls: str, **settings: Any) -> Posting:
        hooks = ",".join(f"{channel}={url}" for url in urls)
        given = {"outgoing_hooks": hooks, "outgoing_hooks_secret": SECRET, "outgoing_hooks_allow_private": "yes"}
        given |= settings
        started.append(Posting(stack, channel, bridge_of(stack, f"bridge-{channel}", **given), given))
        started[-1].begin()
        return started[-1]

    yield start
    for posting in started:
        posting.process.kill()
        log = posting.process.whole_log()
        assert (CANARY in log, SECRET in log, "Traceback" in log) == (False, False, False), log


async def test_each_address_receives_all_messages_in_order_despite_a_crash(start: Start, receiver: Receiver) -> None:
    # Given an address that answers, and one that accepts slowly
    fast, slow = (HIDDEN + path for path in ("/fast", "/slow"))
    receiver.answers[slow] = [answer("503 Busy", "Retry-After: 0"), answer("429 Too Many"), b"nonsense\r\n\r\n", b""]
    posting = start("first", receiver.url(fast), receiver.url(slow))
    async with receiver:
        jane = await posting.join()
        await jane.register("jane")  # not posted
        said = [await jane.say() for _ in range(30)]

        # When the process is killed meanwhile, and another message is sent while it is away
        await receiver.texts(fast, 3)
        posting.process.kill()
        said += [await jane.say() for _ in range(10)]
        await jane.until(text=said[-1])
        posting.begin()
        said.append(await jane.say())

        # Then each receives all in order; a post in flight at the kill may be repeated, with the same id
        for path in (fast, slow):
            await until(lambda path=path: said[-1] in [one.text for one in receiver.received if one.path == path])
            texts = [one.text for one in receiver.received if one.path == path]
            assert list(dict.fromkeys(texts)) == said
            assert len(texts) <= len(said) + 1
        message = jane.received[-1] if jane.received[-1]["type"] == "text" else await jane.until(text=said[-1])
        assert receiver.received[-1].body == {"channel": "first", "message": message}
        await jane.leave()


async def test_refused_posts_become_dead_letters_that_can_be_retried(start: Start, receiver: Receiver) -> None:
    # Given an address that refuses, one that redirects, and one that is away until the outbox has dropped the messages
    gone, moved = HIDDEN + "/gone", HIDDEN + "/moved"
    away = Receiver()
    receiver.answers[gone] = [answer("410 Gone")]
    receiver.answers[moved] = [answer("302 Found", f"Location: {receiver.url('/elsewhere')}")]
    hooks = [receiver.url(gone), receiver.url(moved), away.url(HIDDEN + "/away")]
    posting = start("second", *hooks, max_outbox_age=2)
    async with receiver:
        jane = await posting.join()
        said = [await jane.say()]
        listed = await posting.letters_when(3)
        for reason in ("127.0.0.1 answers 410", "redirects are not followed", "does not answer"):
            assert sum(reason in line for line in listed) == 1
        assert CANARY not in "".join(listed)
        assert receiver.received == []

        # When they are retried where possible
        said.append(await jane.say())
        assert (await receiver.texts(gone, 1)) == (await receiver.texts(moved, 1)) == said[1:]
        await posting.letters_when(4)
        assert "was not taken" in await posting.letters("retry", places_of(listed)[-1], fails=True)
        async with away:
            await posting.letters("retry", *places_of(await posting.letters_when(4)))
            assert set(await away.texts(HIDDEN + "/away", 1)) <= set(said)
        assert said[0] in await receiver.texts(gone, 2)
        await jane.leave()


async def test_private_addresses_are_refused_unless_allowed(start: Start, receiver: Receiver) -> None:
    hosts = (HOST, "127.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0")
    hooks = [receiver.url(HIDDEN, host) for host in hosts]
    posting = start("third", *hooks, outgoing_hooks_allow_private="no")
    async with receiver:
        jane = await posting.join()
        await jane.send(**sample("text"))
        listed = await posting.letters_when(len(hosts))
        assert all("is not on the internet" in line for line in listed)
        assert receiver.received == []
        assert posting.process.running
        await jane.leave()


async def test_deleted_messages_are_not_posted(start: Start, receiver: Receiver) -> None:
    # Given a message that an address does not accept yet
    path = HIDDEN + "/late"
    receiver.answers[path] = [answer("503 Busy")] * 10_000
    posting = start("fourth", receiver.url(path))
    async with receiver:
        jane = await posting.join()
        text = await jane.say()
        await until(lambda: bool(receiver.refused))

        # When a moderator deletes it, and another one is sent
        admin = Admin(posting.stack.fronts[0].url)
        await admin.act("DELETE", below("fourth", f"messages/{(await jane.until(text=text))['id']}"))
        last = await jane.say()
        await until(lambda: receiver.refused[-1].text == last)

        # Then only the other one is posted
        receiver.answers.clear()
        assert await receiver.texts(path, 1) == [last]
        # And the process answers moderators' surveys: none is missing
        found = await admin.act("GET", "connections?channel=fourth")
        assert found["missing"] == []
        assert any(one["front"].startswith("hooks-") for one in found["fronts"])
        await jane.leave()


def places_of(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]
