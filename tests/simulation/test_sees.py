"""The simulation sees: where a rule is broken on purpose, a world shows it.

`python -m tests.simulation.test_sees` searches anew for worlds that do, and prints the cheapest for `SHOWN`.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from gischat.broker import scripts
from gischat.front.dispatch.replay_buffer import CompletedJob, ReplayBuffer
from gischat.protocol.messages import new_id
from tests.simulation.world import World

SEARCHED = range(100)
_read = scripts._read
_take = ReplayBuffer.take


def _nothing(*_: Any, **__: Any) -> None: ...


async def _none(*_: Any) -> list[Any]:
    return []


def _always(*_: Any) -> bool:
    return True


def _under_other_ids(self: ReplayBuffer, channel: str, since: float) -> list[CompletedJob]:
    said = _take(self, channel, since)
    return [one._replace(message=replace(one.message, id=new_id())) for one in said]


class Broken(NamedTuple):
    """A rule that is broken: scripts in which a line becomes another, parts that become something else."""

    rule: str
    faults: str  # under which it shows; any, if none are named
    scripts: Sequence[tuple[str, str, str]] = ()
    parts: Mapping[str, Any] = MappingProxyType({})


REPLAY = "gischat.front.dispatch.replay_buffer.ReplayBuffer"
RECENT = "gischat.front.channel.recent_messages.RecentMessages"
ROOM = "gischat.front.channel.room.Room"
DEDUPLICATOR = "gischat.front.channel.deduplicator.Deduplicator"
JOINING = "gischat.front.channel.joining.Joining"
UNCHECKED = "redis.call('XACK', INBOX, GROUP, entry)"
FREES = "redis.call('HDEL', USERS, key)"
TAKEN = "redis.call('DECRBY', INBOX_BYTES, size)"  # twice, if a job ends twice
CLAMPED = f"if {TAKEN} < 0 then redis.call('DEL', INBOX_BYTES) end"
ACK = f"if {UNCHECKED} == 0 then return false end"
BROKEN = [
    Broken("a job ends once", "worker_frozen redis_loses", [("prelude", ACK, UNCHECKED), ("prelude", CLAMPED, TAKEN)]),
    Broken(
        "an id is published once", "redis_loses people_moved", [("prelude", "if id ~= '' then record_id(id) end", "")]
    ),
    Broken(
        "who lives is not swept",
        "front_frozen",
        [
            ("sweep", "milliseconds()", "'+inf'"),
            ("dead_fronts", "milliseconds()", "'+inf'"),
            ("reap", "is_alive(front) or ", ""),
        ],
    ),
    Broken("who is dead is swept", "front_killed", [("dead_fronts", "milliseconds()", "0")]),
    # … or what is left of it is repaired
    Broken("an exit frees the nickname", "people_moved", [("presence", FREES, ""), ("repair_nicknames", FREES, "")]),
    Broken("a nickname is restored", "redis_flushed", [("restore", "set_nickname(connection, key, nickname)", "")]),
    Broken(
        "what redis has lost is said again",
        "front_frozen redis_fails_over redis_loses",
        parts={f"{REPLAY}.take": lambda *_: []},
    ),
    Broken("it is said again under its id", "redis_loses", parts={f"{REPLAY}.take": _under_other_ids}),
    Broken(
        "it is said again before what comes behind it",
        "front_frozen redis_loses",
        [("enqueue", "or has_lost(preceding)", "")],
    ),
    Broken("a gap is told", "front_frozen redis_flushed", parts={f"{ROOM}._send_to_all": _nothing}),
    Broken(
        "a history waits for its front",
        "front_frozen people_moved redis_loses redis_flushed",
        parts={f"{JOINING}._has_delivered": _always},
    ),
    Broken("nothing is delivered twice", "redis_loses", parts={f"{DEDUPLICATOR}.has_seen": lambda *_: False}),
    Broken(
        "what a worker left is taken over",
        "worker_killed network_stalled",
        parts={f"gischat.broker.inbox_consumer.InboxConsumer.{name}": _none for name in ("claim_stale", "claim_own")},
    ),
    Broken(
        "who leaves says so",
        "people_moved",
        parts={"gischat.front.dispatch.dispatcher.Dispatcher.unregister": _nothing},
    ),
    Broken(
        "counts are told again",
        "people_moved",
        parts={"gischat.front.channel.user_count.UserCount.republish": lambda self: self.version},
    ),
    Broken("who comes back is told what it missed", "people_moved", parts={f"{RECENT}.since": lambda *_: b""}),
    Broken("what was withdrawn is told nobody", "worker_stopped", parts={f"{RECENT}.delete_messages": _nothing}),
]


@contextmanager
def _in_place(broken: Broken) -> Iterator[None]:
    with ExitStack() as stack:
        for name, replacement in broken.parts.items():
            stack.enter_context(patch(name, replacement))
        if broken.scripts:
            read = _reading(broken.scripts)
            for script, _, _ in broken.scripts:
                read(script)  # a change that has no place is no fault of a world
            stack.enter_context(patch("tests.simulation.programs._read", read))
        yield


def _reading(changes: Sequence[tuple[str, str, str]]) -> Callable[[str], str]:
    @cache
    def read(name: str) -> str:
        text = _read(name)
        for script, before, after in changes:
            if script == name:
                assert before in text, f"{name}.lua has changed: this breaks nothing"
                text = text.replace(before, after)
        return text

    return read


def _shows(broken: Broken, seed: int) -> bool:
    with _in_place(broken):
        return bool(World(seed, kinds=broken.faults.split()).run())


# By rule, seeds that show it, the cheapest first. A change of the product may turn one into another world, in which the
# broken rule makes no difference: then the test looks for one that shows it, which takes longer. See above.
SHOWN: dict[str, Sequence[int]] = {
    "a job ends once": (19, 43, 38),
    "an id is published once": (19, 21),
    "who lives is not swept": (1, 3, 4),
    "who is dead is swept": (12, 3, 16),
    "an exit frees the nickname": (1, 2, 6),
    "a nickname is restored": (29, 3, 13),
    "what redis has lost is said again": (63, 32),
    "it is said again under its id": (1, 3, 2),
    "it is said again before what comes behind it": (19, 1050),
    "a gap is told": (411, 589, 658, 1535),
    "a history waits for its front": (10, 52),
    "nothing is delivered twice": (3, 6, 0),
    "what a worker left is taken over": (25, 7, 15),
    "who leaves says so": (1, 2, 4),
    "counts are told again": (1, 4, 2),
    "who comes back is told what it missed": (0, 4, 6),
    "what was withdrawn is told nobody": (0, 10, 20),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.rule)
def test_a_broken_rule_shows(broken: Broken) -> None:
    seeds = (*SHOWN.get(broken.rule, ()), *SEARCHED)
    assert any(_shows(broken, seed) for seed in seeds), f"nothing is wrong in {len(seeds)} worlds"


def _search(broken: Broken, worlds: int, wanted: int) -> list[int]:
    found: list[tuple[float, int]] = []
    for seed in range(worlds):
        began = time.process_time()
        shows, taken = _shows(broken, seed), time.process_time() - began
        if shows and not World(seed, kinds=broken.faults.split()).run():  # where all is well otherwise
            found.append((taken, seed))
            if len(found) == 2 * wanted:
                break
    return [seed for _, seed in sorted(found)[:wanted]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.test_sees")
    parser.add_argument("rules", nargs="*", help="parts of their names; all, if none are given")
    parser.add_argument("--worlds", type=int, default=400, help="that are searched for each, at the most")
    parser.add_argument("--seeds", type=int, default=3, help="that are wanted for each")
    given = parser.parse_args()
    for broken in BROKEN:
        if not given.rules or any(part in broken.rule for part in given.rules):
            print(f'    "{broken.rule}": {tuple(_search(broken, given.worlds, given.seeds))},', flush=True)


if __name__ == "__main__":
    main()
