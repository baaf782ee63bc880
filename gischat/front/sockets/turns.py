"""How the front's time is shared among connections that send much at once.

A connection's first frame in what has come is handled at once, as most clients send no more. The rest waits for its
turn: one connection, of all that have more, handles a share of it in a turn of the event loop, then the next one does.
So pieces of messages by the ten thousand, from hundreds of connections, delay nobody else's text by more than a share.

Large messages take turns apart, with pauses: ten photos that arrive together would otherwise be ten times the twenty
milliseconds that one of them costs a front, and every text would wait for their end.
"""

import asyncio

SHARE = 64  # of work in a turn of the loop; a control frame or a fragment is 1
MESSAGE_WORK = 8  # what a message is beside them
LARGE_BYTES_PER_SECOND = 100e6  # a megabyte is 5 ms of work: half of the time is left to all others


class Turns:
    """The turns of all connections of a front, first come, first served."""

    def __init__(self) -> None:
        self._small = asyncio.Lock()
        self._large = asyncio.Lock()

    async def wait(self) -> None:
        """Waits until a connection may handle the next share of its frames."""
        async with self._small:
            await asyncio.sleep(0)

    async def wait_large(self, size: int) -> None:
        """Waits until a message of so many bytes may be handled; no other is in the same turn of the loop."""
        async with self._large:
            await asyncio.sleep(size / LARGE_BYTES_PER_SECOND)
