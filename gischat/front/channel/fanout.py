"""Fan-out: sends the same bytes to all of a channel's connections on this front. The fast path of every delivery.

A room multiplies the cost of a delivery, so it is a single `send()` on the socket, as long as the socket accepts all of
the data. Ready connections are in a dict keyed by that very function: between two deliveries a connection drops out of
the CPU's caches, and checking its attributes (is it closing? is its buffer empty?) would fetch each from memory again,
which took as long as the kernel's work.

Clients with buffered output, that are closing, or that read events, are written to through their own `write`; large
data goes to all of them so, in pieces. Queueing it for one takes longer than sending a text (10 µs), so in each turn
of the loop it is queued for some only. What is sent meanwhile follows it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, Protocol

from gischat.front.transport.frames import PIECE_BYTES

Send = Callable[[bytes], int]  # of a non-blocking socket; may accept only a part, or raise OSError

AT_ONCE = 32  # receivers that large data is queued for in a turn of the loop

BROKEN = -1  # instead of a number of bytes: the socket is unusable


class Receiver(Protocol):
    """A connection in a fan-out."""

    send_now: Send  # constant as long as it is in the fan-out
    is_event_stream: bool  # it is sent events, not frames: its `write` makes them
    is_ready: bool  # its buffer is empty and it is not closing: `send_now` may be used

    def write(self, data: bytes) -> None:
        """Send whole frames, or buffer them; first what it is behind with, by `Fanout.catch_up`."""

    def finish_write(self, data: bytes, sent: int) -> None:
        """Send the rest of whole frames, of which `sent` bytes were sent; or handle `BROKEN`."""


class _Behind(NamedTuple):
    """Receivers that are behind the others, and what they have to get before they join them."""

    receivers: dict[Receiver, None]
    # Not in the memory budget: receivers whose turn came before buffer the same large objects, and are counted.
    backlog: list[bytes]


class Fanout:
    """The receivers of a channel: ready ones, those with buffered output, and those whose turn has not come."""

    def __init__(self) -> None:
        self._ready: dict[Send, Receiver] = {}
        self._buffered: set[Receiver] = set()
        self._behind: deque[_Behind] = deque()

    def __len__(self) -> int:
        return len(self._ready) + len(self._buffered) + sum(len(group.receivers) for group in self._behind)

    def add(self, listener: Receiver) -> None:
        """Add a receiver."""
        if listener.is_ready and not listener.is_event_stream:
            self._ready[listener.send_now] = listener
        else:
            self._buffered.add(listener)

    def discard(self, listener: Receiver) -> None:
        """Remove a receiver, if present."""
        self._ready.pop(listener.send_now, None)
        self._buffered.discard(listener)
        for group in self._behind:
            group.receivers.pop(listener, None)

    def update(self, listener: Receiver) -> None:
        """Update a receiver, if present, whose `is_ready` has changed."""
        if listener.send_now in self._ready or listener in self._buffered:
            self.discard(listener)
            self.add(listener)

    def send(self, data: bytes) -> None:
        """Send to all receivers, without awaiting any: a slow or broken one affects no other."""
        size = len(data)
        for group in self._behind:
            group.backlog.append(data)
        if size > PIECE_BYTES:
            self._send_by_turns(data)
            return
        rest: list[tuple[Receiver, int]] = []
        for send in self._ready:
            try:
                sent = send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = BROKEN
            if sent != size:
                rest.append((self._ready[send], sent))
        for listener in list(self._buffered):
            listener.write(data)
        # Last, since it moves them between the collections that are iterated above.
        for listener, sent in rest:
            listener.finish_write(data, sent)

    def _send_by_turns(self, data: bytes) -> None:
        group = _Behind(dict.fromkeys([*self._ready.values(), *self._buffered]), [data])
        self._ready.clear()
        self._buffered.clear()
        self._behind.append(group)
        if len(self._behind) == 1:
            self._take_turn()

    def _take_turn(self) -> None:
        group = self._behind[0]
        try:
            for listener in list(islice(group.receivers, AT_ONCE)):
                self.catch_up(listener)
        finally:
            if not group.receivers:
                self._behind.popleft()
            if self._behind:
                asyncio.get_running_loop().call_soon(self._take_turn)

    def catch_up(self, listener: Receiver) -> None:
        """Write what others have got before to a receiver that is behind, without waiting for its turn."""
        for group in self._behind:
            if listener in group.receivers:
                del group.receivers[listener]
                self.add(listener)
                for data in group.backlog:
                    listener.write(data)
                return
