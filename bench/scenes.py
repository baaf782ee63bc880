"""Scenarios that measure the goals and costs.

Values that are compared are measured alternately, so that noise affects both. CPU time is the sum of all fronts,
workers (with their sandboxes) and Valkey, without the load generator. A text's delay is the time from sending to
arrival at one of ten clients that send in turn, in a process of their own; a room's other clients only receive, in
other processes.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Self

from bench import counts, payloads, quiz
from bench.crowd import MAX_OPEN_FILES, Address, Crowd, Joined, Spoken, crowds, together
from bench.goals import Measured
from bench.house import Ground, House
from bench.proxy import can_run, proxy
from bench.senders import Program, sender

SPEAKERS = 10
SPARE = 2  # fronts without clients
CHANNELS = 200  # silent ones
LISTENERS = 2500  # per process
AT_ONCE = 200  # connections that a process opens at a time
DELIVERIES = 20_000  # per second, in a room of any size: what the load generator can handle beside the server
MAX_TEXTS = 400  # per second, for small rooms
SETTLE_SECONDS = 2.0  # after joining, until garbage has been collected
NO_LIMIT = 10**9
COMING_SECONDS = 9.0  # a full room receives its count every three
ROLLING_SECONDS = 8.0  # in which two workers restart, one after the other
PASSERS = 10  # users per second who come and go
MOVING = 1000  # clients that send a live position every second
MOVING_SECONDS = 20.0  # the front gathers that many positions for several seconds
LAYER_CLIENTS = 200  # that receive each layer
HEADER_BYTES = 4  # of a text's frame


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of a measurement."""

    seconds: float  # of one turn
    turns: int  # of each side that is compared
    rooms: Sequence[int]  # clients
    joins: Sequence[int]  # clients that join at once, from few to many
    idle: int  # idle clients
    on_two_fronts: int  # clients
    proxied: int  # clients behind nginx
    qgis: int  # clients that request the list of users at every `nb_users`
    photo_rates: Sequence[float]  # photos per second, for the plot
    quiz: tuple[int, int]  # clients, and rounds


FULL = Plan(2.0, 3, (50, 200, 1000, 2000, 5000), (500, 5000), 4000, 10_000, 1000, 300, (1, 2, 4, 8), (1000, 10))
QUICK = Plan(0.5, 1, (200, 1000), (500, 1000), 500, 1000, 200, 300, (), (1000, 2))

Cpu = Mapping[str, float]  # seconds, by part: fronts, spare (fronts), workers, valkey
Scene = Callable[[Ground, Plan, Program], Iterator[Measured]]


class Room(contextlib.ExitStack):
    """The clients in a channel of an instance: ten that send, and any number that only receive."""

    def __init__(self, house: House, address: Address | None = None) -> None:
        """
        Args:
            address: where to connect, if not directly to the fronts.
        """
        super().__init__()
        self._house = house
        self._address = address or house.address
        self._crowds: list[Crowd] = []
        self._sizes: list[int] = []

    def __enter__(self) -> Self:
        super().__enter__()
        self.grow(SPEAKERS)
        return self

    @property
    def size(self) -> int:
        return sum(self._sizes)

    @property
    def channel(self) -> str:
        return self._address.channel

    @property
    def speakers(self) -> Crowd:
        return self._crowds[0]

    def grow(self, size: int) -> None:
        """Connect clients until there are `size`."""
        while self.size < size:
            (crowd,) = self.enter_context(crowds(1))
            number = min(LISTENERS, size - self.size) if self._crowds else SPEAKERS
            crowd.ask("join", number, self._address, AT_ONCE)
            self._crowds.append(crowd)
            self._sizes.append(number)

    def speak(self, rate: float, seconds: float, window: int = NO_LIMIT) -> tuple[Spoken, Cpu]:
        """Send texts until everyone has received all; returns the result, and the instance's CPU seconds per text."""
        before = self._texts()
        with self._house.cpu() as cpu:
            spoken: Spoken = self.speakers.ask("speak", rate, seconds, window)
            self._wait(before, spoken.sent)
        return spoken, {part: used / spoken.sent for part, used in cpu.items()}

    def seconds_to_all(self) -> float:
        """Send one text; returns the seconds until the last client has it."""
        before, start = self._texts(), time.perf_counter()
        self.speakers.ask("speak", 1, 0, NO_LIMIT)
        return self._wait(before, 1) - start

    def frame_bytes(self) -> int:
        """The size of a text's frame, as received."""
        self.seconds_to_all()
        number, size = self.speakers.ask("report")["text"]
        return HEADER_BYTES + int(size) // int(number)

    def _texts(self) -> list[int]:
        return [crowd.ask("report").get("text", (0, 0))[0] for crowd in self._crowds]

    def _wait(self, before: list[int], number: int) -> float:
        """Wait until everyone has received so many more texts; returns the time of the last arrival."""
        awaited = [heard + number * size for heard, size in zip(before, self._sizes, strict=True)]
        waiting = zip(self._crowds, awaited, strict=True)
        return float(max(together([crowd.begin("until_heard", "text", until) for crowd, until in waiting])))


