"""Bridge processes, and stacks with one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.client import Client
from tests.support.processes import Process, Stack, _environment, _python, _wait

# Bridges retry soon.
TIMINGS = {"bridge_retry": 0.2, "bridge_retry_longest": 1.0, "bridge_lock": 4.0}


def bridge_of(stack: Stack, name: str = "bridge", **settings: Any) -> Process:
    """A bridge process for the stack, not yet started."""
    environment = _environment({**stack.settings, **settings})
    return Process(name, [*_python("gischat", TIMINGS), "bridge"], environment, stack.directory)


def wait_there(bridge: Process, kind: str = "matrix") -> None:
    """Wait until the bridge forwards new messages."""
    there = f"the {kind} bridge is connected"
    _wait(lambda: bool(bridge.records(message=there)), [bridge], "the bridge is not connected")


@dataclass
class BridgedStack:
    """A stack with a bridge."""

    stack: Stack
    bridge: Process

    @asynccontextmanager
    async def joined(self, nickname: str = "jane", channel: str = "QGIS") -> AsyncIterator[Client]:
        """Connect and register a QGIS client within the context."""
        client = await Client.connect(self.stack.fronts[0].url, channel)
        try:
            await client.register(nickname)
            yield client
        finally:
            await client.leave()
