"""`gischat`, or `python -m gischat`: starts one front; with a command, does what an operator asks.

gischat                 one front, until it is told to stop
gischat COMMAND ...     see `gischat --help`
"""

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from gischat.timings import Timings


class Command(NamedTuple):
    """A subcommand: the module whose `main` runs it, and its line in the help."""

    module: str
    help: str
    arguments: tuple[str, ...] = ()  # that precede those of the command line


COMMANDS = {
    "up": Command("gischat.commands.up", "run everything on this machine: Redis (embedded), workers, fronts"),
    "stop": Command("gischat.commands.stop", "stop what `gischat up` runs"),
    "status": Command("gischat.commands.status", "show health and processes of what `gischat up` runs"),
    "scale": Command("gischat.commands.ctl", "change the number of fronts, light or heavy workers", ("scale",)),
    "roll": Command("gischat.commands.ctl", "restart the processes one by one while people talk", ("roll",)),
    "check": Command("gischat.commands.check", "check settings, Redis and machine, and say what to fix"),
    "admin": Command("gischat.commands.admin", "moderate: connections, bans, deletions, announcements, freezes"),
    "dead-letters": Command(
        "worker.dead_letters", "show, retry or delete jobs that failed, and what was not posted (--hooks)"
    ),
    "front": Command("gischat.commands.front", "run one front (the default)"),
    "worker": Command("worker.__main__", "run one worker: --lane light|heavy|all"),
    "bridge": Command("gischat.bridges.__main__", "run the bridges to other chats, and outgoing hooks"),
    "ctl": Command("gischat.commands.ctl", "supervisorctl for what `gischat up` runs"),
    "exec": Command("gischat.commands.execute", "run a command in the environment of what `gischat up` runs"),
    "ready": Command("gischat.commands.ready", "succeed if this machine's front works (for health checks)"),
    "nginx": Command("gischat.commands.nginx", "print an nginx site for this instance"),
    "files": Command("gischat.commands.files", "write out systemd units, alert rules, dashboards and the like"),
}

# These take the settings of what `gischat up` runs here, its Redis included.
OF_THE_INSTANCE = ("check", "admin", "dead-letters", "exec")
WITHOUT_TLS = ("front", "worker")  # unless their settings need it


def main(arguments: Sequence[str] | None = None, timings: Timings = Timings()) -> int:
    """Runs a command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        return _run("front", [], timings)
    name, rest = _parsed(given)
    from gischat.commands import CommandError
    from gischat.settings import WRONG_SETTINGS, SettingsError

    try:
        if name in OF_THE_INSTANCE:
            from gischat.supervision.remote import adopt_environment

            adopt_environment()
        return _run(name, rest, timings)
    except SettingsError as error:
        print("\n  ".join(["gischat: wrong settings:", *str(error).splitlines()]), file=sys.stderr)
        return WRONG_SETTINGS
    except CommandError as error:
        print(f"gischat: {error}", file=sys.stderr)
        return error.status


def _run(name: str, arguments: Sequence[str], timings: Timings) -> int:
    """Run a command; only its module is loaded, so that fronts start faster, without collections of garbage."""
    command = COMMANDS[name]
    gc.disable()
    if name in WITHOUT_TLS:
        importlib.import_module("gischat.without_tls")
    module = importlib.import_module(command.module)
    gc.enable()
    status: int = module.main([*command.arguments, *arguments], timings)
    return status


def _parsed(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command, and its own arguments."""
    import argparse  # which a front does not need

    from gischat import __version__

    parser = argparse.ArgumentParser(
        prog="gischat",
        usage="gischat [--version | --help | COMMAND ...]",
        description="A chat server for people who work with maps. Without a command: starts one front.",
        epilog="\n".join(["commands (COMMAND --help says more):", *(f"  {n:13} {COMMANDS[n].help}" for n in COMMANDS)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gischat {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    return given.command, given.arguments


if __name__ == "__main__":
    sys.exit(main())
