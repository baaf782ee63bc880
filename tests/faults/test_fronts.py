"""Fronts are killed, frozen and stopped; clients do not read, and networks fail."""

import asyncio
import contextlib
import json
import socket
import time
from urllib.parse import quote
from uuid import uuid4

import psutil

from gischat.front.close_status import SHUTTING_DOWN
from gischat.front.transport.frames import close_frame
from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.peers import Talker
from tests.support.processes import HOST
from tests.support.proxy import Proxy, everyone
from tests.support.waiting import DEADLINE


async def test_clients_of_a_dead_front_leave_the_channel(make_scene: MakeScene) -> None:
    # Given three registered clients on a front, and clients that send messages on another
    async with make_scene() as scene:
        dying, staying = scene.stack.fronts
        await scene.enter(scene.peer(Talker, "talker", urls=[staying.url]))
        witness = await Client.connect(staying.url, CHANNEL)
        names = {f"guest-{number}" for number in range(3)}
        guests = [await Client.connect(dying.url, CHANNEL) for _ in names]
        for guest, name in zip(guests, names, strict=True):
            await guest.register(name)
        await witness.count(5)
        scene.begin_talk()
        await scene.flow(10)

        # When the front is killed
        scene.keeper.leaves_alone.add(dying)
        dying.kill()

        # Then one exit is published for each, and they are not counted any more
        await until(lambda: witness.nb_users == 2, "the count to be right")
        gone = [message["exiter"] for message in witness.received if message["type"] == "exiter"]
        assert sorted(gone) == sorted(names)

        # And their nicknames are free
        for name in names:
            await witness.register(name)
        await witness.leave()
        await asyncio.gather(*(guest.closed() for guest in guests))
        await scene.settle()


async def test_a_front_that_replaces_a_dead_one_frees_its_nicknames_at_once(make_scene: MakeScene) -> None:
    # Given jane, whose only front is killed
    async with make_scene(fronts=1) as scene:
        (front,) = scene.stack.fronts
        jane = await Client.connect(front.url, CHANNEL)
        await jane.register("jane")
        scene.keeper.leaves_alone.add(front)
        front.kill()
        await jane.closed()
        # When it starts again, and she reconnects
        front.start()
        scene.stack.wait_healthy(front)
        again = await Client.connect(front.url, CHANNEL)
        await again.register("jane")
        # Then she has her nickname at once, although her old connection had it
        assert not [message for message in again.received if message["type"] == "uncompliant"]
        await again.leave()
        await scene.settle()


async def test_a_front_recovers_after_it_was_frozen_for_too_long(make_scene: MakeScene) -> None:
    async with make_scene() as scene:
        await scene.talk()
        await scene.flow(20)

        # When a front freezes until it is reaped
        frozen = scene.stack.fronts[0]
        frozen.freeze()
        await until(lambda: scene.redis.zcard(f"{_prefix(scene)}:fronts") == 1, "the front to be reaped")
        frozen.wake()

        # Then its clients are registered and counted again, and have missed nothing
        await scene.flow(30)
        await scene.settle()


def _prefix(scene: Scene) -> str:
    return scene.keys.outbox.removesuffix(":outbox")


async def test_a_stopped_front_publishes_accepted_messages_and_notifies_its_clients(make_scene: MakeScene) -> None:
    async with make_scene() as scene:
        await scene.talk()
        await scene.flow(20)

        # When it is stopped under traffic
        leaving = scene.stack.fronts[0]
        leaving.terminate()
        await until(lambda: scene.keeper.ends[leaving.name], "the front to end")

        # Then it exits with status 0, and its clients have been told
        assert scene.keeper.ends[leaving.name] == [0]
        assert [peer.closings for peer in scene.peers] == [[1001], [], [1001], [], [1001], []]

        # And they miss nothing
        await scene.flow(30)
        await scene.settle()


async def test_clients_that_do_not_read_are_disconnected_and_affect_nobody(make_scene: MakeScene) -> None:
    # Given a small bound for unread data, and fifty clients that stop reading
    count, bound = 50, 2**20
    async with make_scene(fronts=1, max_unread_bytes=bound, ws_ping_interval=0) as scene:
        front = scene.stack.fronts[0]
        deaf = [_socket_that_does_not_read(front.port) for _ in range(count)]
        await scene.talk(talkers=1, guests=1)
        await until(lambda: scene.peers[0].nb_users == count + 2, "everyone to be counted")
        before = _memory(front.pid)
        highest = before

        # When many messages are sent
        speaker = await Client.connect(front.url, CHANNEL)
        model = "x" * 400_000
        for number in range(20):
            id = f"00000000-0000-4000-8000-{number:012}"
            await speaker.send(**sample("model", id=id, raw_xml=model))
            await speaker.until(id=id)
            highest = max(highest, _memory(front.pid))

        # Then they are disconnected, and get the reason if they continue to read
        await until(lambda: front.new_log().count("too slow") == count, "all of them to be closed")
        assert b"\x03\xf0Too slow" in await asyncio.to_thread(_rest, deaf[0])

        # And the front's memory stays bounded, and the others receive everything
        await until(lambda: scene.peers[0].nb_users == 3, "the slow to be gone")
        assert highest - before < count * (bound + 2 * len(model))
        for one in deaf:
            one.close()
        await speaker.leave()
        await scene.flow(10)
        await scene.settle()


