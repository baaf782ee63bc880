"""A Redis server in the simulated network: connections that speak RESP 2, scripts, reads that wait.

It can be killed, which loses what was written since a moment that is kept (`appendfsync everysec`), and started again;
and flushed. Freezing it, and cutting its connections, are the loop's and the network's.
"""

import asyncio
from typing import Any

import hiredis

from tests.simulation import redis_collections  # noqa: F401 - registers its commands
from tests.simulation.loop import Loop, Process
from tests.simulation.network import Network, Transport
from tests.simulation.redis_data import OK, Data, integer
from tests.simulation.redis_scripts import Scripts
from tests.simulation.redis_streams import block_of, streams_of
from tests.simulation.redis_types import Answer, Status

EPOCH = 1_800_000_000.0  # seconds: when the simulated time begins

_scripts = Scripts()


def packed(answer: Any) -> bytes:
    """An answer as it goes over the wire."""
    kind = type(answer)
    if kind is bytes:
        return b"$%d\r\n%b\r\n" % (len(answer), answer)
    if kind is int:
        return b":%d\r\n" % answer
    if answer is None:
        return b"$-1\r\n"
    if kind is list:
        return b"*%d\r\n" % len(answer) + b"".join(map(packed, answer))
    if kind is Status:
        return b"+%b\r\n" % answer
    assert isinstance(answer, Answer), answer
    return b"-%b\r\n" % str(answer).encode()


class Client(asyncio.Protocol):
    """A connection, on the server's side. While a read waits, what comes behind it waits, too."""

    def __init__(self, server: "Server", transport: Transport) -> None:
        self.name = ""
        self.transport = transport
        self._server = server
        self._reader = hiredis.Reader()
        self._commands: list[list[bytes]] = []
        self.blocked: list[bytes] | None = None
        self._timeout: Any = None

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._commands.append(words)
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._commands.clear()
        self._unblock()

    def _go_on(self) -> None:
        answers = []
        while self._commands and self.blocked is None:
            words = self._commands.pop(0)
            answer = self._answer(words)
            if self.blocked is None:
                answers.append(packed(answer))
        if answers:
            self.transport.write(b"".join(answers))
        self._server.serve_blocked()

    def _answer(self, words: list[bytes]) -> Any:
        name = words[0].upper()
        try:
            answer = self._server.ask(self, name, words)
            if answer is None and name in (b"XREAD", b"XREADGROUP") and (wait := block_of(words)) is not None:
                self._block(words, wait / 1000)
        except Answer as error:
            return error
        return answer

    def _block(self, words: list[bytes], seconds: float) -> None:
        self.blocked = words
        self._server.blocked[self] = streams_of(words)[0]
        self._timeout = self._server.loop.call_later(seconds, self._time_out)

    def _unblock(self) -> None:
        if self.blocked is not None:
            self.blocked = None
            self._server.blocked.pop(self, None)
            self._timeout.cancel()

    def _time_out(self) -> None:
        self.finish(None)

    def finish(self, answer: Any) -> None:
        """Answers a read that has waited."""
        self._unblock()
        self.transport.write(b"*-1\r\n" if answer is None else packed(answer))
        self._go_on()


class Server:
    """One Redis, of which each start is a process of its own."""

    def __init__(self, loop: Loop, network: Network, name: str = "redis") -> None:
        self.loop = loop
        self.name = name
        self.lag = 0.0  # seconds that its clock is behind
        self.data = Data(self._milliseconds)
        self.blocked: dict[Client, list[bytes]] = {}
        self.clients: list[Client] = []
        self.commands = 0
        self.is_being_killed = asyncio.Lock()
        self._loaded: set[bytes] = set()
        self._network = network
        self.start()

    def _milliseconds(self) -> float:
        return (EPOCH + self.loop.time() - self.lag) * 1000

    def start(self) -> None:
        self.process = Process(self.name)
        self._network.listen(self.name, self.process, self._accept)

    def kill(self) -> None:
        self._network.stop_listening(self.name)
        self.loop.kill(self.process)
        self._network.lose_process(self.process)
        self.blocked.clear()
        self.clients.clear()
        self._loaded.clear()

    def _accept(self, transport: Transport) -> Client:
        client = Client(self, transport)
        self.clients.append(client)
        return client

    def ask(self, client: Client, name: bytes, words: list[bytes]) -> Any:
        self.commands += 1
        if name == b"EVALSHA":
            if words[1] not in self._loaded:
                raise Answer("NOSCRIPT No matching script. Please use EVAL.")
            return _scripts.run(self.data, words[1], integer(words[2]), words[3:])
        if name == b"EVAL":
            return _scripts.run(self.data, self._load(words[1]), integer(words[2]), words[3:])
        if name == b"SCRIPT" and words[1].upper() == b"LOAD":
            return self._load(words[2])
        if name == b"PING":
            return Status(b"PONG")
        if name == b"SELECT" and words[1] == b"0":
            return OK
        if name == b"CLIENT" and words[1].upper() == b"SETNAME":
            client.name = words[2].decode()
            return OK
        return self.data.ask(words)

    def _load(self, text: bytes) -> bytes:
        digest = _scripts.digest(text)
        self._loaded.add(digest)
        return digest

    def flush(self) -> None:
        self.process.context.run(self._flush)

    def _flush(self) -> None:
        self.data.flush()
        self.serve_blocked()

    def serve_blocked(self) -> None:
        """Answers the reads that wait for what has come, in the order in which they began."""
        while touched := self.data.touched:
            self.data.touched = set()
            for client, keys in list(self.blocked.items()):
                if client.blocked is not None and not touched.isdisjoint(keys):
                    try:
                        answer = self.data.ask(client.blocked)
                    except Answer as error:
                        answer = error
                    if answer is not None:
                        client.finish(answer)
