"""The upload queue: order, fairness by address and cancellation."""

import asyncio
from collections.abc import Awaitable

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
        self._released = asyncio.Semaphore(0)

    def submit(self, name: str, address: str, megabytes: int) -> "asyncio.Future[int]":
        return self.queue.submit(address, megabytes * MEGABYTE, lambda: self._upload(name))

    async def _upload(self, name: str) -> int:
        self.started.append(name)
        await self._released.acquire()
        return 1

    async def begin(self) -> None:
        """Let the submitted uploads start or queue."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def finish_all(self, bodies: list[Awaitable[int]]) -> list[int]:
        for _ in bodies:
            self._released.release()
        return await asyncio.gather(*bodies)


@pytest.fixture
def scene(io_loop: IOLoop) -> Scene:
    return Scene()


async def test_uploads_run_one_at_a_time_and_equal_ones_in_order_of_arrival(scene: Scene) -> None:
    bodies = [scene.submit(f"photo-{number}", f"192.0.2.{number}", 5) for number in range(4)]
    await scene.begin()
    assert scene.started == ["photo-0"]
    assert await scene.finish_all(bodies) == [1] * 4
    assert scene.started == [f"photo-{number}" for number in range(4)]


@pytest.mark.parametrize("addresses", [1, 20])
async def test_a_small_upload_waits_for_the_current_one_at_most(scene: Scene, addresses: int) -> None:
    flood = [scene.submit(f"flood-{number}", f"198.51.100.{number % addresses}", 12) for number in range(20)]
    await scene.begin()
    jane = scene.submit("jane", JANE, 1)
    await scene.begin()
    await scene.finish_all([*flood, jane])
    assert scene.started.index("jane") == 1


async def test_two_addresses_with_many_uploads_alternate(scene: Scene) -> None:
    flood = [scene.submit("mallory", MALLORY, 12) for _ in range(10)]
    await scene.begin()
    photos = [scene.submit("jane", JANE, 12) for _ in range(4)]
    await scene.begin()
    await scene.finish_all([*flood, *photos])
    last = len(scene.started) - scene.started[::-1].index("jane")
    assert last <= 2 * 4 + 2


async def test_a_cancelled_pending_upload_is_skipped(scene: Scene) -> None:
    first = scene.submit("first", JANE, 5)
    second = scene.submit("second", JOHN, 5)
    third = scene.submit("third", MALLORY, 5)
    await scene.begin()
    second.cancel()
    await scene.finish_all([first, third])
    assert scene.started == ["first", "third"]


async def test_an_upload_cancelled_at_the_moment_of_its_turn_is_skipped(scene: Scene) -> None:
    go_on = asyncio.Event()

    async def upload_and_cancel() -> int:
        await go_on.wait()
        asyncio.get_running_loop().call_soon(second.cancel)
        return 1

    first = scene.queue.submit(JANE, MEGABYTE, upload_and_cancel)
    second = scene.submit("second", JOHN, 5)
    third = scene.submit("third", MALLORY, 5)
    await scene.begin()
    go_on.set()
    await scene.finish_all([first, third])
    assert second.cancelled()
    assert scene.started == ["third"]
