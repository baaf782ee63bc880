"""A front that dies, and clients on a slow link."""

import asyncio
import json
import socket
import time
from urllib.parse import quote
from uuid import uuid4

from gischat.front.close_status import SHUTTING_DOWN
from gischat.front.transport.frames import close_frame
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import HOST
from tests.support.waiting import DEADLINE

EMPTY_PONG = b"\x8a\x80" + bytes(4)  # with a mask of zeros (RFC 6455 §5.3)


async def test_clients_of_a_dead_front_leave_the_channel(make_scene: MakeScene) -> None:
    # Given three registered clients on a front, and a witness on another
    async with make_scene() as scene:
        dying, staying = scene.stack.fronts
        witness = await Client.connect(staying.url, CHANNEL)
        names = {f"guest-{number}" for number in range(3)}
        guests = [await Client.connect(dying.url, CHANNEL) for _ in names]
        for guest, name in zip(guests, names, strict=True):
            await guest.register(name)
        await witness.count(4)

        # When the front is killed
        scene.keeper.leaves_alone.add(dying)
        dying.kill()

        # Then one exit is published for each, and they are not counted any more
        await until(lambda: witness.nb_users == 1, "the count to be right")
        gone = [message["exiter"] for message in witness.received if message["type"] == "exiter"]
        assert sorted(gone) == sorted(names)

        # And their nicknames are free
        for name in names:
            await witness.register(name)
        await witness.leave()
        await asyncio.gather(*(guest.closed() for guest in guests))


async def test_clients_on_a_slow_link_are_given_the_time_that_they_need(make_scene: MakeScene) -> None:
    # Given a history that takes longer than the ping timeout, but that the kernel's buffer can hold
    async with make_scene(fronts=1, ws_ping_interval=1, ws_ping_timeout=5) as scene:
        (front,) = scene.stack.fronts
        speaker = await Client.connect(front.url, CHANNEL)
        ids = [str(uuid4()) for _ in range(3)]
        for id in ids:
            await speaker.send(**sample("model", id=id, raw_xml="x" * 900_000))
            await speaker.until(id=id)
        await speaker.leave()

        # When a client joins over a link that takes many times as long, then it receives the history
        raw = _slow_socket(front.port)
        await asyncio.to_thread(_read_slowly, raw, ids[-1].encode())

        # When it sends a message that takes several times as long as the ping timeout, and no pong arrives,
        # since that waits behind the data, which must count as a sign of life, too
        payload = json.dumps(sample("text", text="slowly", more="x" * 60_000)).encode()
        sent = EMPTY_PONG + b"\x81\xff" + len(payload).to_bytes(8) + bytes(4) + payload
        for at in range(0, len(sent), 1000):
            raw.sendall(sent[at : at + 1000])
            await asyncio.sleep(0.2)

        # Then it is published
        assert await asyncio.to_thread(_read_slowly, raw, b'"slowly"')
        raw.close()

        # When the front stops while another client has not read the history, for longer than it waits
        raw = _slow_socket(front.port)
        await asyncio.to_thread(_read_slowly, raw, b'"model"')
        scene.keeper.leaves_alone.add(front)
        await asyncio.to_thread(front.stop)

        # Then all that was written to it still arrives, to the close frame, which says why
        assert await asyncio.to_thread(_read_slowly, raw, close_frame(*SHUTTING_DOWN[:2]))
        raw.close()


def _slow_socket(port: int) -> socket.socket:
    """A websocket with a buffer for some of the loopback's large segments: with less, the kernel pauses for seconds."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
    raw.connect((HOST, port))
    lines = (
        f"GET /channel/{quote(CHANNEL)}/ws HTTP/1.1",
        f"Host: {HOST}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    raw.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return raw


def _read_slowly(raw: socket.socket, awaited: bytes) -> bool:
    """Read 300 kB per second; returns whether that data arrived before the end."""
    raw.settimeout(DEADLINE)
    received = b""
    while some := raw.recv(30_000):
        received = received[-len(awaited) :] + some
        if awaited in received:
            return True
        time.sleep(len(some) / 300_000)
    return False
