"""Load generator: processes with many websocket clients each, which join, send, receive and count.

A client is a small asyncio protocol instead of a library's: it also reads the baseline's bare sockets, so that both
senders have the same readers, and it takes 3 µs per frame, so that a process can run thousands. The CPU time of these
processes is not measured.
"""

import asyncio
import contextlib
import functools
import multiprocessing
import re
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from gischat.open_files import raise_limit

HOST = "127.0.0.1"
BUFFER_BYTES = 2**18
LARGE_BYTES, HEAD_BYTES = 2**19, 2**10  # of a message above the first, only the second is kept
DEADLINE = 60.0  # seconds; beyond it the benchmark fails
MAX_OPEN_FILES = 20_000  # of each process

PING, TEXT, CLOSE = 0x89, 0x81, 0x88
KIND = re.compile(rb'"type":"(\w+)"')
LENGTH = re.compile(rb"Content-Length: (\d+)")
NEVER_DONE = 10**9
SENT_AT = re.compile(rb'"sent at (\d+)')


class Address(NamedTuple):
    """The address to connect to."""

    port: int
    channel: str = "QGIS"
    speaks_websocket: bool = True
    is_encrypted: bool = False
    source: str = ""  # a loopback address to come from: each has ports of its own
    query: str = ""


class Joined(NamedTuple):
    """The result of `join`."""

    seconds: float  # until the last client received its first `nb_users`
    counts: tuple[int, int]  # number of `nb_users` per client meanwhile: minimum and maximum


class Spoken(NamedTuple):
    """The result of `speak`."""

    sent: int
    seconds: float  # from the first text's sending to the last one's arrival at the first client
    latencies: list[float]  # seconds from each text's sending to its arrival at the first client, in order


class Asked(NamedTuple):
    """The result of `ask`: requests over HTTP."""

    number: int
    seconds: float


class Crowd:
    """A process with many clients; it executes commands one at a time."""

    def __init__(self, kind: "type[Clients] | None" = None) -> None:
        """
        Args:
            kind: the class of its clients; `Clients` by default.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, kind or Clients), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def begin(self, what: str, *arguments: Any) -> Callable[[], Any]:
        """Start a command; the returned function waits for the result."""
        self._pipe.send((what, arguments))
        return self._answer

    def ask(self, what: str, *arguments: Any) -> Any:
        return self.begin(what, *arguments)()

    def _answer(self) -> Any:
        error, answer = self._pipe.recv()
        if error is not None:
            raise RuntimeError(f"in the crowd: {error}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()


@contextlib.contextmanager
def crowds(number: int, kind: "type[Clients] | None" = None) -> Iterator[list[Crowd]]:
    """Run processes of clients; their connections end with the context."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Crowd(kind)) for _ in range(number)]


def together(begun: list[Callable[[], Any]]) -> list[Any]:
    """Await the results of commands started in several crowds."""
    return [answer() for answer in begun]


# Code of the process


def _run(pipe: Connection, kind: "type[Clients]") -> None:
    raise_limit(MAX_OPEN_FILES)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(_serve(pipe, kind()))


async def _serve(pipe: Connection, clients: "Clients") -> None:
    loop = asyncio.get_running_loop()
    while True:
        asked = asyncio.Event()
        loop.add_reader(pipe.fileno(), asked.set)
        await asked.wait()
        loop.remove_reader(pipe.fileno())
        what, arguments = pipe.recv()
        try:
            async with asyncio.timeout(DEADLINE):
                pipe.send((None, await getattr(clients, what)(*arguments)))
        except Exception as error:
            pipe.send((f"{what}: {error!r}", None))


