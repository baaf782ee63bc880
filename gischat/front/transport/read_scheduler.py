"""Scheduling of connections that send at the same time: fair queueing by address.

Reads and messages are handled at once as long as this turn of the event loop has time left. The others wait: in each
turn a few waiting connections handle one message each, each of another address. So whatever an address sends (ten
thousand frames, or single bytes on two thousand connections), another address' text waits for one message of each
waiting address, not of each connection or frame.

Large messages take separate turns, with pauses: a photo takes a front 20 ms, so ten that arrive together would delay
every text by 200 ms.
"""

import asyncio
from collections import OrderedDict, deque

TURN_WORK = 32  # work in a turn of the loop, for new and for waiting connections each; a control frame or fragment is 1
MESSAGE_WORK = 8  # the work of a message, or of a read that completes none
LARGE_BYTES_PER_SECOND = 100e6  # a megabyte takes 5 ms of work: half of the time remains for all others


class FairQueue:
    """Waiting connections: addresses take turns, and each address' connections are in order of arrival."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # the next address first

    def __contains__(self, address: str) -> bool:
        return address in self._by_address

    def join(self, address: str) -> "asyncio.Future[None]":
        """Queue a connection; the returned future is done when its turn has come."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._by_address.setdefault(address, deque()).append(turn)
        return turn

    def wake_next(self) -> bool:
        """Wake the next connection; False if none waits."""
        while self._by_address:
            address, waiting = next(iter(self._by_address.items()))
            turn = waiting.popleft()
            if waiting:
                self._by_address.move_to_end(address)
            else:
                del self._by_address[address]
            if not turn.done():  # not cancelled
                turn.set_result(None)
                return True
        return False


class ReadScheduler:
    """The turns of all connections of a front."""

    def __init__(self) -> None:
        self._left = TURN_WORK
        self._small = FairQueue()
        self._is_counting = False  # whether `_next` is scheduled for the next turn of the loop
        self._large = FairQueue()
        self._is_large_under_way = False

    def try_acquire(self, address: str) -> bool:
        """Take a message's work from this turn of the loop; False if none is left, or others of the address wait."""
        if self._left <= 0 or address in self._small:
            return False
        self._left -= MESSAGE_WORK
        self._count()
        return True

    async def acquire(self, address: str) -> None:
        """Wait for a turn in which a connection of this address may handle a message."""
        turn = self._small.join(address)
        self._count()
        await turn

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._left = TURN_WORK
        self._is_counting = False
        for _ in range(TURN_WORK // MESSAGE_WORK):
            if not self._small.wake_next():
                return
        self._count()

    async def acquire_large(self, address: str, size: int) -> None:
        """Wait until a message of `size` bytes may be handled, as the only large one in that turn of the loop."""
        if self._is_large_under_way:
            await self._large.join(address)
        self._is_large_under_way = True
        try:
            await asyncio.sleep(size / LARGE_BYTES_PER_SECOND)
        finally:
            self._is_large_under_way = self._large.wake_next()
