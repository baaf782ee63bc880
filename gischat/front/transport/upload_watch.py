"""Progress deadlines for unfinished messages: slow links succeed, while held-back messages are aborted.

In each minute 60 kB of an unfinished message must arrive: 1 kB per second, less than any mobile network provides, and
enough to make up for half a minute without signal.
"""

import asyncio
from typing import Protocol

from gischat.lateness import sleeps_on_time
from gischat.timings import Timings

MIN_BYTES_PER_SECOND = 1000


class Upload(Protocol):
    """A connection with an unfinished message."""

    @property
    def progress(self) -> int:
        """Bytes of the message that have arrived."""

    def abort_slow_upload(self) -> None:
        """Close the connection."""


class UploadWatch:
    """The unfinished messages of all connections of a front."""

    def __init__(self, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._windows: dict[Upload, tuple[float, int]] = {}  # start (loop time), and progress at the start

    def begin(self, upload: Upload) -> None:
        """Start to watch a message that has arrived in part, unless it is watched."""
        if upload not in self._windows:
            self._windows[upload] = asyncio.get_running_loop().time(), 0

    def end(self, upload: Upload) -> None:
        """Stop to watch a message that is complete, or whose connection has ended."""
        self._windows.pop(upload, None)

    async def run(self) -> None:
        """Check progress until cancelled."""
        while True:
            if not await sleeps_on_time(self._timings.upload_look, self._timings.late):
                continue
            now = asyncio.get_running_loop().time()
            for upload, (since, before) in list(self._windows.items()):
                if now - since < self._timings.upload_window:
                    continue
                if upload.progress - before < MIN_BYTES_PER_SECOND * (now - since):
                    self.end(upload)
                    upload.abort_slow_upload()
                else:
                    self._windows[upload] = now, upload.progress
