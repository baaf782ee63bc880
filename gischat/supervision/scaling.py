"""Scaling of fronts and workers at run time: `gischat scale light 3`, a command of supervisorctl.

The number lasts until supervisord exits; the setting (such as LIGHT_WORKERS) makes it permanent.
"""

import time
from collections.abc import Callable
from typing import Any
from xmlrpc.client import Fault

from supervisor.states import STOPPED_STATES, ProcessStates
from supervisor.supervisorctl import ControllerPluginBase

from gischat.supervision.rpc import SETTINGS

POLL_SECONDS = 0.2


class Group:
    """A group of supervisord's processes, as commands inside supervisorctl use it."""

    def __init__(self, controller: Any, name: str) -> None:
        self.name = name
        self._controller = controller

    def members(self) -> list[dict[str, Any]]:
        """The members' process infos, in the order of their numbers."""
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
        """Stop the surplus members gracefully, or start missing ones; returns when `count` members run."""
        for member in self.members()[count:]:
            if member["state"] not in STOPPED_STATES:
                self.stop(member["name"])
        self._await(lambda members: all(each["state"] in STOPPED_STATES for each in members[count:]))
        self._controller.get_server_proxy("gischat").resize(self.name, count)
        for member in self.members():  # already there, but stopped by hand
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
        self.ctl.output(f"scale <group> <number>\tRun that many of {', '.join(SETTINGS)}; the others keep running")


def make_scale_command(controller: Any) -> ScaleCommand:
    return ScaleCommand(controller)


def _parse(arguments: str) -> tuple[str, int]:
    match arguments.split():
        case [name, number] if name in SETTINGS and number.isdecimal():
            return name, int(number)
    raise ValueError(f"scale <group> <number>, where group is one of {', '.join(SETTINGS)}")
