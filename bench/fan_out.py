"""The fan-out alone, in one process, without Redis: the front's own audience of its own connections.

A sender as senders.py describes it: `python -m bench.fan_out CLIENTS BYTES`. It takes bare TCP connections, on which
only the handshake is missing: what the front does after it is done here.
"""

import asyncio
import socket
import sys
import time
from types import SimpleNamespace
from typing import Any

from tornado.iostream import IOStream

from bench.crowd import HOST
from bench.limits import raise_open_files
from gischat.front.channel.audience import Audience
from gischat.front.channel.connection import Connection
from gischat.front.channel.rooms import Room
from gischat.front.door.rates import Pace, Rates, Visitors
from gischat.front.jobs.turnstile import Turnstiles
from gischat.front.sockets.drops import Drops
from gischat.front.sockets.frames import text_frame
from gischat.front.sockets.memory import Memory
from gischat.reading import Messages
from gischat.settings import load


async def main(clients: int, size: int) -> None:
    raise_open_files()
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


async def _accepted(clients: int) -> Audience:
    settings = load()
    gateway: Any = SimpleNamespace(front="bench", enqueue=None)  # nobody speaks here
    turnstiles, messages = Turnstiles(gateway, settings), Messages(settings)
    drops, pace = Drops(), Pace(Visitors(HOST, Rates(settings)))
    memory = Memory(settings.max_front_bytes, drops)
    room = Room(settings.channels[0], gateway, turnstiles)
    with socket.create_server((HOST, 0), backlog=clients) as listener:
        print(listener.getsockname()[1], flush=True)
        for _ in range(clients):
            connection = Connection(
                room,
                _stream(listener.accept()[0]),
                lambda code, reason: None,
                messages=messages,
                turnstiles=turnstiles,
                pace=pace,
                drops=drops,
                memory=memory,
                max_unread_bytes=settings.max_unread_bytes,
            )
            room.audience.add(connection)
    return room.audience


def _stream(accepted: socket.socket) -> IOStream:
    stream = IOStream(accepted)
    stream.set_nodelay(True)
    return stream


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
