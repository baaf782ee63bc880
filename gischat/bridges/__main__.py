"""`gischat bridge`: runs the bridges and outgoing hooks of the settings."""

import argparse
import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from gischat.bridges.matrix import bridge as matrix
from gischat.bridges.matrix import ping
from gischat.bridges.participant import REDIS_FAULTS, Participant
from gischat.bridges.store import BridgeStore
from gischat.bridges.telegram import bridge as telegram
from gischat.hooks.outgoing import OutgoingHooks
from gischat.observability import process, systemd
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)


class Runs(Protocol):
    """A bridge, or another participant that is run like one."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""


# By kind: a function that returns its channels, and one that makes it
Make = Callable[[Participant, Settings, Timings], Runs]
KINDS: dict[str, tuple[Callable[[Settings], Sequence[str]], Make]] = {
    matrix.MatrixBridge.kind: (lambda settings: [name for name, _ in settings.matrix_bridges], matrix.make_bridge),
    telegram.TelegramBridge.kind: (
        lambda settings: [name for name, _ in settings.telegram_bridges],
        telegram.make_bridge,
    ),
    ping.MatrixPing.kind: (
        lambda settings: settings.channels if settings.matrix_ping_roomid else (),
        ping.make_ping,
    ),
    OutgoingHooks.kind: (
        lambda settings: list(dict.fromkeys(channel for channel, _ in settings.outgoing_hooks)),
        OutgoingHooks,
    ),
}


class LockLost(Exception):
    """Another process has taken the lock."""


async def serve(settings: Settings, timings: Timings, stop: asyncio.Event) -> None:
    """Run all bridges of the settings until `stop` is set."""
    systemd.ready()
    async with asyncio.TaskGroup() as group:
        for kind, (channels_of, make) in KINDS.items():
            if channels := channels_of(settings):
                group.create_task(_serve_one(kind, channels, make, settings, timings, stop))
        await stop.wait()


async def _serve_one(
    kind: str, channels: Sequence[str], make: Make, settings: Settings, timings: Timings, stop: asyncio.Event
) -> None:
    async with Participant.connected(kind, channels, settings, timings) as participant:
        store = BridgeStore(settings.instance_id, kind, participant.redis)
        if not await _wait_for_lock(store, participant.front, timings, stop):
            return
        with contextlib.suppress(*REDIS_FAULTS):
            await participant.take_over()
        log.info("the %s bridge runs, for %d channels", kind, len(channels))
        keeping = asyncio.create_task(_keep_lock(store, participant.front, timings))
        running = asyncio.create_task(make(participant, settings, timings).run(stop))
        try:
            done, _ = await asyncio.wait({keeping, running}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            keeping.cancel()
            running.cancel()
            with contextlib.suppress(*REDIS_FAULTS):
                await store.release_lock(participant.front)


async def _wait_for_lock(store: BridgeStore, owner: str, timings: Timings, stop: asyncio.Event) -> bool:
    """Wait for the lock, for as long as it takes; False if `stop` was set before."""
    is_said = False
    while not stop.is_set():
        with contextlib.suppress(*REDIS_FAULTS):
            if await store.take_lock(owner, timings.bridge_lock):
                return True
            if not is_said:
                log.info("another process is the bridge: this one takes its place when it ends")
                is_said = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timings.bridge_lock / 10)
    return False


async def _keep_lock(store: BridgeStore, owner: str, timings: Timings) -> None:
    """Renew the lock regularly.

    Raises:
        LockLost: another process has it.
    """
    while True:
        await asyncio.sleep(timings.bridge_lock / 4)
        with contextlib.suppress(*REDIS_FAULTS):
            if not await store.take_lock(owner, timings.bridge_lock):
                raise LockLost("another process is the bridge now")


def main(arguments: Sequence[str] = (), timings: Timings = Timings()) -> int:
    description = "Passes messages between channels and other chats, as the settings say (docs/bridges.md)."
    argparse.ArgumentParser(prog="gischat bridge", description=description).parse_args(arguments)
    return process.run("bridge", serve, timings)


if __name__ == "__main__":
    raise SystemExit(main())
