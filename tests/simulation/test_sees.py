"""The simulation sees: where a rule is broken on purpose, one of the first worlds shows it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from gischat.broker import scripts
from gischat.front.dispatch.dispatcher import CompletedJob, Dispatcher
from gischat.protocol.messages import new_id
from tests.simulation.world import World

SEEDS = range(40)
_read = scripts._read
_forget = Dispatcher._trim_replay_buffer


def _nothing(*_: Any, **__: Any) -> None: ...


async def _none(*_: Any) -> list[Any]:
    return []


def _always(*_: Any) -> bool:
    return True


def _under_other_ids(self: Dispatcher, channel: str, since: float) -> list[CompletedJob]:
    said = _forget(self, channel, since)
    return [one._replace(message=replace(one.message, id=new_id())) for one in said]


class Broken(NamedTuple):
    """A rule that is broken: scripts in which a line becomes another, parts that become something else."""

    rule: str
    faults: str  # under which it shows; any, if none are named
    scripts: Sequence[tuple[str, str, str]] = ()
    parts: Mapping[str, Any] = MappingProxyType({})


TURNSTILES = "gischat.front.dispatch.dispatcher.Turnstiles"
RECENT = "gischat.front.channel.recent_messages.RecentMessages"
ROOM = "gischat.front.channel.room.Room"
UNCHECKED = "redis.call('XACK', INBOX, GROUP, entry)"
ACK = f"if {UNCHECKED} == 0 then return false end"
BROKEN = [
    Broken("a job ends once", "worker_frozen redis_loses", [("prelude", ACK, UNCHECKED)]),
    Broken(
        "an id is published once", "redis_loses people_moved", [("prelude", "if id ~= '' then remember(id) end", "")]
    ),
    Broken(
        "who lives is not swept",
        "front_frozen",
        [("dead_fronts", "milliseconds()", "'+inf'"), ("sweep", "is_alive(front) or ", "")],
    ),
    Broken("who is dead is swept", "front_killed", [("dead_fronts", "milliseconds()", "0")]),
    Broken("a nickname is restored", "redis_flushed", [("restore", "set_nickname(address, key, nickname)", "")]),
    Broken(
        "what redis has lost is said again",
        "front_frozen redis_fails_over redis_loses",
        parts={f"{TURNSTILES}._forget": lambda *_: []},
    ),
    Broken("it is said again under its id", "redis_loses", parts={f"{TURNSTILES}._forget": _under_other_ids}),
    Broken(
        "a history waits for its front",
        "front_frozen people_moved redis_loses redis_flushed",
        parts={f"{ROOM}._has_heard": _always},
    ),
    Broken("nothing is delivered twice", "redis_loses", parts={f"{ROOM}.has_seen": lambda *_: False}),
    Broken(
        "what a worker left is taken over",
        "worker_killed network_stalled",
        parts={f"worker.gateway.Gateway.{name}": _none for name in ("abandoned", "own")},
    ),
    Broken(
        "who leaves says so",
        "people_moved",
        parts={"gischat.front.connection.client_connection.Connection._leave": _nothing},
    ),
    Broken(
        "counts are told again",
        "people_moved",
        parts={"gischat.front.channel.user_count.HeadCount.tell_again": lambda self: self.changes},
    ),
    Broken("who comes back is told what it missed", "people_moved", parts={f"{RECENT}.since": lambda *_: b""}),
    Broken("what was withdrawn is told nobody", "worker_stopped", parts={f"{RECENT}.withdraw": _nothing}),
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


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.rule)
def test_a_broken_rule_shows(broken: Broken) -> None:
    with _in_place(broken):
        for seed in SEEDS:
            if World(seed, kinds=broken.faults.split()).run():
                return
    pytest.fail(f"nothing is wrong in {len(SEEDS)} worlds")
