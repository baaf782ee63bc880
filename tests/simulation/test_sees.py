"""The simulation sees: where a rule is broken on purpose, a world shows it."""

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

_read = scripts._read
_take = ReplayBuffer.take


def _nothing(*_: Any, **__: Any) -> None: ...


async def _none(*_: Any) -> list[Any]:
    return []


def _under_other_ids(self: ReplayBuffer, channel: str, since: float) -> list[CompletedJob]:
    said = _take(self, channel, since)
    return [one._replace(message=replace(one.message, id=new_id())) for one in said]


class Broken(NamedTuple):
    """A rule that is broken: scripts in which a line becomes another, parts that become something else."""

    rule: str
    seed: int  # that shows it quickly
    faults: str  # under which it shows
    scripts: Sequence[tuple[str, str, str]] = ()
    parts: Mapping[str, Any] = MappingProxyType({})  # of gischat


REPLAY = "front.dispatch.replay_buffer.ReplayBuffer.take"
RECENT = "front.channel.recent_messages.RecentMessages"
CONSUMER = "broker.inbox_consumer.InboxConsumer"
UNCHECKED = "redis.call('XACK', INBOX, GROUP, entry)"
ACK = f"if {UNCHECKED} == 0 then return false end"
TAKEN = "redis.call('DECRBY', INBOX_BYTES, size)"  # twice, if a job ends twice
CLAMPED = f"if {TAKEN} < 0 then redis.call('DEL', INBOX_BYTES) end"
FREES = "redis.call('HDEL', USERS, key)"
RESTORES = "set_nickname(connection, key, nickname)"
ENDS_TWICE = [("prelude", ACK, UNCHECKED), ("prelude", CLAMPED, TAKEN)]
UNRECORDED = [("prelude", "if id ~= '' then record_id(id) end", "")]
SWEPT_ALIVE = [(script, "milliseconds()", "'+inf'") for script in ("sweep", "dead_fronts")]
SWEPT_ALIVE += [("reap", "is_alive(front) or ", "")]
NOT_FREED = [("presence", FREES, ""), ("repair_nicknames", FREES, "")]  # … nor repaired
UNORDERED = [("enqueue", "or has_lost(preceding)", "")]
MOVING_AND_LOSING = "front_frozen people_moved redis_loses redis_flushed"

BROKEN = [
    Broken("a job ends once", 5, "worker_frozen redis_loses", ENDS_TWICE),
    Broken("an id is published once", 5, "redis_loses people_moved", UNRECORDED),
    Broken("who lives is not swept", 1, "front_frozen", SWEPT_ALIVE),
    Broken("who is dead is swept", 2, "front_killed", [("dead_fronts", "milliseconds()", "0")]),
    Broken("an exit frees the nickname", 1, "people_moved", NOT_FREED),
    Broken("a nickname is restored", 0, "redis_flushed", [("restore", RESTORES, "")]),
    Broken("it is said again before what comes behind it", 71, "front_frozen redis_loses", UNORDERED),
    Broken(
        "what redis has lost is said again",
        5,
        "front_frozen redis_fails_over redis_loses",
        parts={REPLAY: lambda *_: []},
    ),
    Broken("it is said again under its id", 1, "redis_loses", parts={REPLAY: _under_other_ids}),
    Broken(
        "a gap is told", 180, "front_frozen redis_flushed", parts={"front.channel.room.Room._send_to_all": _nothing}
    ),
    Broken(
        "a history waits for its front",
        59,
        MOVING_AND_LOSING,
        parts={"front.channel.joining.Joining._has_delivered": lambda *_: True},
    ),
    Broken(
        "nothing is delivered twice",
        3,
        "redis_loses",
        parts={"front.channel.deduplicator.Deduplicator.has_seen": lambda *_: False},
    ),
    Broken(
        "what a worker left is taken over",
        4,
        "worker_killed network_stalled",
        parts={f"{CONSUMER}.claim_stale": _none, f"{CONSUMER}.claim_own": _none},
    ),
    Broken(
        "who leaves says so", 1, "people_moved", parts={"front.dispatch.dispatcher.Dispatcher.unregister": _nothing}
    ),
    Broken(
        "counts are told again",
        1,
        "people_moved",
        parts={"front.channel.user_count.UserCount.republish": lambda self: self.version},
    ),
    Broken("who comes back is told what it missed", 1, "people_moved", parts={f"{RECENT}.since": lambda *_: b""}),
    Broken("what was withdrawn is told nobody", 3, "worker_stopped", parts={f"{RECENT}.delete_messages": _nothing}),
]


@contextmanager
def _in_place(broken: Broken) -> Iterator[None]:
    with ExitStack() as stack:
        for name, replacement in broken.parts.items():
            stack.enter_context(patch(f"gischat.{name}", replacement))
        if broken.scripts:
            stack.enter_context(patch("tests.simulation.programs._read", _reading(broken.scripts)))
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

    for script, _, _ in changes:
        read(script)  # a change that has no place is no fault of a world
    return read


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.rule)
def test_a_broken_rule_shows(broken: Broken) -> None:
    """A change of the product may turn a seed into a world in which the rule makes no difference: others are tried."""
    with _in_place(broken):
        for seed in (broken.seed, *range(100)):
            if World(seed, kinds=broken.faults.split()).run():
                print(f"'{broken.rule}' is shown by seed {seed}")
                return
    pytest.fail("nothing is wrong in any world")
