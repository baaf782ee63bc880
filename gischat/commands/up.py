"""`gischat up`: runs all processes on this machine under supervisord, in the foreground."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from gischat.supervision.instance import read_instance
from gischat.supervision.launch import launch
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> NoReturn:
    parser = argparse.ArgumentParser(
        prog="gischat up",
        description="Runs everything on this machine under supervisord, in the foreground: the embedded Valkey "
        "(unless a REDIS_ setting names a server), workers and fronts. Settings come from the environment and from "
        ".env in the working directory, where data goes into .state/. Ctrl-C or `gischat stop` ends it.",
    )
    parser.parse_args(arguments)
    launch(read_instance())
