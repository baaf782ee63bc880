"""A Redis server in the simulated network: connections that speak RESP 2, scripts, reads that wait.

It can be killed, started again and flushed, and loses what was written since a moment that is kept (`appendfsync
everysec`). Freezing it, and cutting its connections, are the loop's and the network's.

It answers as a real one does, which the maintained models do not: fakeredis gives new entries ids of removed ones, and
ignores RETRYCOUNT, which gischat relies on.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from tests.simulation.loop import Loop, Process
from tests.simulation.network import Network, Transport
from tests.simulation.redis_collections import Collections
from tests.simulation.redis_scripts import Scripts
from tests.simulation.redis_streams import Read, Streams
from tests.simulation.redis_types import OK, Answer, Status, integer

EPOCH = 1_800_000_000.0  # seconds: when the simulated time begins
READS = (b"XREAD", b"XREADGROUP")

_scripts = Scripts()


class Data(Collections, Streams):
    """A Redis' keys and commands: only those that gischat uses, and in no other form.

    Answers are ints, bytes, None, lists of them, `Status`. The test of this model asks a real Valkey the same.
    """

    def ask(self, words: Sequence[bytes]) -> Any:
        """Carry a command out.

        Raises:
            Answer: an error.
        """
        return COMMANDS[words[0]](self, *words[1:])


COMMANDS = {name[3:].upper().encode(): getattr(Data, name) for name in dir(Data) if name.startswith("do_")}


def packed(answer: Any) -> bytes:
    """An answer as it goes over the wire."""
    parts: list[bytes] = []
    _pack(answer, parts.append)
    return b"".join(parts)


def _pack(answer: Any, add: Callable[[bytes], object]) -> None:
    kind = type(answer)
    if kind is bytes:
        add(b"$%d\r\n%b\r\n" % (len(answer), answer))
    elif kind is int:
        add(b":%d\r\n" % answer)
    elif answer is None:
        add(b"$-1\r\n")
    elif kind is list:
        add(b"*%d\r\n" % len(answer))
        for one in answer:
            _pack(one, add)
    elif kind is Status:
        add(b"+%b\r\n" % answer)
    else:
        assert isinstance(answer, Answer), answer
        add(b"-%b\r\n" % str(answer).encode())


class Client(asyncio.Protocol):
    """A connection, on the server's side. While a read waits, what comes behind it waits, too."""

    def __init__(self, server: "Server", transport: Transport) -> None:
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
            answer = self._answer(self._commands.pop(0))
            if self.blocked is None:
                answers.append(packed(answer))
        if answers:
            self.transport.write(b"".join(answers))
        self._server.serve_blocked()

    def _answer(self, words: list[bytes]) -> Any:
        try:
            answer = self._server.ask(words)
            if answer is None and words[0] in READS and (wait := Read.of(words).block) is not None:
                self._block(words, wait / 1000)
        except Answer as error:
            if str(error).startswith("ERR"):  # gischat asks nothing wrong
                self._server.loop.call_exception_handler({"message": f"redis was asked {words}", "exception": error})
            return error
        return answer

    def _block(self, words: list[bytes], seconds: float) -> None:
        self.blocked = words
        self._server.blocked[self] = [key for key, _ in Read.of(words).streams]
        self._timeout = self._server.loop.call_later(seconds, self.finish, None)

    def _unblock(self) -> None:
        if self.blocked is not None:
            self.blocked = None
            self._server.blocked.pop(self, None)
            self._timeout.cancel()

    def finish(self, answer: Any) -> None:
        """Answer a read that has waited."""
        self._unblock()
        self.transport.write(b"*-1\r\n" if answer is None else packed(answer))
        self._go_on()


class Server:
    """One Redis, of which each start is a process of its own."""

    def __init__(self, loop: Loop, network: Network) -> None:
        self.loop = loop
        self.lag = 0.0  # seconds that its clock is behind
        self.data = Data(lambda: (EPOCH + loop.time() - self.lag) * 1000)
        self.blocked: dict[Client, list[bytes]] = {}
        self.clients: list[Client] = []
        self.is_being_killed = asyncio.Lock()
        self._loaded: set[bytes] = set()
        self._network = network
        self.start()

    def start(self) -> None:
        self.process = Process("redis")
        self._network.listen("redis", self.process, self._accept)

    def kill(self) -> None:
        self._network.stop_listening("redis")
        self.loop.kill(self.process)
        self._network.lose_process(self.process)
        self.blocked.clear()
        self.clients.clear()
        self._loaded.clear()

    def _accept(self, transport: Transport) -> Client:
        client = Client(self, transport)
        self.clients.append(client)
        return client

    def ask(self, words: list[bytes]) -> Any:
        match words:
            case b"EVALSHA", digest, count, *arguments:
                if digest not in self._loaded:
                    raise Answer("NOSCRIPT No matching script. Please use EVAL.")
                return _scripts.run(self.data.ask, digest, integer(count), arguments)
            case b"EVAL", text, count, *arguments:
                return _scripts.run(self.data.ask, self._load(text), integer(count), arguments)
            case b"SCRIPT", b"LOAD", text:
                return self._load(text)
            case (b"PING",):
                return Status(b"PONG")
            case (b"SELECT", b"0") | (b"CLIENT", b"SETNAME", _):
                return OK
        return self.data.ask(words)

    def _load(self, text: bytes) -> bytes:
        digest = _scripts.digest(text)
        self._loaded.add(digest)
        return digest

    def flush(self) -> None:
        self.data.flush()
        self.process.context.run(self.serve_blocked)

    def serve_blocked(self) -> None:
        """Answer the reads that wait for what has come, in the order in which they began."""
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
