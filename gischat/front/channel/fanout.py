"""The fan-out: the same bytes to everyone who hears a channel on this front. The fast path, walked for each delivery.

What a delivery costs here is what a room multiplies. So it is a `send()` on the socket and nothing else, as long as the
socket takes everything at once. Who is there lies in one table, by the very function that is called: between two
deliveries a processor's caches forget a connection, and each of its parts that had to be looked at (is it closing? does
anything wait in its stream?) would have to be fetched from memory again; all that took as long as the kernel does.

Whoever does not take everything, has something waiting, is closing, or reads events is beside: its own `write` knows
what to do.
"""

from collections.abc import Callable
from typing import Protocol

Send = Callable[[bytes], int]  # a non-blocking socket's; it may take a part only, or raise OSError

BROKEN = -1  # in place of a number of bytes: the socket takes no more at all


class Receiver(Protocol):
    """Somebody in an audience."""

    send_now: Send  # one and the same as long as it is there
    is_event_stream: bool  # it is sent events, not frames: its `write` makes them
    is_ready: bool  # nothing waits for it, and nothing keeps it from being sent to: `send_now` may be used

    def write(self, data: bytes) -> None:
        """Sends whole frames, or keeps them until it can."""

    def finish_write(self, data: bytes, sent: int) -> None:
        """Sends the rest of whole frames, of which so many bytes have gone out; or sees what is `BROKEN`."""


class Fanout:
    """Listeners: those who are ready, and those who are not."""

    def __init__(self) -> None:
        self._ready: dict[Send, Receiver] = {}
        self._buffered: set[Receiver] = set()

    def __len__(self) -> int:
        return len(self._ready) + len(self._buffered)

    def add(self, listener: Receiver) -> None:
        """Takes somebody in."""
        if listener.is_ready and not listener.is_event_stream:
            self._ready[listener.send_now] = listener
        else:
            self._buffered.add(listener)

    def discard(self, listener: Receiver) -> None:
        """Lets somebody go, if it is here."""
        self._ready.pop(listener.send_now, None)
        self._buffered.discard(listener)

    def update(self, listener: Receiver) -> None:
        """Somebody who may be here has become ready, or is no longer."""
        if listener.send_now in self._ready or listener in self._buffered:
            self.discard(listener)
            self.add(listener)

    def send(self, data: bytes) -> None:
        """Sends to everyone. Nobody is awaited, and who takes no more harms nobody else."""
        size = len(data)
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
        # Last, for it moves them, and a table that is walked through must not change.
        for listener, sent in rest:
            listener.finish_write(data, sent)
