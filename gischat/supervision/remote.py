"""Client of the supervisord that `gischat up` runs, for other commands in the same directory."""

import os
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from gischat.commands import CommandError
from gischat.supervision.instance import FILE_NAMES, REDIS, SHARED, is_own, read_file, run_dir
from gischat.supervision.rpc import SETTING_NAMES


def supervisord(control_socket: Path) -> Any:
    """A proxy for supervisord's remote procedures.

    Raises:
        CommandError: supervisord does not run, or is stopping; or its directory belongs to another user.
    """
    directory = control_socket.parent
    if directory.parent == SHARED and directory.exists() and not is_own(directory):
        raise CommandError(f"{directory} belongs to another user: set another STATE_DIR")
    proxy: Any = ServerProxy("http://localhost", SupervisorTransport("gischat", "gischat", f"unix://{control_socket}"))
    try:
        state = proxy.supervisor.getState()["statename"]
    except OSError:
        raise CommandError("not running here") from None
    if state != "RUNNING":
        raise CommandError("it is stopping")
    return proxy


def adopt_environment() -> None:
    """Add the settings of the instance that `gischat up` runs here, or else of .env, to the environment.

    Variables that are already set take precedence. So a command in a second terminal finds the embedded Redis, and
    settings that only `gischat up` was given.

    Raises:
        CommandError: `ENV_FILE` names no file, or the file cannot be read.
    """
    in_file = read_file()
    state_dir = os.environ.get("STATE_DIR") or in_file.get("STATE_DIR") or ".state"
    try:
        told = supervisord(run_dir(Path(os.path.abspath(state_dir))) / "supervisor.sock").gischat.environment()
    except CommandError:
        told = {}
    running = {name: value for name, value in told.items() if name in SETTING_NAMES}
    os.environ.setdefault(FILE_NAMES, ",".join(name for name in in_file if name not in os.environ))
    given = {name.removesuffix("_FILE") for name in os.environ}
    if given.intersection(REDIS):
        given.update(REDIS)
    for name, value in {**in_file, **running}.items():
        if name.removesuffix("_FILE") not in given:
            os.environ[name] = value
