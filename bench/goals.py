"""Goals and their verdicts, and the costs for capacity planning.

A goal is a bound that the server was built to keep. A cost has no bound; docs/capacity-planning.md calculates with it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, NamedTuple

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a measured value, or for its ratio to a value measured for comparison."""

    what: str
    unit: str
    bound: Literal["≤", "≥"]
    limit: float
    is_ratio: bool = False
    against: str = "floor"  # name of the second value, if there is one
    cores: int = 1  # with fewer, there is no verdict

    @property
    def words(self) -> str:
        return (
            f"{self.bound} {self.limit:g} × {self.against}"
            if self.is_ratio
            else f"{self.bound} {self.limit:g} {self.unit}"
        )


class Measured(NamedTuple):
    """One measurement: a value, and perhaps one measured for comparison in the same run."""

    name: str  # of a goal or a cost, or with a number, of a point in a plot
    value: float
    against: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.against is None else self.value / self.against


class Verdict(NamedTuple):
    """The medians of all rounds, and whether they meet the goal; None if that cannot be judged here."""

    goal: Goal
    value: float
    against: float | None
    ratio: float | None
    is_met: bool | None


GOALS: Mapping[str, Goal] = {
    "delivery 200": Goal("CPU of a delivery: 200 clients, 100 texts/s", "µs", "≤", 5.5, is_ratio=True),
    "fan-out 200": Goal("the fan-out alone, 200 sockets", "µs", "≤", 2.3, is_ratio=True),
    "fan-out 2000": Goal("the fan-out alone, 2000 sockets", "µs", "≤", 2.3, is_ratio=True),
    "delivery 1000": Goal("CPU of a delivery: 1000 clients, 20 texts/s", "µs", "≤", 6.8),
    "message": Goal("CPU of a message: 10 clients, 800 texts/s", "ms", "≤", 0.65),
    "message p99": Goal("… and its delay (p99)", "ms", "≤", 20),
    "sustained": Goal("texts in a small room, one front, one light worker", "/s", "≥", 3000),
    "sustained delay": Goal(
        "… delay at 3000 texts/s (p99): end compared with beginning", "ms", "≤", 2, True, "beginning"
    ),
    "photos p99": Goal("delay of texts (p99) while ten photos of 12 Mpx are sent", "ms", "≤", 3, True, "quiet"),
    "photos": Goal("photos of 12 Mpx, one heavy worker", "/s", "≥", 10),
    "photo size": Goal("… size of a photo as received", "kB", "≤", 250),
    "two workers": Goal("photos, two heavy workers", "/s", "≥", 1.7, True, "one", cores=4),
    "layer": Goal("a layer of 5 MB: sent, checked, received by all", "s", "≤", 0.5),
    "layer p99": Goal("delay of texts (p99) while layers are sent to another channel", "ms", "≤", 1.5, True, "quiet"),
    "layer p99 here": Goal("… to the same channel, where each client receives 5 MB", "ms", "≤", 1.5, True, "quiet"),
    "layers p99": Goal(
        "delay of texts (p99) while 200 clients of another channel receive layers", "ms", "≤", 2, True, "quiet"
    ),
    "layers p99 here": Goal(
        "… of the same channel: no longer than a layer to all takes", "ms", "≤", 1, True, "a layer"
    ),
    "joins": Goal("joins of {joins} people in one channel", "/s", "≥", 1000),
    "joins counts": Goal("… `nb_users` that a client receives meanwhile", "/s", "≤", 5),
    "join cost": Goal("… CPU of a join: {joins} people compared with 500", "µs", "≤", 1.3, True, "500"),
    "qgis p99": Goal("delay of texts (p99) among 300 QGIS while ten users a second join and leave", "ms", "≤", 100),
    "quiz p99": Goal(
        "delay (p99) while 1000 people answer within 5 s, repeatedly; all receive all in order", "ms", "≤", 300
    ),
    "asks": Goal("requests for the list of users, one front", "/s", "≥", 5000),
    "fronts idle": Goal("an idle front: memory", "MiB", "≤", 34),
    "workers idle": Goal("an idle light worker: memory", "MiB", "≤", 28),
    "heavy idle": Goal("an idle heavy worker with its sandbox: memory", "MiB", "≤", 55),
    "idle memory": Goal("idle client: memory of the front", "KiB", "≤", 10),
    "idle cpu": Goal("idle client: CPU beside its pings", "µs/s", "≤", 2),
    "one to all": Goal("one text to {room}: until the last client has it", "ms", "≤", 60),
    "live": Goal("1000 live positions a second to 1000 clients: the front's share of a core", "", "≤", 0.33),
    "two fronts": Goal("{fronts} clients on two fronts: CPU of a delivery", "µs", "≤", 1.2, True, "half as many"),
    "rolled": Goal("the longest delay of a text while light workers restart", "ms", "≤", 1000),
    "redis again": Goal("Redis restarts: until a text is delivered", "s", "≤", 2),
    "gone": Goal("a front dies: until its users are removed", "s", "≤", 15),
}


