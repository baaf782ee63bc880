"""Rolling restart of the processes: `gischat roll [group ...]`, a command of supervisorctl.

It deploys a new version of the code, or changed settings. Workers are restarted first: a new worker understands an old
front, but maybe not the reverse. The roll stops at the first process that does not become ready, so a version that
does not start costs one process.

supervisord's RUNNING means only that a process has lived for a second, and any front may answer on the shared port. So
each process notifies us when it is ready (gischat/observability/systemd.py), and `Readiness`, inside supervisord,
receives this.
"""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

from supervisor import events
from supervisor.states import STOPPED_STATES, ProcessStates
from supervisor.supervisorctl import ControllerPluginBase

from gischat.protocol.types import LANES
from gischat.supervision.health import lacking
from gischat.supervision.scaling import POLL_SECONDS, Group

ORDER = (*map(str, reversed(LANES)), "bridges", "fronts")
READY_SECONDS = 60
FALLEN = (ProcessStates.BACKOFF, *STOPPED_STATES)
MAX_NOTICE_BYTES = 4096


class NotReady(Exception):
    """A restarted process does not become ready; `str()` names it."""


class Readiness:
    """The remote procedures readiness.*, inside supervisord."""

    def __init__(self, address: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        os.set_inheritable(self._socket.fileno(), False)
        address.unlink(missing_ok=True)
        self._socket.bind(str(address))
        events.subscribe(events.SupervisorStoppingEvent, lambda _: address.unlink(missing_ok=True))

    def news(self) -> list[int]:
        """The PIDs of the processes that have become ready since the last call."""
        found = []
        with suppress(BlockingIOError):
            while True:
                notice = dict(line.split(b"=", 1) for line in self._socket.recv(MAX_NOTICE_BYTES).splitlines())
                found.append(int(notice[b"MAINPID"]))
        return found


class RollCommand(ControllerPluginBase):  # type: ignore[misc] # supervisor has no types
    """The command `roll`, inside supervisorctl."""

    def do_roll(self, arguments: str) -> None:
        if not self.ctl.upcheck():
            return
        try:
            names = _parse(arguments)
            for setting in self.ctl.get_server_proxy("gischat").reload():
                self.ctl.output(f"{setting} in .env takes effect only after `gischat stop` and `gischat up`")
            for name in names:
                self._roll(Group(self.ctl, name))
        except (ValueError, Fault, NotReady) as error:
            self.ctl.output(f"ERROR: {error.faultString if isinstance(error, Fault) else error}")
            self.ctl.exitstatus = 1

    def help_roll(self) -> None:
        self.ctl.output("roll [<group> ...]\tRestart all processes one by one; a front is always running")

    def _roll(self, group: Group) -> None:
        members = group.members()
        running = [member["name"] for member in members if member["state"] not in STOPPED_STATES]
        needs_stand_in = group.name == "fronts" and len(running) == 1
        if needs_stand_in:
            self._news()
            group.resize(len(members) + 1)
            self._await_ready(group, group.members()[-1]["name"])
        for name in running:
            group.stop(name, wait=True)
            self._news()
            group.start(name)
            self._await_ready(group, name)
            self.ctl.output(f"{group.name}:{name} has been restarted")
        if needs_stand_in:
            group.resize(len(members))

    def _await_ready(self, group: Group, name: str) -> None:
        """Wait until a process is ready.

        Raises:
            NotReady: the process has exited, or takes too long.
        """
        deadline = time.monotonic() + READY_SECONDS
        ready: set[int] = set()
        pids: set[int] = set()
        while (member := group.member(name))["pid"] not in ready or not self._is_well(group):
            pids.add(member["pid"])
            has_fallen = member["state"] in FALLEN or len(pids - {0}) > 1  # a second PID: supervisord has restarted it
            if has_fallen or time.monotonic() > deadline:
                raise NotReady(f"{group.name}:{name} does not become ready (see the log); the rest runs as before")
            time.sleep(POLL_SECONDS)
            ready |= self._news()

    def _is_well(self, group: Group) -> bool:
        if group.name != "fronts":
            return True
        host, port = self.ctl.get_server_proxy("gischat").address()
        return lacking(host, int(port)) is None

    def _news(self) -> set[int]:
        return set(self.ctl.get_server_proxy("readiness").news())


def make_readiness(_: Any) -> Readiness:
    return Readiness(Path(os.environ["NOTIFY_SOCKET"]))


def make_roll_command(controller: Any) -> RollCommand:
    return RollCommand(controller)


def _parse(arguments: str) -> list[str]:
    named = arguments.split()
    if unknown := set(named) - set(ORDER):
        raise ValueError(f"roll [<group> ...]: {', '.join(sorted(unknown))} is none of {', '.join(ORDER)}")
    return [name for name in ORDER if not named or name in named]
