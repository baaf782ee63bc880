"""`gischat`, or `python -m gischat`: starts one front; with a command, does what an operator asks.

gischat                 one front, until it is told to stop
gischat COMMAND ...     see `gischat --help`
"""

import importlib
import sys
from collections.abc import Sequence

from gischat.timings import Timings

# Each is a module of gischat.commands, with what its line in the help says.
COMMANDS = {
    "admin": "moderates a running instance: who is there, bans, deletions, announcements",
    "check": "will it run here, and if not, what to mend",
}


def main(arguments: Sequence[str] | None = None, timings: Timings = Timings()) -> int:
    """Carries out a command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    command, rest = _parsed(given) if given else ("front", [])
    # Only what is asked for is loaded: a front has no use for the rest, and starts the sooner.
    status: int = importlib.import_module(f"gischat.commands.{command}").main(rest, timings)
    return status


def _parsed(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command, and its own arguments."""
    import argparse  # which a front does not need

    from gischat import __version__

    parser = argparse.ArgumentParser(
        prog="gischat",
        usage="gischat [--version | --help | COMMAND ...]",
        description="A chat server for people who work with maps. Without a command: starts one front.",
        epilog="\n".join(["commands (COMMAND --help says more):", *(f"  {n:13} {COMMANDS[n]}" for n in COMMANDS)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gischat {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    return given.command, given.arguments


if __name__ == "__main__":
    sys.exit(main())
