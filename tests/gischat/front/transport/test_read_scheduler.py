"""The loop's time is shared by addresses, whatever the number of their connections. Time is virtual."""

import asyncio
from collections import Counter

from gischat.front.transport.read_scheduler import ReadScheduler
from tests.support.virtual_time import virtual_time


class Queue:
    """Connections that wait for their turns, and the order of the turns."""

    def __init__(self, turns: ReadScheduler) -> None:
        self.order: list[str] = []
        self._turns = turns
        self._tasks: list[asyncio.Task[None]] = []

    async def add(self, address: str, *, large: int = 0) -> None:
        """Add a connection; it waits when this returns."""
        self._tasks.append(asyncio.create_task(self._wait(address, large)))
        await asyncio.sleep(0)

    async def _wait(self, address: str, large: int) -> None:
        if large:
            await self._turns.acquire_large(address, large)
        else:
            await self._turns.acquire(address)
        self.order.append(address)

    async def all(self) -> list[str]:
        await asyncio.gather(*self._tasks)
        return self.order


@virtual_time
async def test_addresses_take_turns_whatever_the_number_of_their_connections() -> None:
    # Given two addresses with a thousand waiting connections, and two others
    queue = Queue(ReadScheduler())
    await asyncio.gather(*(queue.add(address) for address in [*["mallory", "eve"] * 500, "jane", "john"]))
    order = await queue.all()
    # Then the others wait for at most one turn of each address
    assert order[:4] == ["mallory", "eve", "jane", "john"]
    assert Counter(order) == {"mallory": 500, "eve": 500, "jane": 1, "john": 1}


@virtual_time
async def test_a_connection_that_no_longer_waits_is_skipped() -> None:
    turns = ReadScheduler()
    gone = asyncio.create_task(turns.acquire("mallory"))
    await asyncio.sleep(0)
    gone.cancel()
    await turns.acquire("jane")
    await turns.acquire("mallory")


@virtual_time
async def test_large_messages_have_turns_by_address_with_pauses_for_others() -> None:
    queue = Queue(ReadScheduler())
    now = asyncio.get_running_loop().time
    for _ in range(5):
        await queue.add("mallory", large=10**7)
    await queue.add("jane", large=10**6)
    assert await queue.all() == ["mallory", "mallory", "jane", "mallory", "mallory", "mallory"]
    assert now() > 0.5
