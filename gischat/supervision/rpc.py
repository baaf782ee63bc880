"""Our remote procedures inside supervisord, which names them `gischat.*` (see supervisord.conf).

supervisord takes the number of a group's processes from its configuration, and its own way to change it, `update`,
restarts the whole group. `resize` reads the configuration with another number and adds or removes members.
"""

import os
from typing import Any

from supervisor.states import STOPPED_STATES
from supervisor.xmlrpc import Faults, RPCError

from gischat.commands import CommandError
from gischat.protocol.types import LANES
from gischat.settings import variables
from gischat.supervision.instance import FILE_NAMES, read_file

# A group's name, and the setting that says how many of it run.
SETTINGS = {"fronts": "FRONTS", **{str(lane): lane.setting for lane in LANES}, "bridges": "BRIDGES"}

# What cannot change while everything runs: where it is, what it runs, where its logs go.
FIXED = frozenset(
    name + suffix
    for name in f"""HOST PORT METRICS_PORT STATE_DIR ENV_FILE LOG_FILE LOG_FORMAT PROMETHEUS_MULTIPROC_DIR INSTANCE_ID
    NB_UVICORN_WORKERS REDIS_URL REDIS_HOST REDIS_PORT {" ".join(SETTINGS.values())}""".split()
    for suffix in ("", "_FILE")
)

# EMBEDDED_REDIS is none, but tells `gischat check` what REDIS_URL is.
SETTING_NAMES = frozenset(name + suffix for name in (*variables(), "EMBEDDED_REDIS") for suffix in ("", "_FILE"))


class RemoteCalls:
    """The remote procedures."""

    def __init__(self, supervisord: Any) -> None:
        self.supervisord = supervisord
        try:
            self._at_start = read_file()
        except CommandError:  # it is gone again
            self._at_start = {}

    def resize(self, name: str, count: int) -> bool:
        """Gives the group `name` its first `count` members; new ones start by themselves.

        Raises:
            RPCError: no such group; or a member that would go is still running.
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
        group.config = configuration  # or `update` would take the change for one to undo
        return True

    def address(self) -> list[str]:
        """Host and port of the fronts of this run, whatever the settings of who asks are."""
        return [os.environ["HOST"], os.environ["PORT"]]

    def environment(self) -> dict[str, str]:
        """The settings of this run, by their variables."""
        return {name: value for name, value in os.environ.items() if name in SETTING_NAMES}

    def reload(self) -> list[str]:
        """Reads the .env file again, for the processes that start from now on.

        Returns:
            The settings that have changed there and stay as they are, since they concern the whole run.

        Raises:
            RPCError: it cannot be read; all settings stay as they are.
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
