"""Many worlds, or one in detail: `python -m tests.simulation --seeds 10000`, `python -m tests.simulation --seed 17`."""

import argparse
import functools
import gc
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count

from tests.simulation.faults import ALL_FAULTS
from tests.simulation.world import World

PART = 20  # seeds that a process takes at once


def faults_of(seeds: range, *, kinds: Sequence[str] = ()) -> list[tuple[int, list[str]]]:
    """Those seeds that show a fault, with what it is."""
    return [(seed, faults) for seed in seeds if (faults := World(seed, kinds=kinds).run())]


def replay_hint(seed: int, kinds: Sequence[str]) -> str:
    only = f" --faults {' '.join(kinds)}" if kinds else ""
    return f"replay: python -m tests.simulation --seed {seed}{only}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=cpu_count())
    parser.add_argument("--faults", nargs="+", choices=ALL_FAULTS, default=(), help="of these kinds alone")
    parser.add_argument("--seed", type=int, help="this one alone; all that happens is told")
    given = parser.parse_args()
    if given.seed is not None:
        world = World(given.seed, is_told=True, kinds=given.faults)
        faults = world.run()
        print("\n".join(faults) or "all is well", f"({world.trace:08x})")
        return bool(faults)
    began, failed = time.monotonic(), 0
    parts = [
        range(first, min(first + PART, given.first + given.seeds))
        for first in range(given.first, given.first + given.seeds, PART)
    ]
    # What is there before is no garbage: collecting that of each world costs a tenth of it otherwise.
    with ProcessPoolExecutor(given.processes, initializer=gc.freeze) as pool:
        for found in pool.map(functools.partial(faults_of, kinds=given.faults), parts):
            for seed, faults in found:
                failed += 1
                print(f"seed {seed}: {'; '.join(faults)}\n  {replay_hint(seed, given.faults)}", flush=True)
    print(f"{given.seeds} seeds in {time.monotonic() - began:.0f} s: {failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
