"""`gischat bridge`: runs the bridges and outgoing hooks of the settings."""

import argparse
import asyncio
import contextlib
import logging
from collections.abc import Sequence

from gischat.bridges.base import Bridge
from gischat.bridges.matrix.bridge import MatrixBridge
from gischat.bridges.matrix.ping import MatrixPing
from gischat.bridges.participant import REDIS_FAULTS, Participant
from gischat.bridges.store import BridgeStore
from gischat.bridges.telegram.bridge import TelegramBridge
from gischat.hooks.outgoing import OutgoingHooks
from gischat.observability import process, systemd
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)


Kind = type[Bridge] | type[OutgoingHooks]

KINDS: tuple[Kind, ...] = (MatrixBridge, TelegramBridge, MatrixPing, OutgoingHooks)


class LockLost(Exception):
    """Another process has taken the lock."""


async def serve(settings: Settings, timings: Timings, stop: asyncio.Event) -> None:
    """Run all bridges of the settings until `stop` is set."""
    systemd.ready()
    async with asyncio.TaskGroup() as group:
        for bridge in KINDS:
            if bridge.channels_of(settings):
                group.create_task(_serve_one(bridge, settings, timings, stop))
        await stop.wait()


async def _serve_one(bridge: Kind, settings: Settings, timings: Timings, stop: asyncio.Event) -> None:
    channels = bridge.channels_of(settings)
    async with Participant.connected(bridge.kind, channels, settings, timings) as participant:
        store = participant.store
        if not await _wait_for_lock(store, participant.front, timings, stop):
            return
        with contextlib.suppress(*REDIS_FAULTS):
            await participant.take_over()
        log.info("the %s bridge runs, for %d channels", bridge.kind, len(channels))
        keeping = asyncio.create_task(_keep_lock(store, participant.front, timings))
        running = asyncio.create_task(bridge(participant, settings, timings).run(stop))
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
