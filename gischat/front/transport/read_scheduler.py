"""How the front's time is shared among connections that send at once: fair queuing by address.

What is read, and each message, is handled at once as long as this turn of the event loop has time left. The rest waits,
by address: in each turn a few connections, each of the next address, handle a message. So whatever comes from one
address, frames by the ten thousand or a byte each over two thousand connections, delays another's text by a message for
each address that has something waiting, and not for each connection or frame.

Large messages take turns apart, with pauses: ten photos that arrive together would otherwise be ten times the twenty
milliseconds that one of them costs a front, and every text would wait for their end.
"""

import asyncio
from collections import OrderedDict, deque

TURN_WORK = 32  # at once in a turn of the loop, and as much for who has waited; a control frame or a fragment is 1
MESSAGE_WORK = 8  # what a message is beside them; or what was read, if it completes none
LARGE_BYTES_PER_SECOND = 100e6  # a megabyte is 5 ms of work: half of the time is left to all others


class FairQueue:
    """Who waits, by address: one of each address after the other, and those of an address as they came."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()  # in the order of their turns

    def __contains__(self, address: str) -> bool:
        return address in self._by_address

    def join(self, address: str) -> "asyncio.Future[None]":
        """Done when it is the turn of whoever joins."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._by_address.setdefault(address, deque()).append(turn)
        return turn

    def wake_next(self) -> bool:
        """Wakes the next, whose turn it is; False if nobody waits."""
        while self._by_address:
            address, waiting = next(iter(self._by_address.items()))
            turn = waiting.popleft()
            if waiting:
                self._by_address.move_to_end(address)
            else:
                del self._by_address[address]
            if not turn.done():  # nor was it cancelled
                turn.set_result(None)
                return True
        return False


class ReadScheduler:
    """The turns of all connections of a front."""

    def __init__(self) -> None:
        self._left = TURN_WORK
        self._small = FairQueue()
        self._is_counting = False  # `_next` will be called in the next turn of the loop
        self._large = FairQueue()
        self._is_large_under_way = False

    def try_acquire(self, address: str) -> bool:
        """Takes a message's worth of this turn of the loop, unless nothing is left or others of the address wait."""
        if self._left <= 0 or address in self._small:
            return False
        self._left -= MESSAGE_WORK
        self._count()
        return True

    async def acquire(self, address: str) -> None:
        """Waits for a turn in which a connection from this address may handle a message's worth."""
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
        """Waits until a message of so many bytes may be handled; no other is in the same turn of the loop."""
        if self._is_large_under_way:
            await self._large.join(address)
        self._is_large_under_way = True
        try:
            await asyncio.sleep(size / LARGE_BYTES_PER_SECOND)
        finally:
            self._is_large_under_way = self._large.wake_next()
