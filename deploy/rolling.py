"""Starting everything anew, one process after another, while people talk: `supervisorctl roll [group ...]`.

For a new version of the code. Workers come first: one that is new understands a front that is old, which may not hold
the other way round. A process that does not come up ends the roll, so that a version that does not run costs one.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

from supervisor.states import STOPPED_STATES, ProcessStates
from supervisor.supervisorctl import ControllerPluginBase

from deploy.health import lacking
from deploy.scaling import POLL_SECONDS, Group

ORDER = ("heavy", "light", "fronts")
READY_SECONDS = 60
SETTLED_SECONDS = 3  # by then a process that cannot run has ended
FALLEN = (ProcessStates.BACKOFF, *STOPPED_STATES)

LISTENING = "0A"  # include/net/tcp_states.h, as /proc/net/tcp writes it


class NotReady(Exception):
    """A process that was started anew is of no use; `str()` tells which."""


class RollCommand(ControllerPluginBase):  # type: ignore[misc] # supervisor has no types
    """The command `roll`, inside supervisorctl."""

    def do_roll(self, arguments: str) -> None:
        if not self.ctl.upcheck():
            return
        try:
            for name in _parse(arguments):
                self._roll(Group(self.ctl, name))
        except (ValueError, Fault, NotReady) as error:
            self.ctl.output(f"ERROR: {error.faultString if isinstance(error, Fault) else error}")
            self.ctl.exitstatus = 1

    def help_roll(self) -> None:
        self.ctl.output("roll [<group> ...]\tStart all anew, one by one; there is always a front")

    def _roll(self, group: Group) -> None:
        members = group.members()
        running = [member["name"] for member in members if member["state"] not in STOPPED_STATES]
        needs_stand_in = group.name == "fronts" and len(running) == 1
        if needs_stand_in:
            group.resize(len(members) + 1)
            self._await_ready(group, group.members()[-1]["name"])
        for name in running:
            group.stop(name, wait=True)
            group.start(name)
            self._await_ready(group, name)
            self.ctl.output(f"{group.name}:{name} has been started anew")
        if needs_stand_in:
            group.resize(len(members))

    def _await_ready(self, group: Group, name: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready(group, member := group.member(name)):
            if member["state"] in FALLEN or time.monotonic() > deadline:
                raise NotReady(f"{group.name}:{name} does not get ready (see the log); the rest runs as before")
            time.sleep(POLL_SECONDS)

    def _is_ready(self, group: Group, member: dict[str, Any]) -> bool:
        if member["state"] != ProcessStates.RUNNING or member["now"] - member["start"] < SETTLED_SECONDS:
            return False
        if group.name != "fronts":
            return True
        host, port = self.ctl.get_server_proxy("gischat").address()
        return listens(member["pid"], int(port)) and lacking(host, int(port)) is None


def listens(pid: int, port: int) -> bool:
    """Whether this process accepts connections there. All fronts share the port: asking it is answered by any.

    Only Linux tells. Elsewhere a process counts as listening from its start.
    """
    process = Path("/proc", str(pid))
    if not Path("/proc/net/tcp").exists():
        return True
    return any(
        row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port and f"socket:[{row[9]}]" in _open(process)
        for row in _sockets(process)
    )


def _sockets(process: Path) -> list[list[str]]:
    """The TCP sockets of a process' network, as proc(5) tells them."""
    with suppress(OSError):  # it has gone
        tables = [(process / "net" / name).read_text() for name in ("tcp", "tcp6") if (process / "net" / name).exists()]
        return [line.split() for table in tables for line in table.splitlines()[1:]]
    return []


def _open(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.add(os.readlink(descriptor))
    return found


def make_roll_command(controller: Any) -> RollCommand:
    return RollCommand(controller)


def _parse(arguments: str) -> list[str]:
    named = arguments.split()
    if unknown := set(named) - set(ORDER):
        raise ValueError(f"roll [<group> ...]: {', '.join(sorted(unknown))} is none of {', '.join(ORDER)}")
    return [name for name in ORDER if not named or name in named]
