"""Many worlds from seeds. `make simulate SEEDS=10000` runs more of them; one that fails says how to replay it."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.simulation.__main__ import faults_of, replay_hint
from tests.simulation.faults import UNBEARABLE
from tests.simulation.world import LARGE_EVERY, World

SEEDS = 200
PART = 20  # a test each, so that they spread over the machine's cores


@pytest.mark.parametrize(
    ("seeds", "kinds"),
    [*((range(first, first + PART), ()) for first in range(0, SEEDS, PART)), (range(5), UNBEARABLE)],
    ids=[*map(str, range(0, SEEDS, PART)), "keys"],
)
def test_nothing_is_lost_twice_or_out_of_order_and_nobody_waits_for_ever(seeds: range, kinds: Sequence[str]) -> None:
    found = faults_of(seeds, kinds=tuple(kinds))
    told = [f"seed {seed}: {'; '.join(faults)}\n{replay_hint(seed, [*kinds])}" for seed, faults in found]
    assert not found, "\n".join(told)


def test_where_nothing_breaks_everything_is_delivered() -> None:
    world = World(LARGE_EVERY, kinds=["worker_stopped"])
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
