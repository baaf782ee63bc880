"""`gischat stop`: stops the chat that `gischat up` runs, and waits until it has stopped."""

import argparse
from collections.abc import Sequence

from gischat.supervision.instance import read_instance
from gischat.supervision.launch import wait_for_processes
from gischat.supervision.remote import supervisord
from gischat.timings import Timings

STOP_SECONDS = 150  # the groups stop one after another, Redis last


def main(arguments: Sequence[str], _: Timings) -> int:
    parser = argparse.ArgumentParser(
        prog="gischat stop",
        description="Stops the chat that `gischat up` runs here, in order, and waits until all processes have exited.",
    )
    parser.parse_args(arguments)
    instance = read_instance()
    supervisord(instance.control_socket).supervisor.shutdown()
    wait_for_processes(instance, STOP_SECONDS)
    print("gischat: stopped")
    return 0