class Clients:
    """The clients of one process; its coroutines are the commands of a crowd."""

    kind: "type[Client]"

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER_BYTES))  # shared by all clients, as data is processed at once
        self.heard: Counter[str] = Counter()  # messages by type, over all clients
        self.heard_bytes: Counter[str] = Counter()
        self.heard_at = 0.0  # arrival of the last text or picture at any client
        self.latencies: list[float] = []  # seconds from a text's sending to its arrival at the first client
        self.counted = 0  # clients that have received an `nb_users`
        self.asked = 0  # answers to requests for the list of users
        self._clients: list[Client] = []
        self._first: Client | None = None
        self._news = asyncio.Event()

    async def join(self, number: int, address: Address, at_once: int) -> Joined:
        """Connect clients, `at_once` at a time; wait until each has received an `nb_users`."""
        start = time.perf_counter()
        door = asyncio.Semaphore(at_once)
        came = await asyncio.gather(*(self._connect(address, door) for _ in range(number)))
        self._clients += came
        if address.speaks_websocket:
            await self._until(lambda: self.counted >= len(self._clients))
        counts = [client.counts for client in came]
        return Joined(time.perf_counter() - start, (min(counts), max(counts)))

    async def speak(self, rate: float, seconds: float, window: int) -> Spoken:
        """Send texts from the clients in turn, `rate` per second; fewer while `window` are in flight."""
        self.latencies.clear()
        start, sent, elapsed = time.perf_counter(), 0, 0.0
        while not sent or elapsed < seconds:
            due = min(elapsed * rate + 1, len(self.latencies) + window)
            while sent < due:
                self._clients[sent % len(self._clients)].send(text())
                sent += 1
            await asyncio.sleep(0.001)
            elapsed = time.perf_counter() - start
        await self._until(lambda: len(self.latencies) >= sent)
        return Spoken(sent, time.perf_counter() - start, list(self.latencies))

    async def say(self, payload: bytes, kind: str, times: int, rate: float) -> float:
        """Send a payload from the clients in turn, `rate` per second; seconds until all clients received all."""
        awaited, start = self.heard[kind] + times * len(self._clients), time.perf_counter()
        for turn in range(times):
            await asyncio.sleep(start + turn / rate - time.perf_counter())
            self._clients[turn % len(self._clients)].send(payload)
        await self._until(lambda: self.heard[kind] >= awaited)
        return self.heard_at - start

    async def ask_at_counts(self, address: Address) -> None:
        """From now on behave like QGIS: each client requests the list of users at every `nb_users`, one by one."""
        for client in self._clients:
            client.asker = await self._asker(address)

    async def ask(self, connections: int, seconds: float, address: Address) -> Asked:
        """Request the list of users without a pause."""
        before, start = self.asked, time.perf_counter()
        askers = [await self._asker(address) for _ in range(connections)]
        for asker in askers:
            asker.ask(NEVER_DONE)
        await asyncio.sleep(seconds)
        for asker in askers:
            asker.close()
        return Asked(self.asked - before, time.perf_counter() - start)

    async def register(self, name: str) -> None:
        """Register nicknames for all clients; wait until all clients have received all of them."""
        for number, client in enumerate(self._clients):
            client.send(b'{"type":"newcomer","newcomer":"%s-%d"}' % (name.encode(), number))
        await self._until(lambda: self.heard["newcomer"] >= len(self._clients) ** 2)

    async def move(self, name: str, seconds: float) -> int:
        """Send a live position from each client once a second; returns the number of positions."""
        start, sent = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            while sent < elapsed * len(self._clients):
                number = sent % len(self._clients)
                until = int(time.time()) + 900
                self._clients[number].send(
                    b'{"type":"live_position","author":"%s-%d","x":%.7f,"y":48.8566140,"accuracy":12.5,"until":%d}'
                    % (name.encode(), number, 2 + sent / 1e6, until)
                )
                sent += 1
            await asyncio.sleep(0.005)
        return sent

    async def come_and_go(self, rate: float, seconds: float, address: Address) -> int:
        """Connect and register `rate` clients per second, each of which leaves after a second; returns their number."""
        start, here, number = time.perf_counter(), [], 0
        while (elapsed := time.perf_counter() - start) < seconds:
            if number < elapsed * rate:
                client = await self._connect(address, asyncio.Semaphore(1))
                client.send(b'{"type":"newcomer","newcomer":"passer-%d"}' % number)
                here.append(client)
                number += 1
                if len(here) > rate:
                    here.pop(0).leave()
            await asyncio.sleep(0.005)
        for client in here:
            client.leave()
        return number

    async def asked_until_now(self) -> int:
        """The number of answered requests for the list of users, over all clients."""
        return self.asked

    async def _asker(self, address: Address) -> "Asker":
        asker = Asker(self, address)
        await asyncio.get_running_loop().create_connection(lambda: asker, HOST, address.port)
        return asker

    async def until_heard(self, kind: str, number: int) -> float:
        """Wait until so many messages of a type have arrived, over all clients; returns the time of the last."""
        await self._until(lambda: self.heard[kind] >= number)
        return self.heard_at

    async def report(self) -> dict[str, tuple[int, int]]:
        """The number and bytes of messages received by all clients, by type."""
        return {kind: (number, self.heard_bytes[kind]) for kind, number in self.heard.items()}

    def hear(self, client: "Client", payload: bytes, size: int | None = None) -> None:
        """Count a received message; of a large one, `payload` is only the beginning, and `size` its length."""
        found = KIND.search(payload)
        kind = found[1].decode() if found else ""
        self.heard[kind] += 1
        self.heard_bytes[kind] += len(payload) if size is None else size
        if kind == "nb_users":
            self.counted += not client.counts
            client.counts += 1
            if client.asker is not None:
                client.asker.ask()
        else:
            self.heard_at = time.perf_counter()
            if client is self._first and (sent := SENT_AT.search(payload)):
                self.latencies.append(self.heard_at - int(sent[1]) / 1e9)
        self._news.set()

    async def _connect(self, address: Address, door: asyncio.Semaphore) -> "Client":
        client = self.kind(self, address)
        self._first = self._first or client
        async with door:
            await client.connect()
        return client

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()


