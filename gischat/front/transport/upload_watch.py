"""A message that has begun has a deadline by progress: slow links get through, who holds a message back does not.

In each window of a minute, as long as a message is not complete, 60 kB of it must come: 1 kB a second, which is less
than any mobile network gives, and a lost signal of half a minute is made up for.
"""

import asyncio
from typing import Protocol

from gischat.lateness import sleeps_on_time
from gischat.timings import Timings

MIN_BYTES_PER_SECOND = 1000


class Upload(Protocol):
    """A connection with a message that is not complete."""

    @property
    def progress(self) -> int:
        """Bytes that have come of the message."""

    def abort_slow_upload(self) -> None:
        """Closes the connection."""


class UploadWatch:
    """The messages of all connections of a front that have begun and not ended."""

    def __init__(self, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._windows: dict[Upload, tuple[float, int]] = {}  # since when, and the progress then

    def begin(self, upload: Upload) -> None:
        """Something has come of a message, and not all of it."""
        if upload not in self._windows:
            self._windows[upload] = asyncio.get_running_loop().time(), 0

    def end(self, upload: Upload) -> None:
        """The message is complete, or its connection is gone."""
        self._windows.pop(upload, None)

    async def run(self) -> None:
        """Watches until it is cancelled."""
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
