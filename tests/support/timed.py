"""Launcher of a process with other timings: `python -m tests.support.timed TIMINGS gischat|worker ARGUMENTS…`.

TIMINGS is a JSON object of changes to the defaults. Otherwise it is like `python -m gischat` and `python -m worker`.
"""

import importlib
import json
import sys

from gischat.timings import Timings

if __name__ == "__main__":
    _, timings, module, *arguments = sys.argv
    sys.exit(importlib.import_module(f"{module}.__main__").main(arguments, Timings(**json.loads(timings))))
