"""Admission: whether a front takes a message, decided once, by the bytes of all that came and are not in Redis yet.

These bytes are counted in one place, by network address, against MAX_FRONT_BYTES: those of messages that are being
read; and those of messages that were admitted, until Redis has taken their jobs or they were refused. From then on they
count in the inbox of their channel and lane, which all fronts share.

The rule is the same here and there (`broker/lua/enqueue.lua`): a message is refused that is larger than what is free;
and, to leave room for others, one whose address would have more admitted than is free then. What comes when nothing
else is there is admitted whatever its size. And so are the words and reasons.

A message that is being read can still be refused, so it takes no room from one that is complete: when all together
exceed the budget, the largest unfinished one goes, of the address that has most.
"""

import asyncio
from collections import Counter
from typing import Protocol

from gischat.errors import RefusalReason, Unavailable
from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason
from gischat.settings import Settings

LARGE_BYTES = 2**16  # a message up to that size that goes to Redis at once is not counted

CONNECTION_FULL = (
    "Too many of your messages are waiting to be published. Please send it again later.",
    RefusalReason.QUEUE_FULL,
)
ADDRESS_FULL = (
    "Too many photos, layers and other messages from your network address are waiting to be published. "
    "This one was not sent: please send it again later.",
    RefusalReason.ADDRESS_QUEUE_FULL,
)
SERVER_FULL = (
    "The server has too much to do at the moment. Please send it again later.",
    RefusalReason.SERVER_FULL,
)


class Reader(Protocol):
    """A connection that a message is read from."""

    def evict(self) -> bool:
        """Refuse what is held, which is released before this returns; returns whether that closes the connection."""


class Admission:
    """The bytes of all clients' messages in a front; `used` is their sum."""

    def __init__(self, settings: Settings, rejections: RejectionLog) -> None:
        self.used = 0
        self._max_bytes = settings.max_front_bytes
        self._max_waiting_messages = settings.max_waiting_messages
        self._max_waiting_bytes = settings.max_waiting_bytes
        self._rejections = rejections
        self._admitted = 0
        self._admitted_of: Counter[str] = Counter()  # by address
        self._reading: dict[str, dict[Reader, int]] = {}  # by address
        self._reading_of: Counter[str] = Counter()
        self._is_evicting = False

    def admit(self, address: str, size: int, waiting: int, waiting_bytes: int) -> None:
        """Take a message of `size` bytes, to be released later.

        Args:
            address: the key under which the limits count it; empty for what comes from no client.
            waiting, waiting_bytes: what its connection has waiting, to which MAX_WAITING_… apply.

        Raises:
            Unavailable: there is no room for it.
        """
        if waiting >= self._max_waiting_messages or (waiting and waiting_bytes + size > self._max_waiting_bytes):
            raise Unavailable(*CONNECTION_FULL)
        free = self._max_bytes - self._admitted
        if self._admitted and size > free:
            raise Unavailable(*SERVER_FULL)
        of_address = self._admitted_of[address]
        if address and of_address and of_address + size > free - size:
            raise Unavailable(*ADDRESS_FULL)
        self.hold(address, size)

    def hold(self, address: str, size: int) -> None:
        """Count a message that is taken in any case."""
        self._admitted += size
        self._admitted_of[address] += size
        self._use(size)

    def release(self, address: str, size: int) -> None:
        """A message is in Redis, or was refused."""
        self.used -= size
        self._admitted -= size
        self._admitted_of[address] -= size
        if not self._admitted_of[address]:
            del self._admitted_of[address]

    def reserve(self, reader: Reader, address: str, size: int) -> None:
        """Add bytes (or, if negative, release them) of messages or of a request's body that are being read."""
        readers = self._reading.setdefault(address, {})
        readers[reader] = readers.get(reader, 0) + size
        self._reading_of[address] += size
        if not readers[reader]:
            del readers[reader]
            if not readers:
                del self._reading[address], self._reading_of[address]
        self._use(size)

    def _use(self, size: int) -> None:
        self.used += size
        if self.used > self._max_bytes and self._reading and not self._is_evicting:
            self._is_evicting = True
            asyncio.get_running_loop().call_soon(self._evict_largest)  # not amid what its reader is doing

    def _evict_largest(self) -> None:
        self._is_evicting = self.used > self._max_bytes and bool(self._reading)
        if not self._is_evicting:
            return
        address = max(self._reading, key=lambda one: self._reading_of[one] + self._admitted_of[one])
        readers, size = self._reading[address], self._reading_of[address]
        number = len(readers)
        is_closed = max(readers, key=readers.__getitem__).evict()
        what = "MAX_FRONT_BYTES (%d) exceeded; %s has the most bytes of unfinished messages (%d in %d connections)"
        reason = CloseReason.MEMORY if is_closed else RefusalReason.SERVER_FULL
        self._rejections.record(reason, what, self._max_bytes, address, size, number)
        asyncio.get_running_loop().call_soon(self._evict_largest)
