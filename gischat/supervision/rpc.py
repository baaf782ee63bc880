"""Remote procedures `gischat.*` inside supervisord (see supervisord.conf).

supervisord reads the number of a group's processes from its configuration; its own way to change it, `update`,
restarts the whole group. `resize` reads the configuration with another number and only adds or removes members.
"""

import os
from typing import Any

from supervisor.states import STOPPED_STATES
from supervisor.xmlrpc import Faults, RPCError

from gischat.commands import CommandError
from gischat.protocol.types import LANES
from gischat.settings import variables
from gischat.supervision.instance import FILE_NAMES, read_file

# Group -> the setting for the number of its processes.
SETTINGS = {"fronts": "FRONTS", **{str(lane): lane.setting for lane in LANES}, "bridges": "BRIDGES"}

# Settings of the whole run, which `reload` cannot change: addresses, numbers of processes, logs.
FIXED = frozenset(
    name + suffix
    for name in f"""HOST PORT METRICS_PORT STATE_DIR ENV_FILE LOG_FILE LOG_FORMAT PROMETHEUS_MULTIPROC_DIR INSTANCE_ID
    NB_UVICORN_WORKERS REDIS_URL REDIS_HOST REDIS_PORT {" ".join(SETTINGS.values())}""".split()
    for suffix in ("", "_FILE")
)

# EMBEDDED_REDIS is no setting; it tells `gischat check` that REDIS_URL is the embedded server.
SETTING_NAMES = frozenset(name + suffix for name in (*variables(), "EMBEDDED_REDIS") for suffix in ("", "_FILE"))


class RemoteCalls:
    """The remote procedures."""

    def __init__(self, supervisord: Any) -> None:
        self.supervisord = supervisord
        try:
            self._at_start = read_file()
        except CommandError:  # the file has been removed
            self._at_start = {}

    def resize(self, name: str, count: int) -> bool:
        """Set the members of the group `name` to its first `count`; new ones start automatically.

        Raises:
            RPCError: there is no such group, or a surplus member still runs.
        """
        if name not in SETTINGS or count < 0:
            raise RPCError(Faults.BAD_NAME, name)
        group = self.supervisord.process_groups[name]
        configuration = self._configuration(name, count)
        members = {member.name: member for member in configuration.process_configs}
        leaving = group.processes.keys() - members.keys()
        if any(group.processes[member].get_state() not in STOPPED_STATES for member in leaving):
            raise RPCError(Faults.STILL_RUNNING, name)
        for member in leaving:
            del group.processes[member]
        for member in members:
            if member not in group.processes:
                group.processes[member] = members[member].make_process(group)
        group.config = configuration  # so that `update` does not undo the change
        return True

    def address(self) -> list[str]:
        """Host and port of this run's fronts, whatever the caller's settings."""
        return [os.environ["HOST"], os.environ["PORT"]]

    def environment(self) -> dict[str, str]:
        """This run's settings, as environment variables."""
        return {name: value for name, value in os.environ.items() if name in SETTING_NAMES}

    def reload(self) -> list[str]:
        """Reload the .env file, for processes that start from now on.

        Returns:
            The settings that were changed there but stay as they are, since they concern the whole run.

        Raises:
            RPCError: the file cannot be read; all settings stay as they are.
        """
        try:
            values = read_file()
        except CommandError as error:
            raise RPCError(Faults.FAILED, str(error)) from error
        for name in os.environ.get(FILE_NAMES, "").split(","):
            if name not in FIXED:
                os.environ.pop(name, None)
        names = [name for name in values if name not in os.environ and name not in FIXED]
        os.environ |= {name: values[name] for name in names} | {FILE_NAMES: ",".join(names)}
        return sorted(name for name in FIXED if values.get(name) != self._at_start.get(name))

    def _configuration(self, name: str, count: int) -> Any:
        options = self.supervisord.options
        options.environ_expansions[f"ENV_{SETTINGS[name]}"] = str(count)
        options.process_config(do_usage=False)
        return next(group for group in options.process_group_configs if group.name == name)


def make_remote_calls(supervisord: Any) -> RemoteCalls:
    return RemoteCalls(supervisord)