def _socket_that_does_not_read(port: int, buffer: int = 4096) -> socket.socket:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
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


def _rest(raw: socket.socket) -> bytes:
    """All data sent to a socket, until its end."""
    raw.settimeout(DEADLINE)
    chunks = []
    with raw, contextlib.suppress(ConnectionError):
        while chunk := raw.recv(2**20):
            chunks.append(chunk)
    return b"".join(chunks)


def _memory(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


async def test_a_client_behind_a_dead_link_is_disconnected(make_scene: MakeScene) -> None:
    # Given a client that is connected through a proxy
    async with (
        make_scene(fronts=1, ws_ping_interval=1, ws_ping_timeout=8) as scene,
        Proxy(scene.stack.fronts[0].port) as proxy,
    ):
        witness = await Client.connect(scene.urls[0], CHANNEL)
        lonely = await Client.connect(f"http://{HOST}:{proxy.port}", CHANNEL)
        await lonely.register("lonely")
        await witness.count(2)

        # When the proxy stops to forward, without closing
        proxy.swallow(to_server=everyone, to_client=everyone)

        # Then the client leaves like any other
        await witness.until(type="exiter", exiter="lonely")
        await witness.count(1)
        await witness.leave()
        lonely.reset()
        await lonely.closed()


async def test_a_client_on_a_slow_link_receives_the_history(make_scene: MakeScene) -> None:
    # Given a channel with a large history, and a ping timeout shorter than the transfer of half of it
    async with make_scene(fronts=1, ws_ping_interval=1, ws_ping_timeout=5) as scene:
        front = scene.stack.fronts[0]
        speaker = await Client.connect(front.url, CHANNEL)
        last = ""
        for number in range(4):
            last = f"00000000-0000-4000-8000-{number:012}"
            await speaker.send(**sample("model", id=last, raw_xml="x" * 900_000))
            await speaker.until(id=last)
        await speaker.leave()

        # When a client joins over a link that takes many times as long, and then sends a message
        # (with a buffer for some of the loopback's large segments: with less, the kernel itself pauses for seconds)
        raw = _socket_that_does_not_read(front.port, buffer=2**18)
        await asyncio.to_thread(_read_slowly, raw, last.encode())
        raw.sendall(_masked(PONG, b"") + _masked(TEXT, json.dumps(sample("text", text="here at last")).encode()))

        # Then it has not been disconnected meanwhile
        assert await asyncio.to_thread(_read_slowly, raw, b"here at last")
        raw.close()


async def test_a_client_on_a_slow_link_is_told_why_a_front_closes_its_connection(make_scene: MakeScene) -> None:
    # Given a client whose history takes longer than the front waits for it
    async with make_scene(fronts=1) as scene:
        (front,) = scene.stack.fronts
        speaker = await Client.connect(front.url, CHANNEL)
        for _ in range(3):
            await speaker.send(**(sent := sample("model", id=str(uuid4()), raw_xml="x" * 900_000)))
            await speaker.until(id=sent["id"])
        raw = _socket_that_does_not_read(front.port, buffer=2**18)
        await asyncio.to_thread(_read_slowly, raw, b'"model"')

        # When the front stops
        scene.keeper.leaves_alone.add(front)
        await asyncio.gather(asyncio.to_thread(front.stop), speaker.closed())

        # Then all that was written to it still arrives, to the close frame
        assert await asyncio.to_thread(_read_slowly, raw, close_frame(*SHUTTING_DOWN[:2]))
        raw.close()


async def test_a_client_on_a_slow_link_sends_a_large_message(make_scene: MakeScene) -> None:
    """Its pong waits behind the data that it sends, which must count as a sign of life, too."""
    async with make_scene(fronts=1, ws_ping_interval=1, ws_ping_timeout=5) as scene:
        raw = _socket_that_does_not_read(scene.stack.fronts[0].port, buffer=2**18)
        payload = json.dumps(sample("text", text="slowly", more="x" * 60_000)).encode()
        sent = b"\x81\xff" + len(payload).to_bytes(8) + bytes(4) + payload

        # When a message takes several times as long as the ping timeout, and no pong arrives
        for at in range(0, len(sent), 1000):
            raw.sendall(sent[at : at + 1000])
            await asyncio.sleep(0.2)

        # Then it is published
        assert await asyncio.to_thread(_read_slowly, raw, b'"slowly"')
        raw.close()


TEXT, PONG = 0x1, 0xA


def _masked(opcode: int, payload: bytes) -> bytes:
    """A short client frame (RFC 6455 §5.3), with a mask of zeros."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


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
