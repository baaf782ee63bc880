"""Whose body is brought next."""

import asyncio
from collections.abc import Awaitable

import pytest
from tornado.ioloop import IOLoop

from gischat.broker.upload_queue import UploadQueue

MEGABYTE = 10**6
MALLORY, JANE, JOHN = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Scene:
    """A line whose bodies are brought when the test says so."""

    def __init__(self) -> None:
        self.line = UploadQueue()
        self.brought: list[str] = []
        self._goes_on = asyncio.Semaphore(0)

    def enter(self, name: str, address: str, megabytes: int) -> "asyncio.Future[int]":
        return self.line.submit(address, megabytes * MEGABYTE, lambda: self._bring(name))

    async def _bring(self, name: str) -> int:
        self.brought.append(name)
        await self._goes_on.acquire()
        return 1

    async def begin(self) -> None:
        """Lets those who have come take their places."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def bring_all(self, bodies: list[Awaitable[int]]) -> list[int]:
        for _ in bodies:
            self._goes_on.release()
        return await asyncio.gather(*bodies)


@pytest.fixture
def scene(io_loop: IOLoop) -> Scene:
    return Scene()


async def test_one_body_is_brought_at_a_time_and_equals_in_the_order_of_their_arrival(scene: Scene) -> None:
    bodies = [scene.enter(f"photo-{number}", f"192.0.2.{number}", 5) for number in range(4)]
    await scene.begin()
    assert scene.brought == ["photo-0"]
    assert await scene.bring_all(bodies) == [1] * 4
    assert scene.brought == [f"photo-{number}" for number in range(4)]


@pytest.mark.parametrize("addresses", [1, 20])
async def test_who_brings_little_waits_for_no_more_than_what_is_being_brought(scene: Scene, addresses: int) -> None:
    flood = [scene.enter(f"flood-{number}", f"198.51.100.{number % addresses}", 12) for number in range(20)]
    await scene.begin()
    jane = scene.enter("jane", JANE, 1)
    await scene.begin()
    await scene.bring_all([*flood, jane])
    assert scene.brought.index("jane") == 1


async def test_two_who_bring_much_take_turns(scene: Scene) -> None:
    flood = [scene.enter("mallory", MALLORY, 12) for _ in range(10)]
    await scene.begin()
    photos = [scene.enter("jane", JANE, 12) for _ in range(4)]
    await scene.begin()
    await scene.bring_all([*flood, *photos])
    last = len(scene.brought) - scene.brought[::-1].index("jane")
    assert last <= 2 * 4 + 2


async def test_who_waits_and_leaves_keeps_nobody_from_his_turn(scene: Scene) -> None:
    first = scene.enter("first", JANE, 5)
    second = scene.enter("second", JOHN, 5)
    third = scene.enter("third", MALLORY, 5)
    await scene.begin()
    second.cancel()
    await scene.bring_all([first, third])
    assert scene.brought == ["first", "third"]


async def test_who_is_called_and_leaves_in_the_same_moment_keeps_nobody_from_his_turn(scene: Scene) -> None:
    go_on = asyncio.Event()

    async def bring_and_cancel() -> int:
        await go_on.wait()
        asyncio.get_running_loop().call_soon(second.cancel)
        return 1

    first = scene.line.submit(JANE, MEGABYTE, bring_and_cancel)
    second = scene.enter("second", JOHN, 5)
    third = scene.enter("third", MALLORY, 5)
    await scene.begin()
    go_on.set()
    await scene.bring_all([first, third])
    assert second.cancelled()
    assert scene.brought == ["third"]
