"""Attackers, in a process of their own: `python -m tests.attacks.attackers ATTACK PORT OPTIONS`.

Each attack runs as fast as possible, prints its result as one line of JSON, and then keeps its connections open until
stdin is closed.
"""

import json
import os
import random
import select
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from websockets.frames import Frame, Opcode

HOST, CHANNEL = "127.0.0.1", "QGIS"
SOURCE = "127.0.0.9"  # other people connect from HOST
PROXIES = "127.0.0.0/8"  # so that everybody can be from any address, by X-Forwarded-For
PATIENCE = 60.0  # seconds; only an attack that the server does not stop takes as long

Answer = tuple[int, dict[str, str], bytes]  # status, headers in lower case, body


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def handshake(address: str, channel: str = CHANNEL, query: str = "") -> bytes:
    """A websocket handshake as a proxy would forward it from that address."""
    return (
        f"GET /channel/{channel}/ws{query} HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"X-Forwarded-For: {address}\r\n\r\n"
    ).encode()


class Attacker:
    """All sockets of one attacker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open: list[socket.socket] = []

    def connect(self) -> socket.socket:
        one = socket.create_connection((HOST, self._port), timeout=PATIENCE, source_address=(SOURCE, 0))
        self.open.append(one)
        return one

    def upgrade(self, address: str) -> tuple[socket.socket, int]:
        """Connect and send a websocket handshake; returns the socket and the status of the answer."""
        one = self.connect()
        one.sendall(handshake(address))
        return one, answer(one)[0]

    def websocket(self, address: str) -> socket.socket:
        one, status = self.upgrade(address)
        assert status == 101, status
        return one


def answer(connection: socket.socket) -> Answer:
    """Read the next answer, with its whole body if it has one."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(2**16)
        if not part:
            return 0, {}, received
        received += part
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(rest) < int(headers.get("content-length", 0)):
        rest += connection.recv(2**16)
    return int(first.split()[1]), headers, rest


def has_ended(connection: socket.socket) -> bool:
    """Whether the server has closed the connection; received data is discarded."""
    with suppress(BlockingIOError, TimeoutError):
        try:
            while connection.recv(2**16):
                pass
        except ConnectionError:
            pass
        return True
    return False


def until_ended(connections: Sequence[socket.socket]) -> int:
    """Wait until the server has closed all connections; returns how many it has closed within the deadline."""
    for one in connections:
        one.setblocking(False)
    left, deadline = list(connections), time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        left = [one for one in left if not has_ended(one)]
        time.sleep(0.01)
    return len(connections) - len(left)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# Connections


def connections(attacker: Attacker, addresses: Sequence[str], each: int) -> Any:
    """Open that many websockets from each address, and keep those that are accepted."""
    statuses: Counter[int] = Counter()
    retry_after = 0
    for address in addresses:
        for _ in range(each):
            one = attacker.connect()
            one.sendall(handshake(address))
            status, headers, _ = answer(one)
            statuses[status] += 1
            retry_after += "retry-after" in headers
    return {"statuses": statuses, "retry_after": retry_after}


def resets(attacker: Attacker, address: str, number: int) -> Any:
    """Disconnect at arbitrary moments."""
    dice = random.Random(1)
    request = handshake(address)
    for _ in range(number):
        one = attacker.connect()
        stage = dice.randrange(6)
        if stage >= 1:
            one.sendall(request[: dice.randrange(1, len(request))] if stage == 1 else request)
        if stage >= 3:
            answer(one)
        if stage >= 4:
            one.sendall(frame(b'{"type": "newcomer", "newcomer": "jane"}')[: 10 if stage == 4 else None])
        reset(one)
    return number


def idle(attacker: Attacker, number: int, asks: bool = False) -> Any:
    """Open connections and send nothing, or one request only."""
    for _ in range(number):
        one = attacker.connect()
        if asks:
            one.sendall(b"GET /version HTTP/1.1\r\nHost: chat\r\n\r\n")
            answer(one)
    return number


def drip(attacker: Attacker, number: int, beginning: str) -> Any:
    """Slowloris: begin that many requests, and send their rest endlessly, a byte at a time."""
    left = []
    for _ in range(number):
        one = attacker.connect()
        one.sendall(beginning.encode())
        one.setblocking(False)
        left.append(one)
    deadline = time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        left = [one for one in left if not has_ended(one) and _sends(one, b"x")]
        time.sleep(0.05)
    return number - len(left)


