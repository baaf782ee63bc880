"""What a front holds in memory for all of its clients together: what they do not read, and what they do not finish.

Each connection has bounds of its own, but thousands of them at those would be more than a machine has. When all is more
than the front may hold, connections are closed, one after the other, until it is not: of what is more, unfinished
messages or unread ones.

What is unfinished is judged by address: somebody who uploads a photo holds more than each of a thousand connections
that hold back the ends of small messages, but not more than all of them together. What is unread is judged by
connection: a channel's messages wait for each of its members alike, and say nothing about their addresses.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from typing import Protocol

from tornado.iostream import IOStream

from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason

COPIED_BYTES = 2048  # Tornado's stream copies what is no longer than this, and keeps what is by reference
WRITE_BYTES = 700  # that Python needs for a write that waits: its future, its place in the queue, whom to tell

Data = bytes | memoryview


class BufferOwner(Protocol):
    """Somebody for whom something is held."""

    def evict(self) -> None:
        """Ends the connection. What is held of its unfinished message is released before this returns; what it has not
        read, when those who wait for its end run."""


class MemoryBudget:
    """Counts what is held. The same bytes for many clients are there once, and count once."""

    def __init__(self, most_bytes: int, drops: RejectionLog) -> None:
        self.used = 0
        self._max_bytes = most_bytes
        self._drops = drops
        self._held: dict[BufferOwner, int] = {}  # unread, for each as if it had all for itself
        self._incoming: dict[str, dict[BufferOwner, int]] = {}  # unfinished, by address
        self._incoming_of: Counter[str] = Counter()  # the same, for all of an address together
        self._incoming_in_all = 0
        self._waiting_for: dict[int, int] = {}  # how many wait for the same bytes, by their identity
        self._is_letting_go = False

    def reserve_incoming(self, holder: BufferOwner, address_key: str, size: int) -> None:
        """So much more (or less, below 0) is held of a message or body that has begun and not ended.

        Args:
            address_key: the network that limits count its sender's address as.
        """
        holders = self._incoming.setdefault(address_key, {})
        holders[holder] = holders.get(holder, 0) + size
        self._incoming_of[address_key] += size
        self._incoming_in_all += size
        if not holders[holder]:
            del holders[holder]
            if not holders:
                del self._incoming[address_key], self._incoming_of[address_key]
        self._use(size)

    def reserve(self, holder: BufferOwner, size: int) -> None:
        """So much more waits for somebody; if that is too much in all, somebody goes soon."""
        self._add(holder, size, size)

    def release(self, holder: BufferOwner, size: int) -> None:
        """So much less waits for somebody."""
        self._add(holder, -size, -size)

    def account(self, size: int) -> None:
        """So much more (or, negative, less) is held for nobody alone."""
        self._use(size)

    def reserve_data(self, holder: BufferOwner, data: Data) -> None:
        """These bytes wait to be written to somebody. Whoever gives them back keeps them until then."""
        size, owner = len(data), _owner(data)
        if size <= COPIED_BYTES:
            self._add(holder, size, size + WRITE_BYTES)
            return
        waiting = self._waiting_for.get(id(owner), 0)
        self._waiting_for[id(owner)] = waiting + 1
        self._add(holder, size, WRITE_BYTES if waiting else WRITE_BYTES + len(owner))

    def release_data(self, holder: BufferOwner, data: Data) -> None:
        """These bytes have been written, or never will be."""
        size, owner = len(data), _owner(data)
        if size <= COPIED_BYTES:
            self._add(holder, -size, -size - WRITE_BYTES)
            return
        waiting = self._waiting_for.pop(id(owner)) - 1
        if waiting:
            self._waiting_for[id(owner)] = waiting
        self._add(holder, -size, -WRITE_BYTES if waiting else -WRITE_BYTES - len(owner))

    def _add(self, holder: BufferOwner, held: int, used: int) -> None:
        total = self._held.get(holder, 0) + held
        if total > 0:
            self._held[holder] = total
        else:
            self._held.pop(holder, None)
        self._use(used)

    def _use(self, size: int) -> None:
        self.used += size
        if self.used > self._max_bytes and not self._is_letting_go:
            self._is_letting_go = True
            # Later, for this may be in the midst of a walk through a room.
            asyncio.get_running_loop().call_soon(self._evict_largest)

    def _evict_largest(self) -> None:
        self._is_letting_go = self.used > self._max_bytes and bool(self._held or self._incoming)
        if not self._is_letting_go:
            return
        if self._incoming and (2 * self._incoming_in_all >= self.used or not self._held):
            address, _ = self._incoming_of.most_common(1)[0]
            holders = self._incoming[address]
            worst = max(holders, key=holders.__getitem__)
            what = "MAX_FRONT_BYTES (%d) are held; of all addresses, %s has most in unfinished messages (%d in %d)"
            self._drops.record(
                CloseReason.MEMORY, what, self._max_bytes, address, self._incoming_of[address], len(holders)
            )
        else:
            worst = max(self._held, key=self._held.__getitem__)
            what = "MAX_FRONT_BYTES (%d) are held; of all clients, one has read least (%d wait for it)"
            self._drops.record(CloseReason.MEMORY, what, self._max_bytes, self._held.pop(worst))
        worst.evict()
        # What it had is given back by then.
        asyncio.get_running_loop().call_soon(self._evict_largest)


def abort(stream: IOStream) -> None:
    """Closes a connection with a reset: the kernel, too, gives up at once what it holds for a client that does not
    read, where an ordinary end would wait behind all of that (socket(7): SO_LINGER)."""
    with contextlib.suppress(OSError, AttributeError):  # closed already
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def _owner(data: Data) -> bytes:
    """The bytes that are kept as long as any part of them is."""
    return data.obj if isinstance(data, memoryview) else data  # type: ignore[return-value]  # nobody else has views
