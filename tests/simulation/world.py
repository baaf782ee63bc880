"""A small instance under faults, and the people in its one channel, all drawn from a seed: `World(seed).run()`."""

import asyncio
import json
import random
import zlib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gischat.broker.keys import ChannelKeys
from gischat.front.services import Services
from gischat.protocol.messages import Lane
from gischat.timings import Timings
from tests.simulation.faults import UNBEARABLE, Chaos
from tests.simulation.invariants import Books
from tests.simulation.loop import PROCESS, Loop, Process
from tests.simulation.network import Network, Transport
from tests.simulation.people import Named, Speaker, Watcher, Witness
from tests.simulation.programs import Program, front, no_machine, worker
from tests.simulation.redis_server import Server
from tests.support.ledger import Ledger
from tests.support.peers import Session
from tests.support.settings import UNLIMITED, settings

CHANNEL = "QGIS"
SETTLED_SECONDS = 20.0  # after which nothing is said again, and fronts can tell what was missed
SHOWN = 150  # characters of a message


class Size(NamedTuple):
    """What a world costs by."""

    people: Mapping[type[Witness], int]
    workers: Sequence[Sequence[Lane]]  # their lanes; one of these
    seconds: tuple[float, float]  # in which its faults begin
    faults: Sequence[int]  # one of these is their number
    pauses: Sequence[float]  # seconds, at the most, between two bursts of a speaker; one of these
    burst: int  # messages, at the most
    timings: Timings
    pace: float  # of the faults, as of these timings
    quiet: float  # seconds in which nobody comes or goes any more
    returns_every: int  # so many worlds, on average


LARGE = Size(
    people={Watcher: 2, Named: 2, Speaker: 2},
    workers=[(Lane.LIGHT, Lane.LIGHT, Lane.HEAVY)],
    seconds=(2, 10),
    faults=(1, 2, 3, 4, 6, 8),
    pauses=(0.4, 1.5, 3.0),
    burst=6,
    timings=Timings(),
    pace=1.0,
    quiet=3.0,
    returns_every=5,
)
SMALL = Size(
    people={Named: 1, Speaker: 2},
    workers=[(Lane.LIGHT, Lane.HEAVY), (Lane.LIGHT, Lane.LIGHT, Lane.HEAVY)],
    seconds=(0.3, 2.5),
    faults=(1, 2, 3, 4),
    pauses=(2.0, 8.0),
    burst=4,
    timings=Timings(
        heartbeat=4.0,  # else half of what happens
        heartbeat_lost=16.0,
        # Half as long as else: most of them pass without anything else happening
        lease=4.0,
        overdue=1.0,
        give_up=3.0,
        reclaim_light=2.5,
        reclaim_heavy=6.0,
        subscriber_stalled=2.5,
        consumer_stalled=10.0,
        redis_loss=1.5,
        replay=15.0,
        settling=7.5,
    ),
    pace=0.5,
    quiet=1.5,
    returns_every=10,
)
LARGE_EVERY = 4  # so many worlds


