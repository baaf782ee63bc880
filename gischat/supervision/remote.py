"""The supervisord of `gischat up`, as other commands in the same directory reach it."""

import os
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from gischat.commands import CommandError
from gischat.supervision.instance import FILE_NAMES, REDIS, read_file, run_dir


def supervisord(control_socket: Path) -> Any:
    """Its remote procedures.

    Raises:
        CommandError: it does not run, or is about to stop.
    """
    proxy: Any = ServerProxy("http://localhost", SupervisorTransport("gischat", "gischat", f"unix://{control_socket}"))
    try:
        state = proxy.supervisor.getState()["statename"]
    except OSError:
        raise CommandError("it does not run here") from None
    if state != "RUNNING":
        raise CommandError("it is stopping")
    return proxy


def adopt_environment() -> None:
    """Completes the environment from what `gischat up` runs here, then from .env; the environment wins.

    So a command in a second terminal finds the embedded Redis, and settings that were given to `gischat up` alone.

    Raises:
        CommandError: `ENV_FILE` names no file.
    """
    in_file = read_file()
    state_dir = os.environ.get("STATE_DIR") or in_file.get("STATE_DIR") or ".state"
    try:
        running = supervisord(run_dir(Path(os.path.abspath(state_dir))) / "supervisor.sock").gischat.environment()
    except CommandError:
        running = {}
    os.environ.setdefault(FILE_NAMES, ",".join(name for name in in_file if name not in os.environ))
    given = {name.removesuffix("_FILE") for name in os.environ}
    if given.intersection(REDIS):
        given.update(REDIS)
    for name, value in {**in_file, **running}.items():
        if name.removesuffix("_FILE") not in given:
            os.environ[name] = value
