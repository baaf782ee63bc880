"""The fan-out alone, in one process, without Redis: the front's own Fanout and connections.

A sender as described in senders.py: `python -m bench.fan_out CLIENTS BYTES`. It accepts bare TCP connections; except
for the handshake, it does what a front does.
"""

import asyncio
import socket
import sys
import time
from types import SimpleNamespace
from typing import Any

from tornado.iostream import IOStream

from bench.crowd import HOST, MAX_OPEN_FILES
from gischat.front.channel.fanout import Fanout
from gischat.front.channel.room import Room
from gischat.front.connection.client_connection import ClientConnection
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rate_limit import AddressState, ConnectionRateLimiter, RateLimits
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.frames import text_frame
from gischat.open_files import raise_limit
from gischat.protocol.parsing import MessageParser
from gischat.settings import load


async def main(clients: int, size: int) -> None:
    raise_limit(MAX_OPEN_FILES)
    audience = await _accepted(clients)
    print("ready", flush=True)
    frame = text_frame(b"x" * (size - 4))
    while line := await asyncio.to_thread(sys.stdin.readline):
        rounds, pause = map(int, line.split())
        spent, due = 0, time.monotonic()
        for _ in range(rounds):
            due += pause / 1e6
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            start = time.process_time_ns()
            audience.send(frame)
            spent += time.process_time_ns() - start
        print(rounds * clients, spent, flush=True)


async def _accepted(clients: int) -> Fanout:
    settings = load()
    broker: Any = SimpleNamespace(front="bench", inbox=None, history=None)  # no client sends anything
    dispatcher, messages = Dispatcher(broker, settings), MessageParser(settings)
    rejections, pace = RejectionLog(), ConnectionRateLimiter(AddressState(HOST, RateLimits(settings)))
    memory = MemoryBudget(settings.max_front_bytes, rejections)
    room = Room(settings.channels[0], broker, dispatcher)
    with socket.create_server((HOST, 0), backlog=clients) as listener:
        print(listener.getsockname()[1], flush=True)
        for _ in range(clients):
            connection = ClientConnection(
                room,
                _stream(listener.accept()[0]),
                lambda code, reason: None,
                messages=messages,
                dispatcher=dispatcher,
                pace=pace,
                rejections=rejections,
                memory=memory,
                max_unread_bytes=settings.max_unread_bytes,
            )
            room.fanout.add(connection)
    return room.fanout


def _stream(accepted: socket.socket) -> IOStream:
    stream = IOStream(accepted)
    stream.set_nodelay(True)
    return stream


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
