"""`gischat status`: health and processes of the chat that `gischat up` runs."""

import argparse
from collections.abc import Sequence

from gischat.commands.ctl import control
from gischat.supervision.health import print_health
from gischat.supervision.instance import read_instance
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> int:
    parser = argparse.ArgumentParser(
        prog="gischat status",
        description="Shows the health and the processes of the chat that `gischat up` runs here. "
        "Exit status: 0 healthy, 1 unhealthy or not running.",
    )
    parser.parse_args(arguments)
    instance = read_instance()
    is_healthy = print_health(instance.control_socket)
    return control(instance, ["status"]) or int(not is_healthy)