class World:
    """Everything of one seed. `faults` says afterwards what was wrong; nothing if all was well."""

    def __init__(self, seed: int, *, is_told: bool = False, kinds: Sequence[str] = ()) -> None:
        """
        Args:
            is_told: what happens is printed.
            kinds: of the faults; some of all, if none are given.
        """
        self.seed = seed
        self.is_told = is_told
        self.loses_keys = bool(UNBEARABLE.keys() & set(kinds))
        self.dice = random.Random(seed)
        self.loop = Loop(self._own_dice())
        self.network = Network(self.loop, self._own_dice())
        self.network.note = self._note
        self.trace = 0  # a sum of all that arrived anywhere, and when
        self.redis = Server(self.loop, self.network)
        self.settings = settings(
            instance_id="sim",
            channels=(CHANNEL,),
            redis_url="redis://redis:6379/0",
            ws_ping_interval=0,
            max_stored_messages=self.dice.choice([0, 5, 100]),
            **UNLIMITED,
        )
        self.keys = ChannelKeys(self.settings.instance_id, CHANNEL)
        self.running: dict[str, Services] = {}
        self.size = LARGE if kinds or seed % LARGE_EVERY == 0 else SMALL
        timings = self.size.timings
        self.fronts = [
            self._program(name, front(replace(self.settings, process_name=name), timings))
            for name in ("front-0", "front-1")
        ]
        lanes = {f"{lane}-{place}": lane for place, lane in enumerate(self.dice.choice(self.size.workers))}
        self.workers = [
            self._program(name, worker(replace(self.settings, process_name=name), timings, lane))
            for name, lane in lanes.items()
        ]
        self.ledger = Ledger()
        self.peers: list[Witness] = []
        self.people = Process("people")
        self.startled = asyncio.Event()
        self.chaos = Chaos(self, self._own_dice(), kinds)
        self.books = Books(self)
        self.faults: list[str] = []
        self.is_over = False
        self.ends_with_returns = self.dice.random() < 1 / self.size.returns_every
        self.changes_of_presence = 0  # as people were told of them

    def _own_dice(self) -> random.Random:
        return random.Random(self.dice.getrandbits(64))

    def _program(self, name: str, main: Any) -> Program:
        return Program(self.loop, self.network, name, main)

    def _note(self, end: Transport, data: bytes) -> None:
        self.trace = zlib.crc32(data, self.trace ^ int(self.loop.time() * 1e6) & 0xFFFFFFFF)

        if self.is_told and end.peer.process is self.people:
            self.tell(f"<- {_shown(data.decode())}")

    def startle(self) -> None:
        """Has everyone speak who waits before the next burst."""
        self.startled.set()
        self.startled.clear()

    def tell(self, what: str) -> None:
        if self.is_told:
            print(f"{self.loop.time():10.4f} {PROCESS.get(self.loop.world).name:8} {what}")

    def run(self) -> list[str]:
        """Lets it all happen; returns what was wrong."""
        machine = no_machine(self.loop, self.network, self.running, on_one_machine=self.dice.random() < 0.5)
        with machine, self.books.of_logs():
            self.loop.run(self._live())
        return self.faults

    async def _live(self) -> None:
        for program in (*self.fronts, *self.workers):
            asyncio.create_task(program.keep())  # noqa: RUF006 - the loop keeps it
        try:
            await self._among_people(self._come())
            await self.chaos.run()
            self.is_over = True
            self.startle()
            await self._among_people(self._end_talk())
        except AssertionError as error:
            self.faults.append(str(error))
        self.faults += await self.books.faults()

    async def _among_people(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.start(self.people, work)
        await asyncio.wait([task])
        task.result()

    async def _come(self) -> None:
        urls = [f"http://{program.name}" for program in self.fronts]
        pause = self.dice.choice(self.size.pauses)
        for kind, number in self.size.people.items():
            for place in range(number):
                first = len(self.peers) % 2
                name = f"{kind.__name__.lower()}-{place}"
                person = kind(name, urls[first:] + urls[:first], CHANNEL, self.ledger, self._own_dice())
                if isinstance(person, Speaker):
                    person.pause, person.longest_burst, person.startled = pause, self.size.burst, self.startled
                person.was_published = self.books.was_published
                person.told = self._hear
                self.peers.append(person)
        await asyncio.gather(*(one.come() for one in self.peers))
        self._talks = [asyncio.create_task(one.talk(lambda: self.is_over)) for one in self.speakers]

    def _hear(self, name: str, text: str) -> None:
        self.changes_of_presence += '"newcomer"' in text or '"exiter"' in text
        self.tell(f"{name} hears {_shown(text)}")

    @property
    def speakers(self) -> list[Speaker]:
        return [one for one in self.peers if isinstance(one, Speaker)]

    async def _end_talk(self) -> None:
        """Lets everyone say to the end what they have begun, and then one thing more: it comes after all the rest."""
        await asyncio.gather(*self._talks)
        await self.books.drained()
        await asyncio.gather(*(one.say(1) for one in self.speakers))
        await self.books.balanced()
        if self.ends_with_returns:
            await asyncio.sleep(SETTLED_SECONDS)
            await self._return()

    async def _move(self, peer: Witness, session: Session) -> None:
        session.connection.transport.cut()
        await peer.wait(lambda: peer.session not in (None, session) and peer.session.is_in, "its return")

    async def _return(self) -> None:
        """When all is settled, who comes back is told exactly what it missed, but for what was withdrawn."""
        await self.speakers[0].say(3)
        await self.books.balanced()
        last, withdrawn, missed = list(self.ledger.sent)[-3:]
        program = self.dice.choice(self.fronts)
        withdrawing = self.running[program.name].moderation.delete_messages(CHANNEL, [withdrawn])
        await asyncio.wait([self.loop.start(program.process, withdrawing)])
        await asyncio.sleep(1)
        for program in self.fronts:
            late = Watcher("late", [f"http://{program.name}"], CHANNEL, Ledger(), self._own_dice())
            heard: list[str] = []
            late.told = lambda _, text, heard=heard: heard.append(text)  # type: ignore[misc]
            late._last = last
            await late.come()
            ids = [id for text in heard if (id := json.loads(text)["id"]) in self.ledger.sent]
            if ids != [missed]:
                self.faults.append(
                    f"who came back to {program.name} was told {[id[:8] for id in ids]}, not {missed[:8]}"
                )
            await late.leave()
        for peer in self.peers:
            assert peer.session is not None
            await self._move(peer, peer.session)
            # A front may find the loss of ids only now, by the leave of somebody who had spoken before it.
            if not peer.session.continues and not self.loses_keys:
                self.faults.append(f"{peer.name} came back and was told that it may have missed something")
        await asyncio.gather(*(one.say(1) for one in self.speakers))
        await self.books.balanced()


def _shown(text: str) -> str:
    return text if len(text) < SHOWN else f"{text[:SHOWN]}…"