def small_room(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """A few clients that send many texts."""
    with ground.house(heavy=0) as house, Room(house) as room:
        yield Measured("idle house", _cpu_per_second(house, plan.seconds) * 1e3)
        for _ in range(plan.turns):
            spoken, cpu = room.speak(800, plan.seconds)
            yield Measured("message", sum(cpu.values()) * 1e3)
            yield Measured("message p99", p99(spoken.latencies) * 1e3)
            yield from (Measured(f"message {part}", used * 1e6) for part, used in cpu.items())
        for _ in range(plan.turns):
            spoken, cpu = room.speak(NO_LIMIT, plan.seconds, window=20 * SPEAKERS)
            yield Measured("sustained", spoken.sent / spoken.seconds)
            yield Measured("full", sum(cpu.values()) * 1e6)
        spoken, _ = room.speak(3000, 4 * plan.seconds, window=300 * SPEAKERS)
        third = spoken.sent // 3
        yield Measured("sustained delay", p99(spoken.latencies[-third:]) * 1e3, p99(spoken.latencies[:third]) * 1e3)


def hearing(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """The cost of fronts without clients, and Redis' memory per text."""
    one, more = ground.house(heavy=0), ground.house(heavy=0, spare=SPARE)
    with one, more, Room(one) as alone, Room(more) as room:
        for _ in range(plan.turns):
            _, without = alone.speak(800, plan.seconds)
            before = ground.redis_bytes()
            spoken, cpu = room.speak(800, plan.seconds)
            yield Measured("redis memory", (ground.redis_bytes() - before) / spoken.sent)
            yield Measured("hearing", cpu["spare"] / SPARE * 1e6)
            yield Measured("hearing valkey", (cpu["valkey"] - without["valkey"]) / SPARE * 1e6)


def many_channels(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """The cost of a silent channel: fronts and workers read all channels at once."""
    idle, all_parts, valkey = [], [], []
    for silent in (0, CHANNELS):  # one after the other, as they share a Valkey
        channels = ",".join(["QGIS", "Geotribu", *map(str, range(silent))])
        with ground.house(heavy=0, channels=channels) as house, Room(house) as room:
            idle.append(_cpu_per_second(house, 2 * plan.seconds))
            said = [room.speak(100, plan.seconds)[1] for _ in range(plan.turns)]
            all_parts.append(median(sum(cpu.values()) for cpu in said))
            valkey.append(median(cpu["valkey"] for cpu in said))
    yield Measured("channel idle", (idle[1] - idle[0]) / CHANNELS * 1e6)
    yield Measured("channel", (all_parts[1] - all_parts[0]) / CHANNELS * 1e6)
    yield Measured("channel valkey", (valkey[1] - valkey[0]) / CHANNELS * 1e6)


def singly(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Idle processes, and the cost of single texts."""
    with ground.house() as house:
        parts = {"fronts": house.fronts[0], "workers": house.workers[0], "valkey": ground.valkey}
        time.sleep(SETTLE_SECONDS)
        for name, process in (*parts.items(), ("heavy", house.workers[1])):
            yield Measured(f"{name} idle", process.resident_bytes() / 2**20)
        with Room(house) as room:
            time.sleep(SETTLE_SECONDS)

            def speak() -> int:
                return room.speak(100, plan.seconds, window=1)[0].sent

            yield Measured("text commands", counts.per_text(ground.redis_commands, speak, plan.seconds))
            for name, process in parts.items():
                woken = counts.per_text(partial(counts.wakings, process.pid), speak, plan.seconds)
                yield Measured(f"text wakings {name}", woken)
            with counts.system_calls({name: process.pid for name, process in parts.items()}) as called:
                texts = speak()
            yield from (Measured(f"text calls {name}", number / texts) for name, number in called.items())


def rooms(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """A growing room, compared with bare sends to as many sockets."""
    with ground.house(heavy=0) as house, Room(house) as room:
        frame = room.frame_bytes()
        yield Measured("text bytes", frame)
        for size in plan.rooms:
            room.grow(size)
            rate = min(MAX_TEXTS, DELIVERIES / size)
            with sender(floor, size, frame) as bare:
                for _ in range(plan.turns):
                    least = bare.microseconds_per_send(rate, plan.seconds / 2)
                    _, cpu = room.speak(rate, plan.seconds)
                    yield Measured(f"delivery {size}", sum(cpu.values()) / size * 1e6, least)
                    if size == plan.rooms[-1]:
                        yield Measured("delivery fronts", cpu["fronts"] / size * 1e6)
        for _ in range(3 * plan.turns):
            yield Measured("one to all", room.seconds_to_all() * 1e3)


def fan_out_alone(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """The front's fan-out alone, compared with bare sends."""
    ours = (sys.executable, "-m", "bench.fan_out")
    with contextlib.ExitStack() as stack:
        for size in (200, 2000):
            rate = DELIVERIES / size
            bare = stack.enter_context(sender(floor, size, 200))
            plain = stack.enter_context(sender(ours, size, 200))
            for _ in range(2 * plan.turns):
                least = bare.microseconds_per_send(rate, plan.seconds / 2)
                yield Measured(f"fan-out {size}", plain.microseconds_per_send(rate, plan.seconds / 2), least)


def joining(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Many clients that join an empty room at once."""
    costs: list[float] = []
    with ground.house(heavy=0) as house:
        for number in plan.joins:
            house.until_empty()
            with crowds(2) as both, house.cpu() as cpu:
                start = time.perf_counter()
                came = [crowd.begin("join", number // 2, house.address, AT_ONCE) for crowd in both]
                joined: list[Joined] = together(came)
                seconds = time.perf_counter() - start
            costs.append(sum(cpu.values()) / number * 1e6)
    yield Measured("joins", number / seconds)
    yield Measured("joins counts", max(one.counts[1] for one in joined) / seconds)
    yield Measured("join cost", costs[-1], costs[0])
    yield Measured("join", costs[0])


def idling(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Idle clients, without pings and with frequent ones."""
    *_, silent = _idle(ground, plan, ping_seconds=0)
    front, memory, pinged = _idle(ground, plan, ping_seconds=2)
    yield Measured("front memory", front / 2**20)
    yield Measured("idle memory", memory / 2**10)
    yield Measured("idle cpu", silent * 1e6)
    yield Measured("ping", (pinged - silent) * 2 * 1e6)


def _idle(ground: Ground, plan: Plan, ping_seconds: int) -> tuple[float, float, float]:
    """Bytes of a front with a hundred clients; and for each further client, bytes and CPU seconds per second."""
    house = ground.house(heavy=0, ws_ping_interval=ping_seconds, ws_ping_timeout=ping_seconds)
    with house, crowds(2) as (first, rest):
        (front,) = house.fronts
        first.ask("join", 100, house.address, AT_ONCE)  # one-time costs are not counted per client
        time.sleep(SETTLE_SECONDS)
        memory, cpu = front.resident_bytes(), _cpu_per_second(house, 2 * plan.seconds)
        rest.ask("join", plan.idle, house.address, AT_ONCE)
        time.sleep(SETTLE_SECONDS)
        more_memory = front.resident_bytes() - memory
        more_cpu = _cpu_per_second(house, 2 * plan.seconds) - cpu
        return memory, more_memory / plan.idle, more_cpu / plan.idle


def photographing(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Photos while others send texts; and with a second heavy worker."""
    photo = payloads.photo()
    one, two = ground.house(heavy=1), ground.house(heavy=2)
    with one, two, Room(one) as room, crowds(2) as (at_one, at_two):
        at_one.ask("join", 5, one.address, AT_ONCE)
        at_two.ask("join", 5, two.address, AT_ONCE)
        for _ in range(plan.turns):
            quiet = _delays(room, plan.seconds)
            busy = _delays(room, plan.seconds, at_one.begin("say", photo, "image", 10, NO_LIMIT))
            yield Measured("photos p99", p99(busy) * 1e3, p99(quiet) * 1e3)
            with one.cpu() as cpu:
                alone = 20 / at_one.ask("say", photo, "image", 20, NO_LIMIT)
            yield Measured("photos", alone)
            yield from (Measured(f"photo {part}", used / 20 * 1e3) for part, used in cpu.items())
            yield Measured("two workers", 20 / at_two.ask("say", photo, "image", 20, NO_LIMIT), alone)
        number, size = at_one.ask("report")["image"]
        yield Measured("photo size", size / number / 1e3)
        for rate in plan.photo_rates:
            delays = _delays(room, 3 * plan.seconds, at_one.begin("say", photo, "image", int(rate * 6), rate))
            yield Measured(f"p99 with photos {rate:g}", p99(delays) * 1e3)


def mapping(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Large layers while others send texts, in the same channel and in another one."""
    layer = payloads.layer()
    for name, channel in (("layer p99", "Geotribu"), ("layer p99 here", "QGIS")):
        with ground.house() as house, Room(house) as room, crowds(1) as (mapper,):
            people = 1 if channel == room.channel else 1 + SPEAKERS
            mapper.ask("join", people, house.address._replace(channel=channel), AT_ONCE)
            for _ in range(plan.turns):
                with house.cpu() as cpu:
                    seconds = mapper.ask("say", layer, "geojson", 1, 1)
                yield Measured("layer", seconds)
                yield from (Measured(f"layer {part}", used * 1e3) for part, used in cpu.items())
                quiet = _delays(room, 2 * plan.seconds)
                busy = _delays(room, 2 * plan.seconds, mapper.begin("say", layer, "geojson", int(2 * plan.seconds), 1))
                yield Measured(name, p99(busy) * 1e3, p99(quiet) * 1e3)


def layering(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Layers to a full room while others send texts, in another channel and in the same one."""
    layer, seconds = payloads.layer(), 3 * plan.seconds
    layers = max(1, int(plan.seconds))
    with ground.house() as house, Room(house) as elsewhere, crowds(1) as (mapper,):
        full = house.address._replace(channel="Geotribu")
        with Room(house, full) as here:
            mapper.ask("join", LAYER_CLIENTS - SPEAKERS, full, AT_ONCE)
            for _ in range(plan.turns):
                alone = mapper.ask("say", layer, "geojson", 1, 1)
                quiet = _delays(elsewhere, seconds)
                saying = mapper.begin("say", layer, "geojson", layers, layers / seconds)
                speaking = here.speakers.begin("speak", 20, seconds, NO_LIMIT)
                yield Measured("layers p99", p99(_delays(elsewhere, seconds, saying)) * 1e3, p99(quiet) * 1e3)
                yield Measured("layers p99 here", p99(speaking().latencies) * 1e3, alone * 1e3)


def coming_and_going(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """A room of QGIS clients, which request the list of users at every `nb_users`, while users come and go."""
    with ground.house(heavy=0) as house, Room(house) as room, crowds(2) as (qgis, passers):
        qgis.ask("join", plan.qgis, house.address, AT_ONCE)
        qgis.ask("ask_at_counts", house.address)
        for _ in range(plan.turns):
            before = qgis.ask("asked_until_now")
            coming = passers.begin("come_and_go", PASSERS, COMING_SECONDS, house.address)
            spoken, _ = room.speak(100, COMING_SECONDS)
            coming()
            yield Measured("qgis p99", p99(spoken.latencies) * 1e3)
            yield Measured("qgis asks", (qgis.ask("asked_until_now") - before) / COMING_SECONDS)
        for _ in range(plan.turns):
            with house.cpu() as cpu:
                asked = passers.ask("ask", 16, plan.seconds, house.address)
            yield Measured("asks", asked.number / asked.seconds)
            yield Measured("asks fronts", cpu["fronts"] / asked.number * 1e6)


def quizzing(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """All clients of a room answer within five seconds, and receive all answers in the same order."""
    people, rounds = plan.quiz
    delays, cpu = quiz.play(ground, people, rounds)
    yield Measured("quiz p99", p99(delays) * 1e3)
    yield Measured("quiz delivery", cpu / (rounds * people * people) * 1e6)


def live(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Clients that send a live position once a second, in one channel, and as many that receive all of them."""
    with ground.house(heavy=0) as house, crowds(2) as (people, watchers):
        people.ask("join", MOVING, house.address, AT_ONCE)
        people.ask("register", "mover")
        watchers.ask("join", MOVING, house.address._replace(query="?types=live_position"), AT_ONCE)
        time.sleep(SETTLE_SECONDS)
        for _ in range(plan.turns):
            with house.cpu() as cpu:
                start = time.perf_counter()
                moved = people.ask("move", "mover", MOVING_SECONDS)
                seconds = time.perf_counter() - start
            print(f"positions: {moved / seconds:.0f}/s", file=sys.stderr)  # fewer than a thousand: the load is too slow
            yield Measured("live", cpu["fronts"] / seconds)
            yield Measured("live valkey", cpu["valkey"] / seconds * 1e3)


def two_fronts(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """A room on two fronts, half full and full."""
    with ground.house(fronts=2, heavy=0) as house, Room(house) as room:
        costs = []
        for size in (plan.on_two_fronts // 2, plan.on_two_fronts):
            room.grow(size)
            spoken = [room.speak(DELIVERIES / size, plan.seconds) for _ in range(plan.turns)]
            costs.append(median(sum(cpu.values()) / size * 1e6 for _, cpu in spoken))
        yield Measured("two fronts", costs[1], costs[0])


def proxied(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """Clients behind nginx, without and with TLS."""
    if not can_run():
        print("nginx or openssl is not installed: their costs are not measured", file=sys.stderr)
        return
    with ground.house(heavy=0) as house, proxy(house.address, files=MAX_OPEN_FILES) as nginx:
        for name, address in (("nginx", nginx.plain), ("nginx tls", nginx.encrypted)):
            with Room(house, address) as room:
                room.grow(100)  # one-time costs are not counted per client
                memory, cpu = nginx.process.resident_bytes(), nginx.process.cpu_seconds()
                room.grow(100 + plan.proxied)
                yield Measured(f"{name} memory", (nginx.process.resident_bytes() - memory) / plan.proxied / 2**10)
                yield Measured(f"{name} join", (nginx.process.cpu_seconds() - cpu) / plan.proxied * 1e6)
                for _ in range(plan.turns):
                    cpu = nginx.process.cpu_seconds()
                    spoken, _ = room.speak(DELIVERIES / room.size, plan.seconds)
                    cpu = nginx.process.cpu_seconds() - cpu
                    yield Measured(f"{name} delivery", cpu / spoken.sent / room.size * 1e6)


def harming(ground: Ground, plan: Plan, floor: Program) -> Iterator[Measured]:
    """What users notice of processes that stop: workers and Redis gracefully, a front killed."""
    with ground.house(spare=1, light=2, heavy=0) as house, Room(house) as room:
        speaking = room.speakers.begin("speak", 100, ROLLING_SECONDS, NO_LIMIT)
        for worker in house.workers:
            worker.stop()
            worker.start()
        spoken: Spoken = speaking()
        yield Measured("rolled", max(spoken.latencies) * 1e3)
        ground.valkey.stop()
        ground.valkey.start()
        yield Measured("redis again", room.seconds_to_all())
        house.fronts[0].kill()
        died_at = time.perf_counter()
        house.until_empty()
        yield Measured("gone", time.perf_counter() - died_at)


OF_GOALS: tuple[Scene, ...] = (
    fan_out_alone,
    small_room,
    singly,
    rooms,
    joining,
    idling,
    photographing,
    mapping,
    layering,
    coming_and_going,
    quizzing,
    live,
    two_fronts,
    harming,
)
OF_COSTS: tuple[Scene, ...] = (hearing, many_channels, proxied)  # besides those measured by the others
SCENES = OF_GOALS + OF_COSTS


def p99(delays: Sequence[float]) -> float:
    return sorted(delays)[math.ceil(len(delays) * 0.99) - 1]


def _delays(room: Room, seconds: float, others: Callable[[], float] | None = None) -> list[float]:
    """The delays of a hundred texts per second, of those sent before `others` were done."""
    spoken, _ = room.speak(100, seconds)
    until = seconds if others is None else min(seconds, others())
    return spoken.latencies[: math.ceil(until * 100)]


def _cpu_per_second(house: House, seconds: float) -> float:
    with house.cpu() as cpu:
        time.sleep(seconds)
    return sum(cpu.values()) / seconds
