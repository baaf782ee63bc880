"""Connections between processes: bytes in order, after a while; cut, stalled, lost with the process at one end."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import PROCESS, Loop, Process

QUICK_SECONDS = 0.0004
SLOW_SECONDS = 0.06  # a retransmission, a busy machine
SLOW = 0.02  # of all deliveries


class _Socket:
    """What lies under a connection; its options make no difference here."""

    def setsockopt(self, *_: object) -> None: ...


class Transport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", process: Process, name: str) -> None:
        super().__init__()
        self.process = process
        self.name = name
        self.peer: Transport
        self.protocol: Any = None
        self._network = network
        self._is_closing = False
        self._is_lost = False
        self._arrives_at = 0.0  # what was sent last
        self.held: list[bytes] | None = None  # what is sent while the connection is stalled

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self.held is not None:
            self.held.append(bytes(data))
        else:
            self._send(self.peer._receive, bytes(data))

    def close(self) -> None:
        """What was written before still arrives."""
        if not self._is_closing:
            self._is_closing = True
            self._network.ends.pop(self, None)
            self._send(self.peer._end, None)
            asyncio.get_running_loop().call_soon(self._end, None)

    abort = close

    def cut(self) -> None:
        self._network.cut(self)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone, at once, for this end; its protocol hears of it."""
        self._is_closing = True
        self._network.ends.pop(self, None)
        self._network.loop.arrive_at(self._network.loop.time() + self._network.delay(), self.process, self._end, error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _Socket() if name == "socket" else default

    def stall(self) -> None:
        """What is sent from here is under way until `flow`."""
        if self.held is None:
            self.held = []

    def flow(self) -> None:
        held, self.held = self.held or [], None
        for data in held:
            self.write(data)

    def _send(self, callback: Callable[..., object], argument: Any) -> None:
        loop = self._network.loop
        self._arrives_at = max(self._arrives_at, loop.time() + self._network.delay())
        loop.arrive_at(self._arrives_at, self.peer.process, callback, argument)

    def _receive(self, data: bytes) -> None:
        if not self._is_closing:
            self._network.note(self, data)
            self.protocol.data_received(data)

    def _end(self, error: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = self._is_closing = True
            self._network.ends.pop(self, None)
            if self.protocol is not None:
                self.protocol.connection_lost(error)


Accept = Callable[[Transport], Any]  # makes the protocol of a connection's other end


class Network:
    """Who listens where, and all connections."""

    def __init__(self, loop: Loop, dice: random.Random) -> None:
        self.loop = loop
        self.ends: dict[Transport, None] = {}
        self._dice = dice
        self._listeners: dict[str, tuple[Process, Accept]] = {}
        self.note: Callable[[Transport, bytes], None] = lambda end, data: None  # called with all that arrives
        loop.network = self

    def delay(self) -> float:
        if self._dice.random() < SLOW:
            return self._dice.uniform(0, SLOW_SECONDS)
        return self._dice.uniform(0.2, 1.8) * QUICK_SECONDS

    def listen(self, name: str, process: Process, accept: Accept) -> None:
        self._listeners[name] = (process, accept)

    def stop_listening(self, name: str) -> None:
        self._listeners.pop(name, None)

    async def connect(self, make: Callable[[], Any], name: str) -> tuple[Transport, Any]:
        """Connects the process that asks; the other end accepts when it runs.

        Raises:
            ConnectionRefusedError: nobody listens.
        """
        await asyncio.sleep(self.delay())
        if name not in self._listeners:
            raise ConnectionRefusedError(f"nobody listens at {name}")
        process, accept = self._listeners[name]
        ours, theirs = Transport(self, PROCESS.get(), name), Transport(self, process, name)
        ours.peer, theirs.peer = theirs, ours
        self.ends[ours] = self.ends[theirs] = None
        self._begin(theirs, accept)
        ours.protocol = make()
        ours.protocol.connection_made(ours)
        return ours, ours.protocol

    def _begin(self, end: Transport, accept: Accept) -> None:
        def begin() -> None:
            end.protocol = accept(end)

        end._arrives_at = end.peer._arrives_at = self.loop.time() + self.delay()
        self.loop.arrive_at(end._arrives_at, end.process, begin)

    def lose_process(self, process: Process) -> None:
        """Its connections end with it: the other ends hear of it."""
        for end in [end for end in self.ends if end.process is process]:
            self.ends.pop(end, None)
            end._is_closing = end._is_lost = True
            end._send(end.peer._end, ConnectionResetError("the other end is gone"))

    def cut(self, end: Transport) -> None:
        """Both ends hear of it, and what is under way may be lost: a part of it, from some place on."""
        for one in (end, end.peer):
            if one in self.ends:
                one.lose(ConnectionResetError("cut"))
