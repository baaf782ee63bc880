"""`gischat` alone: one front."""

import asyncio
from collections.abc import Sequence

from gischat import notify, process
from gischat.front.app import running
from gischat.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until it is told to stop, then drains."""
    async with running(settings):
        notify.ready()
        await stop.wait()


def main(_: Sequence[str]) -> int:
    return process.run("front", serve)