def _sends(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


# Messages


def flood(attacker: Attacker, address: str, payload: str, opcode: int = Opcode.TEXT) -> Any:
    """Send the same message as fast as possible, and read the answers, until the server closes the connection."""
    one = attacker.websocket(address)
    one.setblocking(False)
    many = frame(payload.encode(), Opcode(opcode)) * 50
    received, unsent, sent = bytearray(), b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ((_, events),) = selector.select(PATIENCE)
            try:
                if events & selectors.EVENT_READ:
                    data = one.recv(2**16)
                    received += data
                    if not data:
                        break
                if events & selectors.EVENT_WRITE:
                    unsent = unsent or many
                    taken = one.send(unsent)
                    unsent, sent = unsent[taken:], sent + taken
            except BlockingIOError:
                continue
            except OSError:
                break
    frames = list(_frames(bytes(received)))
    refusals = sum(b"too fast" in data for opcode, data in frames if opcode == Opcode.TEXT)
    goodbyes = [(*struct.unpack("!H", data[:2]), data[2:].decode()) for code, data in frames if code == Opcode.CLOSE]
    return {"sent": sent // (len(many) // 50), "refusals": refusals, "goodbyes": goodbyes}


def wrong(attacker: Attacker, address: str, number: int, each: int) -> Any:
    """Send that many invalid texts on each of that many connections, once."""
    many = [attacker.websocket(address) for _ in range(number)]
    for one in many:
        one.sendall(frame(b'{"type":"nonsense"') * each)
    return number


def _received(connection: socket.socket) -> bytes:
    """All data received until now."""
    received = b""
    with suppress(BlockingIOError, ConnectionError):
        while part := connection.recv(2**16):
            received += part
    return received


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Decode a server's complete frames."""
    at = 0
    while at + 2 <= len(data):
        size, start = data[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(data[start : start + width]), start + width
        if start + size <= len(data):
            yield data[at] & 15, data[start : start + size]
        at = start + size


def puts(attacker: Attacker, address: str, number: int, enough: int) -> Any:
    """PUT texts without a websocket: at most `number`, until `enough` are refused.

    A slow machine reaches a limit per minute late.
    """
    one = attacker.connect()
    statuses: Counter[int] = Counter()
    line = f"PUT /channel/{CHANNEL}/text HTTP/1.1\r\nHost: chat\r\n"
    request = f"{line}X-Forwarded-For: {address}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    said: set[tuple[bool, bool]] = set()
    for _ in range(number):
        one.sendall(request)
        status, headers, body = answer(one)
        statuses[status] += 1
        if status == 429:
            said.add((int(headers["retry-after"]) > 0, "wait" in json.loads(body)["detail"]))
            if statuses[status] == enough:
                break
    return {"statuses": statuses, "said": list(said)}


# Frames


def endless(attacker: Attacker, address: str, size: int) -> Any:
    """Send a message in fragments of that size that never ends."""
    one = attacker.websocket(address)
    with suppress(ConnectionError):
        for number in range(10**9):
            one.sendall(frame(bytes(size), Opcode.CONT if number else Opcode.TEXT, fin=False))
    return until_ended([one]) == 1


def in_fragments(attacker: Attacker, addresses: Sequence[str], each: int, fragments: int) -> Any:
    """Send texts in mostly empty fragments, on many connections at once; returns how many of them are answered."""
    text = b'{"type": "text", "author": "mallory"}'  # invalid, so that only the sender gets an answer
    cut = frame(text, fin=False) + frame(b"", Opcode.CONT, fin=False) * (fragments - 2) + frame(b"", Opcode.CONT)
    many = [attacker.websocket(address) for address in addresses for _ in range(each)]
    for one in many:
        one.sendall(cut)
    return sum(_is_refused(one) for one in many)


def returns(attacker: Attacker, address: str, number: int, times: int, after: str, missed: int) -> Any:
    """Reconnect with that many connections at once, repeatedly, and read all missed messages."""
    came_back = 0
    for _ in range(times):
        many = [attacker.connect() for _ in range(number)]
        for one in many:
            one.sendall(handshake(address, query=f"?after={after}"))
        for one in many:
            answer, found = b"", 0
            while found < missed and (part := one.recv(2**20)):
                found += (answer[-6:] + part).count(b'"text",')
                answer = part
            came_back += found >= missed
            one.close()
    return came_back


def _is_refused(connection: socket.socket) -> bool:
    received = b""
    while b"uncompliant" not in received:
        part = connection.recv(2**16)
        if not part:
            return False
        received += part
    return True


# Memory


def unfinished(attacker: Attacker, address: str, number: int, size: int, enough: int) -> Any:
    """Send all but the ends of messages, one on each connection; wait until `enough` are refused.

    Returns the reasons."""
    received = {attacker.websocket(address): b"" for _ in range(number)}
    for one in received:
        one.sendall(frame(b"x" * size, fin=False))
        one.setblocking(False)
    reasons: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(reasons) < enough and time.monotonic() < deadline:
        for one in received:
            received[one] += _received(one)
        frames = [told for data in received.values() for told in _frames(data)]
        told = [json.loads(body) for opcode, body in frames if opcode == Opcode.TEXT]
        reasons = [one["reason"] for one in told if one["type"] == "uncompliant"]
        time.sleep(0.05)
    return reasons


def unfinished_bodies(attacker: Attacker, address: str, number: int, size: int, bearable: int) -> Any:
    """Send all but the last byte of that many requests until the server answers all but `bearable`; then the last byte.

    Returns the number of those that are not answered, and the reasons given to the others.
    """
    line = f"PUT /channel/{CHANNEL}/text HTTP/1.1\r\nHost: chat\r\nX-Forwarded-For: {address}\r\n"
    head = f"{line}Content-Length: {size + 1}\r\n\r\n"
    left = [attacker.connect() for _ in range(number)]
    for one in left:
        with suppress(ConnectionError):
            one.sendall(head.encode() + b"x" * size)
    refused: list[socket.socket] = []
    deadline = time.monotonic() + PATIENCE
    while len(left) > bearable and time.monotonic() < deadline:
        refused += (answered := select.select(left, [], [], 0.1)[0])
        left = [one for one in left if one not in answered]
    reasons = set()
    for one in refused:
        one.sendall(b"x")
        status, _, body = answer(one)
        reasons.add(f"{status} {json.loads(body)['detail']}")
    return len(left), sorted(reasons), until_ended(refused) == len(refused)


def slow_readers(attacker: Attacker, address: str, number: int, size: int, times: int) -> Any:
    """Do not read large messages of the channel, on many connections; wait until the server has closed them."""
    readers = [attacker.websocket(address) for _ in range(number)]
    for one in readers:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    speaker = attacker.websocket(address)
    message = {"type": "model", "author": "mallory", "model_name": "m", "raw_xml": "x" * size}
    said = frame(json.dumps(message).encode())
    ended, deadline = 0, time.monotonic() + PATIENCE
    while ended < number and time.monotonic() < deadline:
        if times:
            speaker.settimeout(PATIENCE)
            speaker.sendall(said)
            times -= 1
        speaker.setblocking(False)
        has_ended(speaker)  # it reads, so that the server does not close it as a slow client
        ended = sum(map(_is_reset, readers))
        time.sleep(0.01)
    return ended


def unread_histories(attacker: Attacker, number: int) -> Any:
    """Request the stored messages on at least that many connections, without reading, until some are closed."""
    asking: list[socket.socket] = []
    cut_off, deadline = 0, time.monotonic() + PATIENCE
    while (len(asking) < number or not cut_off) and time.monotonic() < deadline:
        one = attacker.connect()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(f"GET /channel/{CHANNEL}/last HTTP/1.1\r\nHost: chat\r\n\r\n".encode())
        asking.append(one)
        time.sleep(0.02)
        cut_off = sum(map(_is_reset, asking))
    return cut_off


def _is_reset(connection: socket.socket) -> bool:
    """Whether the server has closed the connection; reads none of the received data."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1  # TCP_ESTABLISHED


@contextmanager
def _held(attacker: Attacker) -> Iterator[None]:
    try:
        yield
        sys.stdin.read()
    finally:
        for one in attacker.open:
            one.close()


if __name__ == "__main__":
    name, port, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    attacker = Attacker(port)
    with _held(attacker):
        print(json.dumps(globals()[name](attacker, **options)), flush=True)
    os._exit(0)
