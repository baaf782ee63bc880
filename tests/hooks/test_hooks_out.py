"""What is said is posted to addresses outside: signed, in order, again after a fault, and a dead letter at last."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bridges.conftest import TIMINGS, bridge_of
from tests.hooks.receiver import SECRET, Receiver, answer
from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.processes import HOST, ROOT, Process, Stack, _environment
from tests.support.waiting import DEADLINE, LOOK, until

HIDDEN = f"/{CANARY}"  # addresses hold secrets


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def start(
    request: pytest.FixtureRequest, open_stack: Callable[..., Stack]
) -> Iterator[Callable[..., tuple[Stack, Process]]]:
    """Starts a stack and its bridge process, which end with the test."""
    started: list[tuple[Stack, Process]] = []

    def start(*hooks: str, **settings: Any) -> tuple[Stack, Process]:
        given = {"outgoing_hooks_allow_private": "yes", "max_stored_messages": 0, **settings}
        stack = open_stack(
            heavy=0, channels="QGIS,Other", outgoing_hooks=",".join(hooks), outgoing_hooks_secret=SECRET, **given
        )
        bridge = bridge_of(stack, {**TIMINGS, "bridge_retry_longest": 0.4})
        started.append((stack, bridge))
        stack.start()
        begin(bridge, len(hooks))
        return stack, bridge

    yield start
    for stack, bridge in started:
        bridge.kill()
        stack.stop()
        log = bridge.whole_log()
        assert (CANARY in log, SECRET in log, "Traceback" in log) == (False, False, False), log


def begin(bridge: Process, hooks: int) -> None:
    """Starts it, and waits until so many hooks know where they are."""
    bridge.start()
    while len(bridge.records(logger="gischat.hooks.outgoing", level="INFO")) < hooks:
        assert not bridge.ends_within(0.05), bridge.whole_log()


async def test_each_address_gets_all_in_order_whatever_dies(
    start: Callable[..., tuple[Stack, Process]], receiver: Receiver
) -> None:
    # Given one address that answers, and one that is slow to take anything
    fast, slow = (HIDDEN + path for path in ("/fast", "/slow"))
    receiver.answers[slow] = [
        answer("503 Busy", "Retry-After: 0"),
        answer("429 Too Many"),
        b"nonsense\r\n\r\n",
        b"",
    ]
    stack, bridge = start(f"QGIS={receiver.url(fast)}", f"QGIS={receiver.url(slow)}")
    async with receiver:
        jane = await Client.connect(stack.fronts[0].url, "QGIS")
        await jane.register("jane")  # which is not posted
        said = [await jane.say() for _ in range(30)]

        # When the process is killed among them, and one more is said while it is away
        await receiver.texts(fast, 3)
        bridge.kill()
        said += [await jane.say() for _ in range(10)]
        await jane.until(text=said[-1])
        begin(bridge, 2)
        said.append(await jane.say())

        # Then each has all, in order; what was on its way when it was killed may come twice, with the same id
        for path in (fast, slow):
            await until(lambda path=path: said[-1] in [one.text for one in receiver.received if one.path == path])
            texts = [one.text for one in receiver.received if one.path == path]
            assert list(dict.fromkeys(texts)) == said
            assert len(texts) <= len(said) + 1
        message = jane.received[-1] if jane.received[-1]["type"] == "text" else await jane.until(text=said[-1])
        assert receiver.received[-1].body == {"channel": "QGIS", "message": message}
        await jane.leave()


async def test_what_is_not_taken_becomes_a_dead_letter_that_can_be_posted_again(
    start: Callable[..., tuple[Stack, Process]], receiver: Receiver
) -> None:
    # Given an address that refuses, one that redirects, and one that is away until all has left the outbox
    gone, moved = HIDDEN + "/gone", HIDDEN + "/moved"
    away = Receiver()
    receiver.answers[gone] = [answer("410 Gone")]
    receiver.answers[moved] = [answer("302 Found", f"Location: {receiver.url('/elsewhere')}")]
    hooks = [receiver.url(gone), receiver.url(moved), away.url(HIDDEN + "/away")]
    stack, _ = start(*(f"QGIS={url}" for url in hooks), max_outbox_age=2)
    async with receiver:
        jane = await Client.connect(stack.fronts[0].url, "QGIS")
        said = [await jane.say()]
        listed = await listed_with(stack, "  QGIS  ", 3)
        for reason in ("127.0.0.1 answers 410", "redirects are not followed", "does not answer"):
            assert reason in listed
        assert CANARY not in listed
        assert receiver.received == []

        # When they are posted again, where that goes
        said.append(await jane.say())
        assert (await receiver.texts(gone, 1)) == (await receiver.texts(moved, 1)) == said[1:]
        assert "was not taken" in await letters(stack, "retry", "all", fails=True)
        async with away:
            await letters(stack, "retry", "all")
            assert set(await away.texts(HIDDEN + "/away", 1)) <= set(said)
        assert said[0] in await receiver.texts(gone, 2)
        await jane.leave()


async def test_nothing_private_is_posted_to_unless_that_is_allowed(
    start: Callable[..., tuple[Stack, Process]], receiver: Receiver
) -> None:
    hosts = (HOST, "127.1", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0")
    hooks = [f"QGIS={receiver.url(HIDDEN, host)}" for host in hosts]
    stack, bridge = start(*hooks, outgoing_hooks_allow_private="no")
    async with receiver:
        jane = await Client.connect(stack.fronts[0].url, "QGIS")
        await jane.send(**sample("text"))
        await listed_with(stack, "is not on the internet", len(hosts))
        assert receiver.received == []
        assert bridge.running
        await jane.leave()


async def listed_with(stack: Stack, words: str, number: int) -> str:
    """The list of dead letters, as soon as these words are so often in it."""
    async with asyncio.timeout(DEADLINE):
        while (listed := await letters(stack, "list")).count(words) < number:
            await asyncio.sleep(LOOK)
    return listed


async def letters(stack: Stack, *act: str, fails: bool = False) -> str:
    """What `gischat dead-letters --hooks` says."""
    command = [sys.executable, "-m", "gischat", "dead-letters", "--hooks", *act]
    given = {"env": _environment(stack.settings), "cwd": ROOT, "capture_output": True, "text": True}
    ran = await asyncio.to_thread(subprocess.run, command, **given)
    assert ran.returncode == int(fails), ran.stderr
    return ran.stderr if fails else ran.stdout
