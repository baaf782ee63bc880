"""`python -m gischat` starts one front."""

import asyncio
import sys

from gischat import process
from gischat.front.app import running
from gischat.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until it is told to stop, then drains."""
    async with running(settings):
        await stop.wait()


if __name__ == "__main__":
    sys.exit(process.run("front", serve))
