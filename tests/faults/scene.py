"""A scene for faults: real processes, clients that send messages, and a ledger that is checked at the end."""

import asyncio
import contextlib
import functools
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from redis.exceptions import RedisError

from gischat.broker.keys import GROUP, ChannelKeys
from gischat.protocol.messages import Lane
from tests.support import waiting
from tests.support.ledger import Balance, Ledger
from tests.support.peers import Guest, Peer, Talker
from tests.support.processes import Process, Stack
from tests.support.rest import Rest
from tests.support.waiting import DEADLINE, LOOK

CHANNEL = "QGIS"
LATEST_IDS = 500
LOOKS = 10  # at a frozen worker, to which jobs may still be delivered in this time

until = functools.partial(waiting.until, every=LOOK)


class Keeper:
    """Restarts processes that have ended, like supervisord. `ends` has their exit statuses, by name."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self.ends: dict[str, list[int | None]] = {process.name: [] for process in processes}
        self.leaves_alone: set[Process] = set()
        self._processes = processes

    async def keep(self) -> None:
        while True:
            for process in self._processes:
                if not process.running and process not in self.leaves_alone:
                    self.ends[process.name].append(process.exit_status)
                    process.start()
            await asyncio.sleep(LOOK)


class Scene:
    """The processes of one instance, restarted when they end, with clients in its one channel.

    `async with` starts and ends the processes; `talk` connects clients, which send messages; `settle` stops them, and
    checks that every message was delivered once or refused, in order, and that there are no ghosts.
    """

    def __init__(self, stack: Stack, redis: Any, dice: random.Random) -> None:
        """Create a scene; `redis` is a redis-py client, for inspecting Redis."""
        self.stack = stack
        self.redis = redis
        self.dice = dice
        self.ledger = Ledger()
        self.keeper = Keeper(stack.processes)
        self.peers: list[Peer] = []
        self.urls = [front.url for front in stack.fronts]
        self.keys = ChannelKeys(stack.settings["instance_id"], CHANNEL)
        self._lanes = list(Lane) if stack.heavy else [Lane.LIGHT]
        self._cleanup = contextlib.AsyncExitStack()
        self._talks: list[asyncio.Task[None]] = []
        self._is_ending = False
        self._published: set[str] = set()

    async def __aenter__(self) -> Self:
        try:
            # In a thread, because a proxy between the processes and Redis needs the loop.
            await asyncio.to_thread(self.stack.start)
        except BaseException:
            self.stack.kill()
            raise
        self._cleanup.callback(self.stack.kill)
        for work in (self.keeper.keep(), self._follow_published()):
            self._cleanup.callback(asyncio.create_task(work).cancel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await asyncio.gather(*(peer.leave() for peer in self.peers))
        await self._cleanup.aclose()

    async def _follow_published(self) -> None:
        """Record recently published ids; in a thread, because Redis may be frozen."""
        while True:
            with contextlib.suppress(RedisError):
                ids = await asyncio.to_thread(self.redis.zrange, self.keys.ids, -LATEST_IDS, -1)
                self._published = {id.decode() for id in ids}
            await asyncio.sleep(LOOK)

    async def talk(self, *, talkers: int = 4, guests: int = 2, **habits: float) -> None:
        """Connect peers to all fronts in turn, and start to send. `habits` are attributes of the talkers.

        Without a heavy worker they send no photos.
        """
        if not self.stack.heavy:
            habits["photos"] = 0.0
        for kind, count in ((Guest, guests), (Talker, talkers)):
            for number in range(count):
                first = number % len(self.urls)
                urls = [*self.urls[first:], *self.urls[:first]]
                dice = random.Random(self.dice.random())
                person = kind(f"{kind.__name__.lower()}-{number}", urls, CHANNEL, self.ledger, dice)
                person.was_published = lambda id: id in self._published
                if isinstance(person, Talker):
                    for habit, value in habits.items():
                        setattr(person, habit, value)
                self.peers.append(person)
        await asyncio.gather(*(peer.come() for peer in self.peers))
        self._talks = [asyncio.create_task(one.talk(lambda: self._is_ending)) for one in self._talkers]

    @property
    def _talkers(self) -> list[Talker]:
        return [peer for peer in self.peers if isinstance(peer, Talker)]

    @property
    def guests(self) -> list[Guest]:
        return [peer for peer in self.peers if isinstance(peer, Guest)]

    async def flow(self, messages: int = 20) -> None:
        """Wait until that many more messages have been delivered or refused."""
        number = self.ledger.resolved + messages

        def holds() -> bool:
            for talk in self._talks:
                if talk.done():
                    talk.result()
            for peer in self.peers:
                peer.raise_breach()
            return self.ledger.resolved >= number

        await until(holds, f"{number} messages to be delivered or refused: {self.ledger.balance()}")

    async def recover(self) -> None:
        """Wait until every talker's messages from before a loss have been replayed.

        A front detects a loss by the next message of any client, and replays a connection's messages ahead of its
        pending ones: when the third message of a talker from now on has ended, its replay is complete.
        """
        numbers = {talker.name: self.ledger.resolved_of(talker.name) + 3 for talker in self._talkers}

        def holds() -> bool:
            return all(self.ledger.resolved_of(name) >= number for name, number in numbers.items())

        await self.flow(1)
        await until(holds, f"three messages of each to come to their end: {numbers}")

    async def settle(self) -> Balance:
        """Stop sending, wait until nothing is in flight, and check the ledger and the presence."""
        self._is_ending = True
        await asyncio.gather(*self._talks)
        self._talks = []
        await self._drained()
        # A duplicate has been published by now, and arrives before messages that are sent from now on.
        for talker in self._talkers:
            await talker.say(1)
        with contextlib.suppress(AssertionError):  # the ledger says what is missing
            await until(lambda: not self.ledger.balance().lost)
        for peer in self.peers:
            peer.raise_breach()
        assert not (faults := self.ledger.faults()), faults
        balance = self.ledger.balance()
        assert (balance.sent, balance.gaps) == (balance.delivered + balance.refused, 0), balance
        await self._no_ghosts()
        return balance

    async def fronts_say(self, words: str) -> None:
        """Wait until each front's new log contains these words."""
        for front in self.stack.fronts:
            await until(lambda front=front: words in front.new_log(), f"{front.name} to say '{words}'")

    def inbox(self, lane: str) -> str:
        return self.keys.inbox(Lane(lane))

    def ids_waiting(self, lane: str) -> set[str]:
        """The messages in an inbox."""
        return {fields[b"id"].decode() for _, fields in self.redis.xrange(self.inbox(lane)) if fields[b"id"]}

    def ids_published(self) -> set[str]:
        """The messages in the outbox."""
        return {fields[b"id"].decode() for _, fields in self.redis.xrange(self.keys.outbox) if fields[b"id"]}

    def held_by(self, worker: Process, lane: str) -> int:
        """The number of jobs that a worker holds."""
        return len(self.redis.xpending_range(self.inbox(lane), GROUP, "-", "+", 100, consumername=worker.name))

    async def freeze_with_job(self, worker: Process, lane: str) -> None:
        """Freeze a worker while it holds a job; there must be traffic."""
        while True:
            worker.freeze()
            # Jobs may still be delivered to its connection although it does not read.
            for _ in range(LOOKS):
                if self.held_by(worker, lane):
                    return
                await asyncio.sleep(LOOK)
            worker.wake()
            await asyncio.sleep(self.dice.random() * LOOK)

    async def _drained(self) -> None:
        """Wait until no job is in an inbox or held by a worker."""
        try:
            await until(lambda: not self._left(), "the inboxes to be empty")
        except AssertionError as error:
            raise AssertionError(f"{error}; left are {self._left()}") from None

    def _left(self) -> dict[str, object]:
        """What is in inboxes or held by workers, by lane."""
        # A heartbeat may be in flight at any moment; nothing else is after the last message.
        left: dict[str, object] = {}
        for lane in self._lanes:
            inbox = self.inbox(lane)
            try:
                entries, held = self.redis.xrange(inbox), self.redis.xpending(inbox, GROUP)["pending"]
                if entries or held or int(self.redis.get(f"{inbox}:bytes") or 0):
                    left[lane] = entries, held, self.redis.get(f"{inbox}:bytes")
            except RedisError as error:
                left[lane] = error
        return left

    async def _no_ghosts(self) -> None:
        """Wait until all fronts' counts and nicknames are those of the connected peers, and peers have the count."""
        for guest in self.guests:
            await guest.wait(lambda guest=guest: guest.is_registered, "its nickname")
        expected = len(self.peers), sorted(guest.name for guest in self.guests)
        for front in self.stack.fronts:
            if front.running:
                rest, told = Rest(front.url), None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DEADLINE):
                        while told != expected:
                            with contextlib.suppress(OSError):  # the front may have just been started
                                told = await rest.nb_connected_users(CHANNEL), await rest.users(CHANNEL)
                            await asyncio.sleep(LOOK)
                rest.close()
                assert told == expected, front.url
        for peer in self.peers:
            await until(lambda peer=peer: peer.nb_users == len(self.peers), f"{peer.name} to be told of all users")

    async def healthy(self) -> None:
        """Wait until the first front's health probe succeeds."""
        async with asyncio.timeout(DEADLINE):
            while not await asyncio.to_thread(self._is_healthy):
                await asyncio.sleep(LOOK)

    def _is_healthy(self) -> bool:
        try:
            return self.stack.fronts[0].healthy()
        except Exception:
            return False
