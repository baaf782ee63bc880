"""Many worlds from seeds. `make simulate SEEDS=10000` runs more of them; one that fails says how to replay it."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.simulation.__main__ import faults_of, replay_hint
from tests.simulation.faults import UNBEARABLE
from tests.simulation.world import World

# Those that showed a fault once, with the kinds of its faults (all, if none are named), and what was wrong
SHOWED = [
    (19, "front_frozen redis_loses", "a redis that had lost something counted past what a front had heard"),
    (20, "redis_loses people_moved", "what was refused, and sent again by its sender, had to come in the row"),
    (8140, "front_frozen redis_loses worker_killed", "a front that others had carried past a loss replayed too little"),
    (5251, "front_frozen redis_loses worker_killed", "likewise, and was frozen for longer"),
    (5219, "", "what was said again was refused, though it was in its inbox before"),
    (5327, "", "somebody whose nickname a ghost had counted as registered"),
]


# In several tests, so that they spread over the machine's cores
@pytest.mark.parametrize(
    ("seeds", "kinds"),
    [*((range(first, first + 10), ()) for first in range(0, 30, 10)), (range(5), UNBEARABLE)],
    ids=["0", "10", "20", "keys"],
)
def test_nothing_is_lost_twice_or_out_of_order_and_nobody_waits_for_ever(seeds: range, kinds: Sequence[str]) -> None:
    found = faults_of(seeds, kinds=tuple(kinds))
    told = [f"seed {seed}: {'; '.join(faults)}\n{replay_hint(seed, [*kinds])}" for seed, faults in found]
    assert not found, "\n".join(told)


@pytest.mark.parametrize(("seed", "kinds", "wrong"), SHOWED, ids=lambda value: value if isinstance(value, int) else "")
def test_a_seed_that_showed_a_fault_shows_none(seed: int, kinds: str, wrong: str) -> None:
    assert not (faults := World(seed, kinds=kinds.split()).run()), f"once, {wrong}: {'; '.join(faults)}"


def test_where_nothing_breaks_everything_is_delivered() -> None:
    world = World(5, kinds=["worker_stopped"])
    assert not world.run()
    types = {sent.type for sent in world.ledger.sent.values()}
    balance = world.ledger.balance()
    assert types == {"text", "image", "position", "geojson"}
    assert (balance.delivered, balance.refused, balance.gaps) == (balance.sent, 0, 0)


def test_a_seed_replays_exactly() -> None:
    """In another process, too, where sets and hashes have another order."""
    world = World(4)
    world.run()
    assert len(world.ledger.sent) > 10
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "4"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split()[-1] == f"({world.trace:08x})"
