"""`python -m bench` measures the goals and prints them as a table; see --help."""

import argparse
import signal
import sys
from pathlib import Path

from bench import report, scenes
from bench.crowd import MAX_OPEN_FILES
from bench.goals import Measured
from bench.house import ROOT, Ground
from bench.report import Record
from bench.senders import floor_program
from gischat.open_files import raise_limit

RESULTS = ROOT / ".cache/bench"


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops all processes, as by Ctrl-C
    record = Record.load(given.show) if given.show else _measure(given)
    shown = (report.where(record), report.goals_table(record), report.costs_table(record))
    print(*filter(None, shown), sep="\n\n")
    if given.record:
        report.publish(record)
    elif not given.show:
        record.save(given.save)
        print(f"all that was measured: {given.save}")


def _measure(given: argparse.Namespace) -> Record:
    plan = scenes.QUICK if given.quick else scenes.FULL
    playing = scenes.OF_GOALS if given.quick else scenes.SCENES
    if given.only:
        playing = tuple(scene for scene in scenes.SCENES if scene.__name__ in given.only)
    files = raise_limit(MAX_OPEN_FILES)
    if files < plan.on_two_fronts:
        sys.exit(f"{plan.on_two_fronts} clients need as many open files; the limit is {files} (ulimit -Hn)")
    where = report.machine()
    measured: list[Measured] = []
    with floor_program() as floor, Ground() as ground:
        for number in range(given.rounds):
            for scene in playing:
                print(f"round {number + 1} of {given.rounds}: {scene.__name__}", file=sys.stderr, flush=True)
                measured += scene(ground, plan, floor)
    sizes = {"room": plan.rooms[-1], "joins": plan.joins[-1], "fronts": plan.on_two_fronts}
    return Record(where, given.rounds, sizes, measured)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what a full room costs.")
    parser.add_argument("--quick", action="store_true", help="only the goals, in smaller rooms; takes a minute")
    parser.add_argument("--rounds", type=int, default=1, help="number of repetitions; medians are shown")
    parser.add_argument("--only", nargs="+", choices=[scene.__name__ for scene in scenes.SCENES], metavar="SCENE")
    parser.add_argument("--save", type=Path, default=RESULTS, help="directory of bench.json and bench.svg")
    parser.add_argument("--show", type=Path, metavar="BENCH.JSON", help="show an earlier measurement")
    parser.add_argument("--record", action="store_true", help="update docs/ and the documents' tables")
    given = parser.parse_args()
    if given.record and (given.quick or given.only):
        parser.error("only a complete measurement can be recorded")
    return given


if __name__ == "__main__":
    main()
