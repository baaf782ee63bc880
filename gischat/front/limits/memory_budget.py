"""Memory budget of a front: the bytes buffered for all clients together that they have not read.

Each connection has its own limit, but thousands of connections at their limits would exceed a machine's memory. When
the total exceeds the budget, those with the most are closed, one after the other until it does not. They are compared
by connection: a channel's messages are buffered for each of its members alike, whatever their addresses. For what
clients send see `admission`.
"""

import asyncio
import contextlib
import socket
import struct
from typing import Protocol

from tornado.iostream import IOStream

from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason

COPIED_BYTES = 2048  # Tornado's stream copies data up to this size, and references longer data
WRITE_BYTES = 700  # Python's overhead per pending write: future, queue entry, callback

Data = bytes | memoryview


class BufferOwner(Protocol):
    """A connection with buffered data."""

    def evict(self) -> object:
        """Close the connection. Its data is released when the callbacks of its close run."""


class MemoryBudget:
    """Counts buffered bytes; a buffer shared by many clients counts once."""

    def __init__(self, most_bytes: int, rejections: RejectionLog) -> None:
        self.used = 0
        self._max_bytes = most_bytes
        self._rejections = rejections
        self._held: dict[BufferOwner, int] = {}  # per connection, shared buffers included
        self._waiting_for: dict[int, int] = {}  # number of connections that share a buffer, by its id()
        self._is_evicting = False

    def reserve(self, holder: BufferOwner, size: int) -> None:
        """Add bytes of a connection; if the budget is exceeded, connections are evicted soon."""
        self._add(holder, size, size)

    def release(self, holder: BufferOwner, size: int) -> None:
        """Release bytes of a connection."""
        self._add(holder, -size, -size)

    def reserve_data(self, holder: BufferOwner, data: Data) -> None:
        """Add a pending write; the caller keeps `data` alive until it releases it, as buffers are known by id()."""
        size, owner = len(data), _owner(data)
        if size <= COPIED_BYTES:
            self._add(holder, size, size + WRITE_BYTES)
            return
        waiting = self._waiting_for.get(id(owner), 0)
        self._waiting_for[id(owner)] = waiting + 1
        self._add(holder, size, WRITE_BYTES if waiting else WRITE_BYTES + len(owner))

    def release_data(self, holder: BufferOwner, data: Data) -> None:
        """Release a pending write that is done or cancelled."""
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
        self.account(used)

    def account(self, size: int) -> None:
        """Add bytes, or, if negative, release them."""
        self.used += size
        if self.used > self._max_bytes and not self._is_evicting:
            self._is_evicting = True
            # Deferred, since this may run during an iteration over a room.
            asyncio.get_running_loop().call_soon(self._evict_largest)

    def _evict_largest(self) -> None:
        self._is_evicting = self.used > self._max_bytes and bool(self._held)
        if not self._is_evicting:
            return
        worst = max(self._held, key=self._held.__getitem__)
        what = "MAX_FRONT_BYTES (%d) exceeded; one client has the most unread bytes (%d)"
        self._rejections.record(CloseReason.MEMORY, what, self._max_bytes, self._held.pop(worst))
        worst.evict()
        # By then its data has been released.
        asyncio.get_running_loop().call_soon(self._evict_largest)


def abort(stream: IOStream) -> None:
    """Close a connection with a reset, so that the kernel drops its send buffer at once (socket(7): SO_LINGER).

    After an ordinary close it would keep the data for a client that does not read.
    """
    with contextlib.suppress(OSError, AttributeError):  # closed already
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def _owner(data: Data) -> bytes:
    """The bytes object that stays alive as long as any view of it."""
    return data.obj if isinstance(data, memoryview) else data  # type: ignore[return-value]  # all views are of bytes
