"""Reports of measurements: two tables, a plot, and everything as JSON."""

import json
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

from bench.goals import CORES, Cost, Measured, Verdict, costs, verdicts
from bench.house import ROOT
from bench.plot import Plot, draw

RECORDS = ROOT / "docs"  # a release's measurements and their plots
DOCUMENTS = (RECORDS / "performance.md", RECORDS / "capacity-planning.md")
NAME = "bench"  # of the files

GOALS_HEAD = ("what", "measured", "compared with", "ratio", "goal", "met")
COSTS_HEAD = ("what", "cost")


class Record(NamedTuple):
    """All measurements of a run, and the machine."""

    machine: Mapping[str, str | int]
    rounds: int
    sizes: Mapping[str, int]  # numbers of clients, for the goals' texts
    measured: Sequence[Measured]

    @classmethod
    def load(cls, path: Path) -> Self:
        content = json.loads(path.read_text())
        return cls(**content | {"measured": [Measured(**one) for one in content["measured"]]})

    def save(self, directory: Path) -> None:
        """Write the record as JSON, and the plots."""
        directory.mkdir(parents=True, exist_ok=True)
        content = self._asdict() | {"measured": [one._asdict() for one in self.measured]}
        (directory / f"{NAME}.json").write_text(json.dumps(content, indent=1) + "\n")
        if plots := [plot for plot in (_delivery(self.measured), _photos(self.measured)) if plot is not None]:
            (directory / f"{NAME}.svg").write_text(draw(plots))


def machine() -> dict[str, str | int]:
    """A description of this machine."""
    names = (line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name"))
    return {
        "cores": CORES,
        "processor": next(names, platform.machine()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


# Tables, in Markdown that is readable as plain text


def goals_table(record: Record) -> str:
    cores = int(record.machine["cores"])
    return _table(
        GOALS_HEAD, [_goal_cells(verdict, cores) for verdict in verdicts(record.measured, record.sizes, cores)]
    )


def costs_table(record: Record) -> str:
    return _table(COSTS_HEAD, [_cost_cells(cost, value) for cost, value in costs(record.measured)])


def where(record: Record) -> str:
    named = ", ".join(f"{name}: {value}" for name, value in record.machine.items())
    return f"{named}, rounds: {record.rounds}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def _goal_cells(verdict: Verdict, cores: int) -> Sequence[str]:
    goal = verdict.goal
    against = "" if verdict.against is None else f"{goal.against}: {_number(verdict.against)} {goal.unit}"
    met = {True: "yes", False: "NO", None: f"no core is free ({cores})"}[verdict.is_met]
    return (
        goal.what,
        f"{_number(verdict.value)} {goal.unit}",
        against,
        "" if verdict.ratio is None else f"{verdict.ratio:.2f} ×",
        goal.words,
        met,
    )


def _cost_cells(cost: Cost, value: float) -> Sequence[str]:
    return cost.what, f"{_number(value)} {cost.unit}"


def _number(value: float) -> str:
    """Format a value with its significant digits."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


# Tables in documents, between markers


def publish(record: Record) -> None:
    """Save a record in the repository, and update the documents."""
    record.save(RECORDS)
    for document in DOCUMENTS:
        document.write_text(shown_in(document.read_text(), record))


def shown_in(text: str, record: Record) -> str:
    """Fill in a document's tables between markers like `<!-- bench: goals -->` and `<!-- end -->`."""
    parts = {"goals": goals_table, "costs": costs_table, "where": where}

    def part(mark: re.Match[str]) -> str:
        return f"{mark['begin']}\n{parts[mark['name']](record)}\n{mark['end']}"

    return re.sub(r"(?P<begin><!-- bench: (?P<name>\w+) -->)\n.*?(?P<end><!-- end -->)", part, text, flags=re.DOTALL)


# Plots


def _delivery(measured: Sequence[Measured]) -> Plot | None:
    """CPU per delivery, by number of clients."""
    ours = _medians(measured, "delivery ")
    floor = _medians([one._replace(value=one.against) for one in measured if one.against is not None], "delivery ")
    if len(ours) < 3:
        return None
    return Plot(
        "What a delivery costs as a room grows",
        "clients in the room",
        "µs of CPU, all processes and Redis",
        {"gischat": ours, "bare send() in C": floor},
        is_logarithmic=True,
    )


def _photos(measured: Sequence[Measured]) -> Plot | None:
    """Delay of texts, by photos per second."""
    delays = _medians(measured, "p99 with photos ")
    if len(delays) < 3:
        return None
    quiet = median(one.against for one in measured if one.name == "photos p99" and one.against is not None)
    return Plot(
        "How photos delay texts",
        "photos of 12 megapixels a second",
        "ms until a text is there (p99)",
        {"gischat": [(0.0, quiet), *delays]},
    )


def _medians(measured: Iterable[Measured], prefix: str) -> list[tuple[float, float]]:
    """The medians of the measurements whose name is that prefix and a number, by the number."""
    values: dict[float, list[float]] = {}
    for one in measured:
        number = one.name.removeprefix(prefix)
        if number != one.name and number.isdecimal():
            values.setdefault(float(number), []).append(one.value)
    return [(number, median(found)) for number, found in sorted(values.items())]
