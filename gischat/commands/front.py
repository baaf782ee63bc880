"""`gischat` without a subcommand: runs one front."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Sequence

from gischat.front.app import lifespan
from gischat.observability import process, systemd
from gischat.settings import Settings
from gischat.timings import Timings


async def serve(settings: Settings, timings: Timings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain; while still waiting for Redis, stop at once."""
    async with _cancelled_by(stop) as starting, lifespan(settings, timings):
        starting.cancel()
        systemd.ready()
        gc.freeze()  # all objects so far are permanent: a collection of them takes 20 ms and more
        await stop.wait()


@contextlib.asynccontextmanager
async def _cancelled_by(stop: asyncio.Event) -> AsyncIterator[asyncio.Task[None]]:
    """Cancel the body when `stop` is set, unless the yielded task has been cancelled before."""
    task = asyncio.current_task()
    assert task is not None

    async def wait() -> None:
        await stop.wait()
        task.cancel()

    waiting = asyncio.create_task(wait())
    try:
        yield waiting
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        waiting.cancel()


def main(_: Sequence[str], timings: Timings) -> int:
    return process.run("front", serve, timings)
