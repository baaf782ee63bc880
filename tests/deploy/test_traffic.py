"""Clients chat while processes are killed: they restart and resume their work, and no message is lost."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence

import pytest

from tests.deploy.conftest import Deploy
from tests.deploy.deployment import HOST, Deployment
from tests.faults.scene import until
from tests.support.ledger import Ledger
from tests.support.peers import Guest, Peer, Talker
from tests.support.rest import Rest

CHANNEL = "QGIS"
MESSAGES = 10  # before and after each kill
LARGE_PHOTOS = 0.3  # the share of photos that take long enough to be interrupted by a kill

KILLED = ("heavy:heavy-1", "fronts:front-1", "redis:valkey")

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_people_chat_while_processes_are_killed(deployment: Deploy) -> None:
    # Given a deployment, and clients that send texts and photos
    chat = deployment(FRONTS="2", CHANNELS=CHANNEL).start()
    await asyncio.to_thread(chat.wait_until, chat.announced)
    ledger, dice = Ledger(), random.Random(1)
    people: list[Peer] = [
        kind(f"{kind.__name__}-{number}", [f"http://{HOST}:{chat.port}"], CHANNEL, ledger, random.Random(dice.random()))
        for kind, count in ((Guest, 2), (Talker, 4))
        for number in range(count)
    ]
    talkers = [person for person in people if isinstance(person, Talker)]
    for talker in talkers:
        talker.large_photos = LARGE_PHOTOS
    try:
        await asyncio.gather(*(person.come() for person in people))

        # When each process is killed meanwhile, one after the other
        talks = begin_talk(talkers, until_=(is_over := asyncio.Event()).is_set)
        await flow(ledger, people, talks)
        for name in KILLED:
            await asyncio.to_thread(kill, chat, name)
            await flow(ledger, people, talks)
        is_over.set()
        await asyncio.gather(*talks)

        # Then each message was received by all, once and in order, or its sender was told
        await until(lambda: not ledger.balance().lost, "everyone to hear everything")
        assert not (faults := ledger.faults()), faults
        balance = ledger.balance()
        assert balance.sent == balance.delivered + balance.refused
        assert balance.gaps == 0

        # And the lists of users are right
        await until(lambda: all(person.nb_users == len(people) for person in people), "the count to be told")
        names = sorted(person.name for person in people if isinstance(person, Guest))
        await until_told(chat, len(people), names)
    finally:
        await asyncio.gather(*(person.leave() for person in people))


def begin_talk(talkers: Sequence[Talker], until_: Callable[[], bool]) -> list["asyncio.Task[None]"]:
    return [asyncio.create_task(talker.talk(until_)) for talker in talkers]


async def flow(ledger: Ledger, people: Sequence[Peer], talks: Sequence["asyncio.Task[None]"]) -> None:
    """Wait until MESSAGES more messages were delivered or refused."""
    before = ledger.resolved

    def holds() -> bool:
        for person in people:
            person.raise_breach()
        for talk in talks:
            if talk.done():
                talk.result()
        return ledger.resolved >= before + MESSAGES

    await until(holds, f"{MESSAGES} messages to be delivered or refused")


def kill(chat: Deployment, name: str) -> None:
    """Kill a process, and wait until supervisord has restarted it."""
    before = chat.pids()
    os.kill(before[name], signal.SIGKILL)
    chat.wait_until(lambda: chat.members()[name].state == "RUNNING" and chat.pids()[name] != before[name])
    assert {other for other, pid in chat.pids().items() if before[other] != pid} == {name}


async def until_told(chat: Deployment, people: int, names: list[str]) -> None:
    rest = Rest(f"http://{HOST}:{chat.port}")
    try:
        async with asyncio.timeout(20):
            while (await rest.nb_connected_users(CHANNEL), await rest.users(CHANNEL)) != (people, names):
                await asyncio.sleep(0.05)
    finally:
        rest.close()
