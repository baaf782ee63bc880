"""Fan-out: sends the same bytes to all of a channel's connections on this front. The fast path of every delivery.

A room multiplies the cost of a delivery, so it is a single `send()` on the socket, as long as the socket accepts all of
the data. Ready connections are in a dict keyed by that very function: between two deliveries a connection drops out of
the CPU's caches, and checking its attributes (is it closing? is its buffer empty?) would fetch each from memory again,
which took as long as the kernel's work.

Clients with buffered output, that are closing, or that read events, are written to through their own `write`; large
data goes to all of them so, in pieces.
"""

from collections.abc import Callable
from typing import Protocol

from gischat.front.transport.frames import PIECE_BYTES

Send = Callable[[bytes], int]  # of a non-blocking socket; may accept only a part, or raise OSError

BROKEN = -1  # instead of a number of bytes: the socket is unusable


class Receiver(Protocol):
    """A connection in a fan-out."""

    send_now: Send  # constant as long as it is in the fan-out
    is_event_stream: bool  # it is sent events, not frames: its `write` makes them
    is_ready: bool  # its buffer is empty and it is not closing: `send_now` may be used

    def write(self, data: bytes) -> None:
        """Send whole frames, or buffer them."""

    def finish_write(self, data: bytes, sent: int) -> None:
        """Send the rest of whole frames, of which `sent` bytes were sent; or handle `BROKEN`."""


class Fanout:
    """The receivers of a channel: ready ones, and those with buffered output."""

    def __init__(self) -> None:
        self._ready: dict[Send, Receiver] = {}
        self._buffered: set[Receiver] = set()

    def __len__(self) -> int:
        return len(self._ready) + len(self._buffered)

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

    def update(self, listener: Receiver) -> None:
        """Update a receiver, if present, whose `is_ready` has changed."""
        if listener.send_now in self._ready or listener in self._buffered:
            self.discard(listener)
            self.add(listener)

    def send(self, data: bytes) -> None:
        """Send to all receivers, without awaiting any: a slow or broken one affects no other."""
        size = len(data)
        if size > PIECE_BYTES:
            for listener in [*self._ready.values(), *self._buffered]:
                listener.write(data)
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