class Client(asyncio.BufferedProtocol):
    """A connection: a websocket, or a bare socket that receives frames."""

    def __init__(self, clients: Clients, address: Address) -> None:
        self._all = clients
        self._address = address
        self.counts = 0  # how many `nb_users` came
        self.asker: Asker | None = None  # requests the list of users at each of them
        self.reset()

    def reset(self) -> None:
        """Prepare for connecting, or for connecting again."""
        self._is_upgraded = not self._address.speaks_websocket
        self._rest = bytearray()  # of an incomplete frame
        self._needed = 0
        self._unread = 0  # bytes of a large message that have not arrived; only its beginning is kept
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        address = self._address
        context = _trusting() if address.is_encrypted else None
        source = (address.source, 0) if address.source else None
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, HOST, address.port, ssl=context, local_addr=source)
        await self.ready

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._is_upgraded:
            self.ready.set_result(None)
        else:
            transport.write(upgrade(self._address.channel, self._address.query))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("closed before it was open"))

    def send(self, payload: bytes) -> None:
        self.transport.write(masked_frame(TEXT, payload))

    def leave(self) -> None:
        self.transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._all.buffer

    def buffer_updated(self, size: int) -> None:
        received = self._all.buffer[:size]
        if self._unread:
            come = min(size, self._unread)
            self._unread -= come
            self._large_size += come
            if self._unread:
                return
            self._all.hear(self, self._head, self._large_size)
            received, size = received[come:], size - come
        if not self._rest:
            left = self._read(received)
            self._rest += received[size - left :]
            return
        self._rest += received
        if len(self._rest) >= self._needed:
            whole, self._rest = self._rest, bytearray()
            left = self._read(memoryview(whole))
            self._rest += whole[len(whole) - left :]

    def _read(self, data: memoryview) -> int:
        """Process whole frames from the beginning; returns the number of bytes left."""
        at = 0 if self._is_upgraded else self._read_answer(data)
        size = len(data)
        while self._is_upgraded and size - at >= 2:
            start, length = at + 2, data[at + 1]
            if length >= 126:
                start += 2 if length == 126 else 8
                if size < start:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            self._needed = start + length - at
            if size - at < self._needed:
                if length <= LARGE_BYTES or size - start < HEAD_BYTES:
                    return size - at
                self._head = bytes(data[start : start + HEAD_BYTES])
                self._large_size = size - start
                self._unread = length - self._large_size
                return 0
            self._receive(data[at], bytes(data[start : start + length]))
            at = start + length
        self._needed = 0
        return size - at

    def _read_answer(self, data: memoryview) -> int:
        """Read the answer to the handshake; returns its end."""
        head, end, _ = bytes(data[:4096]).partition(b"\r\n\r\n")
        if not end:
            return 0
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"no websocket: {head[:60]!r}")
        self._is_upgraded = True
        self.ready.set_result(None)
        return len(head) + len(end)

    def _receive(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._all.hear(self, payload)
        elif opcode == PING:
            self.transport.write(masked_frame(0x8A, payload))
        elif opcode == CLOSE:
            self.transport.close()


Clients.kind = Client


class Asker(asyncio.Protocol):
    """A connection that requests the list of users, one request after the other."""

    def __init__(self, clients: Clients, address: Address) -> None:
        self._all = clients
        self._request = f"GET /channel/{quote(address.channel)}/users HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        self._due = 0
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, times: int = 1) -> None:
        if not self._due:
            self.transport.write(self._request)
        self._due += times

    def close(self) -> None:
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, end, body = self._rest.partition(b"\r\n\r\n")
        if not end or len(body) < int(LENGTH.search(head)[1]):  # type: ignore[index]  # it is always there
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"no list of users: {head[:60]!r}")
        self._rest = b""
        self._all.asked += 1
        self._due -= 1
        if self._due:
            self.transport.write(self._request)


def upgrade(channel: str, query: str = "") -> bytes:
    """The handshake's request."""
    return (
        f"GET /channel/{quote(channel)}/ws{query} HTTP/1.1\r\nHost: {HOST}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame. A mask of zero is the same work for the server, and less for the benchmark."""
    size = len(payload)
    if size < 126:
        header = struct.pack("!BB", opcode, 0x80 | size)
    elif size < 2**16:
        header = struct.pack("!BBH", opcode, 0x80 | 126, size)
    else:
        header = struct.pack("!BBQ", opcode, 0x80 | 127, size)
    return header + bytes(4) + payload


def text(author: bytes = b"jane_doe") -> bytes:
    """A typical text, with the time of sending in it."""
    at = time.perf_counter_ns()
    return b'{"type":"text","author":"%s","text":"sent at %d: the bridge on sheet 12 is gone"}' % (author, at)


@functools.cache
def _trusting() -> ssl.SSLContext:
    """A context that accepts the benchmark's self-signed certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
