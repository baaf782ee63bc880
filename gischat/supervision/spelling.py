"""Detection of misspelled settings in .env and in the environment."""

import os
from collections.abc import Iterator
from difflib import get_close_matches

from gischat.settings import variables
from gischat.supervision.instance import FILE_NAMES

# Read by `gischat up` and by compose.yaml, not by the processes.
OF_THE_LAUNCHER = ("ENV_FILE", "LOG_FILE", "GISCHAT_IMAGE", "GISCHAT_SUBNET")

OF_A_LIBRARY = "OTEL_"  # OpenTelemetry's SDK reads many more than we do

ALIKE = 0.87  # as difflib measures it: CHANELS is like CHANNELS, HOSTNAME is not like HOST


def unknown_settings() -> Iterator[str]:
    """Yield a message about each unknown name, with the most similar setting.

    Every name in .env must be a setting. In the environment, which contains other programs' variables, only names that
    closely resemble a setting are reported.
    """
    known = {name + suffix for name in (*variables(), *OF_THE_LAUNCHER) for suffix in ("", "_FILE")}
    in_file = set(filter(None, os.environ.get(FILE_NAMES, "").split(",")))
    given = {name for name in {*in_file, *os.environ} - known if not name.startswith(OF_A_LIBRARY)}
    for name in sorted(in_file & given):
        near = get_close_matches(name, known, 1)
        yield f"{name} in .env is no setting" + (f": did you mean {near[0]}?" if near else "")
    for name in sorted(given - in_file):
        if near := get_close_matches(name, known, 1, ALIKE):
            yield f"{name} in the environment is no setting: did you mean {near[0]}?"