class Cost(NamedTuple):
    """A cost, for docs/capacity-planning.md."""

    what: str
    unit: str


COSTS: Mapping[str, Cost] = {
    "idle house": Cost("CPU of a front, a light worker and Redis without clients", "ms/s"),
    "text calls fronts": Cost("a single text to ten clients: system calls of the front", ""),
    "text calls workers": Cost("… of the light worker", ""),
    "text calls valkey": Cost("… of Redis", ""),
    "text commands": Cost("… commands in Redis, including those of scripts", ""),
    "text wakings fronts": Cost("… how often the front is woken", ""),
    "text wakings workers": Cost("… the light worker", ""),
    "text wakings valkey": Cost("… Redis", ""),
    "message fronts": Cost("a text at 800/s, ten clients: CPU of the front", "µs"),
    "message workers": Cost("… of the light worker", "µs"),
    "message valkey": Cost("… of Redis", "µs"),
    "full": Cost("… of all processes, at the maximum rate of texts", "µs"),
    "delivery fronts": Cost("a delivery in the largest room: CPU of the front", "µs"),
    "text bytes": Cost("… bytes, without TCP and IP", "B"),
    "quiz delivery": Cost("a delivery while 1000 people answer within 5 s: CPU of all processes", "µs"),
    "hearing": Cost("a text of a channel in which a front has no clients, at 800/s: CPU of that front", "µs"),
    "hearing valkey": Cost("… additional CPU of Redis, for each such front", "µs"),
    "channel idle": Cost("an additional silent channel, one front: CPU of all processes", "µs/s"),
    "channel": Cost("… CPU of all processes for each text in another channel, at 100/s", "µs"),
    "channel valkey": Cost("… of which Redis", "µs"),
    "photo fronts": Cost("a photo of 12 Mpx (3 MB): CPU of the front", "ms"),
    "photo workers": Cost("… of the heavy worker", "ms"),
    "photo valkey": Cost("… of Redis", "ms"),
    "layer fronts": Cost("a layer of 5 MB, eleven clients: CPU of the front", "ms"),
    "layer workers": Cost("… of the heavy worker", "ms"),
    "layer valkey": Cost("… of Redis", "ms"),
    "join": Cost("a join, 500 at once: CPU of all processes", "µs"),
    "qgis asks": Cost("300 QGIS while ten users a second join and leave: requests for the list of users", "/s"),
    "asks fronts": Cost("… such a request: CPU of the front", "µs"),
    "ping": Cost("a ping and its pong: CPU of the front", "µs"),
    "idle memory": Cost("an idle client: memory of the front", "KiB"),
    "front memory": Cost("a front with a hundred clients: memory", "MiB"),
    "redis memory": Cost("a text in Redis, while it is retained", "B"),
    "live valkey": Cost("1000 live positions a second in one channel: CPU of Redis", "ms/s"),
    "nginx delivery": Cost("nginx before the front: CPU of nginx, a delivery", "µs"),
    "nginx memory": Cost("… memory of nginx, an idle client", "KiB"),
    "nginx tls delivery": Cost("nginx with TLS: CPU of nginx, a delivery", "µs"),
    "nginx tls memory": Cost("… memory of nginx, an idle client", "KiB"),
    "nginx tls join": Cost("… CPU of nginx, a handshake", "µs"),
}


def verdicts(measured: Iterable[Measured], sizes: Mapping[str, int], cores: int) -> list[Verdict]:
    """The verdicts on all rounds, goal by goal; goals without measurements are left out."""
    by_goal: dict[str, list[Measured]] = {}
    for one in measured:
        by_goal.setdefault(one.name, []).append(one)
    return [_verdict(goal, by_goal[name], sizes, cores) for name, goal in GOALS.items() if name in by_goal]


def costs(measured: Iterable[Measured]) -> list[tuple[Cost, float]]:
    """The medians of all rounds; costs without measurements are left out."""
    values: dict[str, list[float]] = {}
    for one in measured:
        values.setdefault(one.name, []).append(one.value)
    return [(cost, median(values[name])) for name, cost in COSTS.items() if name in values]


def _verdict(goal: Goal, rounds: list[Measured], sizes: Mapping[str, int], cores: int) -> Verdict:
    value = median(one.value for one in rounds)
    against = [one.against for one in rounds if one.against is not None]
    ratios = [one.ratio for one in rounds if one.ratio is not None]
    ratio = median(ratios) if ratios else None
    judged = ratio if goal.is_ratio and ratio is not None else value
    is_met = judged <= goal.limit if goal.bound == "≤" else judged >= goal.limit
    named = replace(goal, what=goal.what.format(**sizes))
    can_be_said = goal.cores <= cores
    return Verdict(named, value, median(against) if against else None, ratio, is_met if can_be_said else None)
