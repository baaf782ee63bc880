"""The upload queue: order, fairness by address and cancellation."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gischat.broker.upload_queue import UploadQueue

MEGABYTE = 10**6
MALLORY, JANE, JOHN = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Scene:
    """An upload queue whose uploads end when the test releases them."""

    def __init__(self) -> None:
        self.queue = UploadQueue()
        self.started: list[str] = []
        self.at_an_end: Callable[[], object] = lambda: None  # called when an upload ends
        self._released = asyncio.Semaphore(0)

    async def submit(self, number: int, name: str, address: str, megabytes: int) -> "list[asyncio.Future[Any]]":
        """Submit uploads, and let them start or queue."""
        size = megabytes * MEGABYTE
        uploads = [self.queue.submit(address, size, lambda: self._upload(name)) for _ in range(number)]
        for _ in range(3):
            await asyncio.sleep(0)
        return uploads

    async def _upload(self, name: str) -> None:
        self.started.append(name)
        await self._released.acquire()
        asyncio.get_running_loop().call_soon(self.at_an_end)

    async def finish(self, *uploads: "asyncio.Future[Any]") -> list[str]:
        """End these uploads; returns who has started, in order."""
        for _ in uploads:
            self._released.release()
        await asyncio.gather(*uploads)
        return self.started


@pytest.fixture
def scene(io_loop: IOLoop) -> Scene:
    return Scene()


async def test_uploads_run_one_at_a_time_and_equal_ones_in_order_of_arrival(scene: Scene) -> None:
    photos = [one for number in range(4) for one in await scene.submit(1, f"{number}", f"192.0.2.{number}", 5)]
    assert scene.started == ["0"]
    assert await scene.finish(*photos) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("addresses", [1, 20])
async def test_a_small_upload_waits_for_the_current_one_at_most(scene: Scene, addresses: int) -> None:
    flood = [one for number in range(20) for one in await scene.submit(1, "mallory", f"{number % addresses}", 12)]
    jane = await scene.submit(1, "jane", JANE, 1)
    assert (await scene.finish(*flood, *jane)).index("jane") == 1


async def test_two_addresses_with_many_uploads_alternate(scene: Scene) -> None:
    flood = await scene.submit(10, "mallory", MALLORY, 12)
    photos = await scene.submit(4, "jane", JANE, 12)
    started = await scene.finish(*flood, *photos)
    assert started[: 2 * 4 + 2].count("jane") == 4


@pytest.mark.parametrize("is_at_its_turn", [False, True])
async def test_a_cancelled_pending_upload_is_skipped(scene: Scene, is_at_its_turn: bool) -> None:
    (first,) = await scene.submit(1, "first", JANE, 5)
    (second,) = await scene.submit(1, "second", JOHN, 5)
    (third,) = await scene.submit(1, "third", MALLORY, 5)
    if is_at_its_turn:
        scene.at_an_end = second.cancel
    else:
        second.cancel()
    assert await scene.finish(first, third) == ["first", "third"]
    assert second.cancelled()


async def test_a_front_that_stops_gives_up_what_waits_and_not_what_may_have_got_through(scene: Scene) -> None:
    first, *others = await scene.submit(4, "photo", JANE, 5)
    told: list[bool] = []  # whether it was given up
    for upload in (first, *others):
        upload.add_done_callback(lambda upload: told.append(upload.cancelled()))
    # When the front stops, those who wait are told by then; and the first goes on
    await scene.queue.cancel_pending()
    assert told == [True] * 3
    assert await scene.finish(first) == ["photo"]
    assert told == [True] * 3 + [False]
