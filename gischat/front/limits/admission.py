"""Admission: whether a front takes a message, decided once, when it is complete and valid.

MAX_FRONT_BYTES bounds the bytes that a front has received and Redis does not have yet, counted by network address:
unfinished messages, and admitted ones until Redis accepts or refuses their jobs. From then on they count in their
channel's inbox, which all fronts share; there (`enqueue.lua`) the rule and the words are the same. A message is refused
if it does not fit, or, to leave room for others, if its address would then have more admitted bytes than remain free. A
message always fits if there is no other.

Unfinished messages take no room from complete ones: when the sum exceeds the budget, the front refuses the largest
unfinished message of the address that has the most bytes.
"""

from collections import Counter
from typing import Protocol

from gischat.errors import RefusalReason, Unavailable
from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason
from gischat.settings import Settings

# A message that goes to Redis at once counts for its address only above the first size, and not at all up to the other.
LARGE_BYTES = 2**16
SMALL_BYTES = 2**12
AT_ONCE = 8  # this part of the budget is for messages that go to Redis at once: those that wait may do so for long

CONNECTION_FULL = (
    "Too many of your messages are waiting to be published. Please send it again later.",
    RefusalReason.QUEUE_FULL,
)
ADDRESS_FULL = (
    "Too many photos, layers and other messages from your network address are waiting to be published. "
    "This one was not sent: please send it again later.",
    RefusalReason.ADDRESS_QUEUE_FULL,
)
SERVER_FULL = ("The server has too much to do at the moment. Please send it again later.", RefusalReason.SERVER_FULL)


class Reader(Protocol):
    """A connection that reads a message."""

    def evict(self) -> bool:
        """Refuse the message and release its bytes; returns whether the connection is closed."""


class Admission:
    """The bytes of all clients' messages in a front; `used` is their sum."""

    def __init__(self, settings: Settings, rejections: RejectionLog) -> None:
        self.used = 0
        self._max_bytes = settings.max_front_bytes
        self._at_once = settings.max_front_bytes // AT_ONCE
        self._max_waiting_messages = settings.max_waiting_messages
        self._max_waiting_bytes = settings.max_waiting_bytes
        self._rejections = rejections
        self._admitted = 0
        self._admitted_of: dict[str, int] = {}  # by address
        self._reading: dict[str, dict[Reader, int]] = {}  # by address
        self._reading_of: Counter[str] = Counter()

    def admit(self, address: str, size: int, ahead: int, waiting_bytes: int, *, bounded: bool = True) -> None:
        """Count a message of `size` bytes, until it is released.

        Args:
            address: the key under which the limits count it; empty if it counts for none.
            ahead: how many messages of its connection are in flight or pending.
            waiting_bytes: bytes of those that are pending.
            bounded: refuse it if there is no room.

        Raises:
            Unavailable: there is no room for it.
        """
        admitted, of_address = self._admitted, self._admitted_of.get(address, 0)
        if bounded:
            if ahead > self._max_waiting_messages or (waiting_bytes and waiting_bytes + size > self._max_waiting_bytes):
                raise Unavailable(*CONNECTION_FULL)
            free = self._max_bytes - admitted - (self._at_once if ahead else 0)
            if admitted and size > free:
                raise Unavailable(*SERVER_FULL)
            if of_address and of_address + size > free - size and address:
                raise Unavailable(*ADDRESS_FULL)
        self._admitted = admitted + size
        self._admitted_of[address] = of_address + size
        self.used += size
        if self.used > self._max_bytes:
            self._make_room()

    def release(self, address: str, size: int) -> None:
        """Stop counting a message that is in Redis or was refused."""
        self.used -= size
        self._admitted -= size
        left = self._admitted_of.get(address, 0) - size
        if left:
            self._admitted_of[address] = left
        else:
            self._admitted_of.pop(address, None)

    def reserve(self, reader: Reader, address: str, size: int) -> None:
        """Add bytes (or, if negative, release them) of unfinished messages or request bodies, and of unparsed data."""
        readers = self._reading.setdefault(address, {})
        readers[reader] = readers.get(reader, 0) + size
        self._reading_of[address] += size
        if not readers[reader]:
            del readers[reader]
            if not readers:
                del self._reading[address], self._reading_of[address]
        self.used += size
        if size > 0 and self.used > self._max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        while self.used > self._max_bytes and self._reading:
            before = self.used
            address = max(self._reading, key=lambda one: self._reading_of[one] + self._admitted_of.get(one, 0))
            readers, size = self._reading[address], self._reading_of[address]
            number = len(readers)
            is_closed = max(readers, key=readers.__getitem__).evict()
            what = "MAX_FRONT_BYTES (%d) exceeded; %s has the most bytes of unfinished messages (%d in %d connections)"
            reason = CloseReason.MEMORY if is_closed else RefusalReason.SERVER_FULL
            self._rejections.record(reason, what, self._max_bytes, address, size, number)
            if self.used >= before:
                return  # better too much than an endless loop
