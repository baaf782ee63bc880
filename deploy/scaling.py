"""Changing how many fronts or workers run, while they run: `supervisorctl scale light 3`.

supervisord takes the number of a group's processes from its configuration, and its own way to change it,
`update`, restarts the whole group. So two plugins of ours (both named in supervisord.conf):

- `RemoteCalls`, inside supervisord, reads the configuration with the new number, adds or takes out members;
- `ScaleCommand`, inside supervisorctl, first stops the members that are to go, each in its own time.

`Group` is what commands inside supervisorctl share.

The number holds until supervisord ends; the setting of that name makes it stay.
"""

import os
import time
from collections.abc import Callable
from typing import Any
from xmlrpc.client import Fault

from supervisor.states import STOPPED_STATES, ProcessStates
from supervisor.supervisorctl import ControllerPluginBase
from supervisor.xmlrpc import Faults, RPCError

# A group's name and the setting that says how many of it run.
SETTINGS = {"fronts": "FRONTS", "light": "LIGHT_WORKERS", "heavy": "HEAVY_WORKERS"}

POLL_SECONDS = 0.2


class RemoteCalls:
    """The remote procedures gischat.*, inside supervisord."""

    def __init__(self, supervisord: Any) -> None:
        self.supervisord = supervisord

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

    def _configuration(self, name: str, count: int) -> Any:
        options = self.supervisord.options
        options.environ_expansions[f"ENV_{SETTINGS[name]}"] = str(count)
        options.process_config(do_usage=False)
        return next(group for group in options.process_group_configs if group.name == name)


class Group:
    """One of the groups, as supervisord tells and does it."""

    def __init__(self, controller: Any, name: str) -> None:
        self.name = name
        self._controller = controller

    def members(self) -> list[dict[str, Any]]:
        """In the order of their numbers."""
        members = [info for info in self._supervisor.getAllProcessInfo() if info["group"] == self.name]
        return sorted(members, key=lambda member: int(member["name"].rpartition("-")[2]))

    def member(self, name: str) -> dict[str, Any]:
        info: dict[str, Any] = self._supervisor.getProcessInfo(f"{self.name}:{name}")
        return info

    def start(self, name: str, *, wait: bool = False) -> None:
        self._supervisor.startProcess(f"{self.name}:{name}", wait)

    def stop(self, name: str, *, wait: bool = False) -> None:
        self._supervisor.stopProcess(f"{self.name}:{name}", wait)

    def resize(self, count: int) -> None:
        """Leaves it with that many running members: the surplus ends in its own time, what is new is waited for."""
        for member in self.members()[count:]:
            if member["state"] not in STOPPED_STATES:
                self.stop(member["name"])
        self._await(lambda members: all(each["state"] in STOPPED_STATES for each in members[count:]))
        self._controller.get_server_proxy("gischat").resize(self.name, count)
        for member in self.members():  # one that was there, but stopped by hand
            if member["state"] in STOPPED_STATES and member["start"]:
                self.start(member["name"])
        self._await(lambda members: all(each["state"] == ProcessStates.RUNNING for each in members))

    def _await(self, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
        while not holds(self.members()):
            time.sleep(POLL_SECONDS)

    @property
    def _supervisor(self) -> Any:
        return self._controller.get_supervisor()


class ScaleCommand(ControllerPluginBase):  # type: ignore[misc] # supervisor has no types
    """The command `scale`, inside supervisorctl."""

    def do_scale(self, arguments: str) -> None:
        if not self.ctl.upcheck():
            return
        try:
            name, count = _parse(arguments)
            Group(self.ctl, name).resize(count)
        except (ValueError, Fault) as error:
            self.ctl.output(f"ERROR: {error.faultString if isinstance(error, Fault) else error}")
            self.ctl.exitstatus = 1
        else:
            self.ctl.output(f"{name}: {count} running ({SETTINGS[name]}={count} in .env keeps it so)")

    def help_scale(self) -> None:
        self.ctl.output("scale <group> <number>\tRun that many of fronts, light or heavy; the rest is left alone")


def make_remote_calls(supervisord: Any) -> RemoteCalls:
    return RemoteCalls(supervisord)


def make_scale_command(controller: Any) -> ScaleCommand:
    return ScaleCommand(controller)


def _parse(arguments: str) -> tuple[str, int]:
    match arguments.split():
        case [name, number] if name in SETTINGS and number.isdecimal():
            return name, int(number)
    raise ValueError(f"scale <group> <number>, where group is one of {', '.join(SETTINGS)}")
