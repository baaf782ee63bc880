"""What is shown of what was measured: a table, a JSON file, two plots."""

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench import plot
from bench.goals import CORES, Measured, Verdict

HEAD = ("what", "measured", "held against", "ratio", "goal", "met")


def table(verdicts: Iterable[Verdict]) -> str:
    """A table that is readable as it is, and Markdown."""
    lines = [HEAD, *map(_cells, verdicts)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in (HEAD, rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _cells(verdict: Verdict) -> Sequence[str]:
    goal = verdict.goal
    against = "" if verdict.against is None else f"{goal.against}: {_number(verdict.against)} {goal.unit}"
    met = {True: "yes", False: "NO", None: f"no core is free ({CORES})"}[verdict.is_met]
    return (
        goal.what,
        f"{_number(verdict.value)} {goal.unit}",
        against,
        "" if verdict.ratio is None else f"{verdict.ratio:.2f} ×",
        goal.words,
        met,
    )


def _number(value: float) -> str:
    """With as many digits as the measurements are worth."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def machine() -> dict[str, str | int]:
    """Where it was measured."""
    names = (line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name"))
    return {
        "cores": CORES,
        "processor": next(names, platform.machine()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def save(measured: Sequence[Measured], where: Mapping[str, str | int], directory: Path) -> None:
    """Everything that was measured, as JSON, and the plots of it."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {"machine": where, "measured": [one._asdict() for one in measured]}
    (directory / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    for name, drawing in (("delivery", _delivery(measured)), ("photos", _photos(measured))):
        if drawing is not None:
            (directory / f"bench-{name}.svg").write_text(drawing)


def _delivery(measured: Sequence[Measured]) -> str | None:
    """CPU of a delivery by clients."""
    ours = _medians(measured, "delivery ")
    floor = _medians([one._replace(value=one.against) for one in measured if one.against is not None], "delivery ")
    if len(ours) < 3:
        return None
    return plot.lines(
        "What a delivery costs as a room grows",
        "clients in the room",
        "µs of CPU, all processes and Redis",
        {"gischat": ours, "bare send() in C": floor},
    )


def _photos(measured: Sequence[Measured]) -> str | None:
    """Texts' delay by photos a second."""
    delays = _medians(measured, "p99 with photos ")
    if len(delays) < 3:
        return None
    quiet = median(one.against for one in measured if one.goal == "photos p99" and one.against is not None)
    return plot.lines(
        "How photos delay texts",
        "photos of 12 megapixels a second",
        "ms until a text is there (p99)",
        {"gischat": [(0.0, quiet), *delays]},
        is_logarithmic=False,
    )


def _medians(measured: Iterable[Measured], prefix: str) -> list[tuple[float, float]]:
    """The medians of those whose name is that prefix and a number, by the number."""
    values: dict[float, list[float]] = {}
    for one in measured:
        if one.goal.startswith(prefix):
            values.setdefault(float(one.goal.removeprefix(prefix)), []).append(one.value)
    return [(number, median(found)) for number, found in sorted(values.items())]
