"""GeoPackages on demand: made by a child process, one at a time, and cached.

Why not by a worker: the data would pass through Redis once more, and photos would wait for downloads, or a further lane
would be needed for a request a day. Why not in the front's process: packing a large layer would block it for half a
second. A child is simple, and the system limits its time and memory: see `gischat.geopackage`.
"""

import asyncio
import sys
from collections import OrderedDict
from pathlib import Path

from gischat.errors import Unavailable
from gischat.observability import metrics
from gischat.timings import Timings

COMMAND = (sys.executable, "-P", str(Path(__file__).parents[2] / "geopackage.py"))
MAX_WAITING = 4  # requests, including the current one: some seconds of work
KEPT_BYTES = 4 * 2**20

BUSY = "Too many files are asked for at the moment. Please try again in some seconds."
FAILED = "This message could not be written as a GeoPackage."


class Failed(Exception):
    """The child failed to make the file."""


class GeoPackages:
    """Makes GeoPackages of messages, and caches the last ones."""

    def __init__(self, timings: Timings = Timings()) -> None:
        self._seconds = timings.geopackage
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()  # by entity tag, least recently used first

    async def get(self, tag: str, message: bytes) -> bytes:
        """The file for a message whose body has this entity tag.

        Raises:
            Unavailable: too many requests wait.
            Failed: it cannot be made.
        """
        if tag not in self._kept:
            if self._waiting >= MAX_WAITING:
                raise Unavailable(BUSY)
            self._waiting += 1
            try:
                async with self._turn:
                    if tag not in self._kept:  # the request before may have been for the same
                        self._keep(tag, await self._made(message))
            finally:
                self._waiting -= 1
        self._kept.move_to_end(tag)
        return self._kept[tag]

    async def _made(self, message: bytes) -> bytes:
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, stderr=nowhere)
        try:
            async with asyncio.timeout(self._seconds):
                made, _ = await child.communicate(message)
        except TimeoutError:
            raise Failed from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
            is_made = child.returncode == 0
            metrics.GEOPACKAGES.labels("made" if is_made else "failed").inc()
        if not is_made:
            raise Failed
        return made

    def _keep(self, tag: str, made: bytes) -> None:
        """Cache a file; the newest one stays whatever its size."""
        self._kept[tag] = made
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)
