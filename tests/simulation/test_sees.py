"""The simulation sees: where a rule is broken on purpose, one of the first worlds shows it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest

from gischat.front.jobs.turnstile import Said, Turnstiles
from gischat.messages import new_id
from gischat.streams import scripts
from tests.simulation.world import World

SEEDS = range(40)
_read = scripts._read
_forget = Turnstiles._forget


def _nothing(*_: Any, **__: Any) -> None: ...


async def _none(*_: Any) -> list[Any]:
    return []


def _always(*_: Any) -> bool:
    return True


def _under_other_ids(self: Turnstiles, channel: str, since: float) -> list[Said]:
    said = _forget(self, channel, since)
    return [one._replace(message=replace(one.message, id=new_id())) for one in said]


# What is broken: a line of a script that becomes another, or something of a module that becomes something else.
SCRIPTS: Mapping[str, list[tuple[str, str, str]]] = {
    "a job may end twice": [
        (
            "prelude",
            "if redis.call('XACK', INBOX, GROUP, entry) == 0 then return false end",
            "redis.call('XACK', INBOX, GROUP, entry)",
        )
    ],
    "what was published is not remembered": [("prelude", "if id ~= '' then remember(id) end", "")],
    "whoever lives is swept": [
        ("dead_fronts", "milliseconds()", "'+inf'"),
        ("sweep", "is_alive(front) or ", ""),
    ],
    "nobody is swept": [("dead_fronts", "milliseconds()", "0")],
    "an exit frees no nickname": [("presence", "redis.call('HDEL', USERS, nickname)", "")],
    "what came back is not restored": [("restore", "set_nickname(address, nickname)", "")],
}
PARTS: Mapping[str, Mapping[str, Any]] = {
    "what redis has lost is not said again": {"gischat.front.jobs.turnstile.Turnstiles._forget": lambda *_: []},
    "it is said again under other ids": {"gischat.front.jobs.turnstile.Turnstiles._forget": _under_other_ids},
    "a history is sent before its front has heard it": {"gischat.front.channel.rooms.Room._has_heard": _always},
    "a gap is not told": {"gischat.front.channel.rooms.Room._tell_all": _nothing},
    "what is published again is delivered again": {"gischat.front.channel.rooms.Room.has_seen": lambda *_: False},
    "what a worker left is not taken over": {
        "worker.gateway.Gateway.abandoned": _none,
        "worker.gateway.Gateway.own": _none,
    },
    "who leaves does not say so": {"gischat.front.channel.connection.Connection._leave": _nothing},
    "counts are told once": {"gischat.front.channel.headcount.HeadCount.tell_again": lambda self: self.changes},
}


@contextmanager
def _broken(rule: str) -> Iterator[None]:
    with ExitStack() as stack:
        for name, replacement in PARTS.get(rule, {}).items():
            stack.enter_context(patch(name, replacement))
        if rule in SCRIPTS:
            stack.enter_context(patch("tests.simulation.programs._read", _reading(SCRIPTS[rule])))
        yield


def _reading(changes: list[tuple[str, str, str]]) -> Callable[[str], str]:
    @cache
    def read(name: str) -> str:
        text = _read(name)
        for script, before, after in changes:
            if script == name:
                assert before in text, f"{name}.lua has changed: this breaks nothing"
                text = text.replace(before, after)
        return text

    return read


@pytest.mark.parametrize("rule", [*SCRIPTS, *PARTS])
def test_a_broken_rule_shows(rule: str) -> None:
    with _broken(rule):
        assert any(World(seed).run() for seed in SEEDS), f"nothing is wrong in {len(SEEDS)} worlds"
