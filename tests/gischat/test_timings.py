"""The one object of all times: they do not contradict each other, and stand nowhere else."""

import ast
from pathlib import Path
from typing import Any

import pytest

from gischat.timings import Timings
from tests.support.syntax import parsed

ROOT = Path(__file__).parents[2]

# What is predicted of a job or counted in a minute, the sandbox's own, and what an operator's commands wait for.
NO_CLOCKS = {
    "gischat.commands.stop",
    "gischat.front.limits.rate_limit",
    "gischat.observability.metrics",
    "worker.heavy_consumer",
    "worker.fairness",
    "worker.images",
    "worker.sandbox",
}


@pytest.mark.parametrize(
    "contradiction",
    [
        {"lease": 3.0},
        {"heartbeat": 2.0},
        {"subscriber_stalled": 1.5},
        {"replay": 1.0},
        {"ids": 10.0},
        {"challenge_own": 40.0},
        {"survey": 20.0},
        {"reclaim_heavy": 100.0},
        {"inbox_read": 15.0},
    ],
    ids=str,
)
def test_timings_that_contradict_each_other_are_none(contradiction: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="contradict"):
        Timings(**contradiction)


def test_what_a_front_has_seen_it_forgets_before_redis_does() -> None:
    assert Timings().seen < Timings().ids
    assert Timings(ids=1.0, settling=0.0).seen < 1.0


def test_no_time_stands_elsewhere() -> None:
    found = [
        f"{path.relative_to(ROOT)}, line {node.lineno}"
        for package in ("gischat", "worker")
        for path in (ROOT / package).rglob("*.py")
        if (module := ".".join(path.relative_to(ROOT).with_suffix("").parts)) not in NO_CLOCKS
        if not module.startswith(("gischat.supervision.", "gischat.client."))
        for node in parsed(path.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.endswith(("SECONDS", "_MS", "_AGE", "_EVERY", "_AFTER"))
    ]
    assert not found, f"times that stand outside of Timings: {found}"
