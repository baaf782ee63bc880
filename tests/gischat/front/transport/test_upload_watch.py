"""Slow uploads succeed; uploads without progress are cut off. Time is virtual."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from gischat.front.transport.upload_watch import MIN_BYTES_PER_SECOND, UploadWatch
from gischat.timings import Timings
from tests.support.virtual_time import freeze, pass_time, settle, virtual_time

WINDOW_SECONDS, LOOK_SECONDS = Timings().upload_window, Timings().upload_look


class Sender:
    """The sender of an unfinished message, whose received size is a function of time."""

    def __init__(self, progress: Callable[[float], float]) -> None:
        self._progress = progress
        self.cut_at: float | None = None

    @property
    def progress(self) -> int:
        return int(self._progress(asyncio.get_running_loop().time()))

    def abort_slow_upload(self) -> None:
        self.cut_at = asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def watched(*senders: Sender) -> AsyncIterator[UploadWatch]:
    uploads = UploadWatch()
    running = asyncio.create_task(uploads.run())
    for sender in senders:
        uploads.begin(sender)
    try:
        yield uploads
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


SLOW = (
    lambda now: now * 2 * MIN_BYTES_PER_SECOND,
    # Interrupted for half a minute in each window, as in tunnels
    lambda now: now // WINDOW_SECONDS * 500_000 + min(now % WINDOW_SECONDS, 30) * 15_000,
)


@virtual_time
async def test_an_upload_with_progress_succeeds_however_long_it_takes() -> None:
    senders = [Sender(progress) for progress in SLOW]
    async with watched(*senders):
        await pass_time(100 * WINDOW_SECONDS)
    assert [sender.cut_at for sender in senders] == [None, None]


@virtual_time
async def test_an_upload_without_progress_is_cut_off_at_the_end_of_a_window() -> None:
    silent, dripping = Sender(lambda now: 500), Sender(lambda now: now * MIN_BYTES_PER_SECOND / 2)
    stops = Sender(lambda now: min(now, 90) * 10_000)
    async with watched(silent, dripping, stops):
        await pass_time(WINDOW_SECONDS - 1)
        assert (silent.cut_at, dripping.cut_at) == (None, None)
        await pass_time(LOOK_SECONDS + 1)
        assert silent.cut_at is not None
        assert dripping.cut_at is not None
        assert stops.cut_at is None
        await pass_time(2 * WINDOW_SECONDS + 2 * LOOK_SECONDS)
        assert stops.cut_at is not None


@virtual_time
async def test_data_received_while_the_front_was_frozen_is_read_first() -> None:
    came = 0
    sender = Sender(lambda now: came)
    async with watched(sender):
        await pass_time(1)
        freeze(2 * WINDOW_SECONDS)
        await settle()
        came = 1_000_000
        await pass_time(2 * LOOK_SECONDS)
        assert sender.cut_at is None
