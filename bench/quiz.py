"""A quiz: all clients of a room answer within five seconds, in several rounds, and receive all answers.

A load generator that reads each text of each client cannot handle two hundred texts a second to a thousand clients. So
only a few clients, whose delays are measured, read at once; the others read their sockets ten times a second.
"""

import asyncio
import contextlib
import os
import random
import re
import time
import zlib

from bench.crowd import Client, Clients, crowds, text, together
from bench.house import Ground

ROUND_SECONDS = 5.0
CROWDS = 2
AT_ONCE = 200
WATCHED = 50  # every 50th client reads at once
LOOK_SECONDS = 0.1  # between two reads of the others: the data of this time fits into their sockets' buffers
READ_BYTES = 2**18
ANSWER = re.compile(rb'"author":"([^"]+)"[^{}]*"sent at (\d+):')


class Disordered(Exception):
    """Clients received the answers in different orders, or an author's answers not in the order of sending."""


class Candidate:
    """A client that answers, and receives all answers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.descriptor: int = client.transport.get_extra_info("socket").fileno()
        self.heard = 0
        self.order = 0  # a digest of the received answers, in the order of arrival
        self.delays: list[float] = []
        self.is_ordered = True
        self._latest: dict[bytes, int] = {}  # the sending time of each author's last received answer
        self._rest = b""  # an incomplete answer
        client.transport.pause_reading()  # `read` reads the socket from now on

    def read(self, *, is_watched: bool = False) -> None:
        with contextlib.suppress(BlockingIOError):
            come = self._rest + os.read(self.descriptor, READ_BYTES)
            whole, end, rest = come.rpartition(b"}")
            self._rest = rest if end else come
            found = ANSWER.findall(whole)
            self.heard += len(found)
            self.order = zlib.crc32(b"".join(sent for _, sent in found), self.order)
            if is_watched:
                self._look_at(found)

    def _look_at(self, found: list[tuple[bytes, bytes]]) -> None:
        now = time.perf_counter()
        for author, sent in found:
            self.delays.append(now - int(sent) / 1e9)
            self.is_ordered &= self._latest.get(author, 0) < int(sent)
            self._latest[author] = int(sent)


class Candidates(Clients):
    """The candidates of one process."""

    async def begin(self) -> None:
        """Turn the clients into candidates, which do not answer pings."""
        self._candidates = [Candidate(client) for client in self._clients]
        self._watched = self._candidates[::WATCHED]
        loop = asyncio.get_running_loop()
        for watched in self._watched:
            loop._add_reader(watched.descriptor, lambda one=watched: one.read(is_watched=True))  # type: ignore[attr-defined]
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Read the sockets of the candidates that do not read at once, spread over time."""
        others = [one for one in self._candidates if one not in self._watched]
        while True:
            for number, one in enumerate(others):
                one.read()
                if not number % WATCHED:
                    await asyncio.sleep(LOOK_SECONDS * WATCHED / len(others))
            self._news.set()

    async def answer(self, seed: int) -> None:
        """Let each client answer once, at a random time within a round."""
        start, chance = time.perf_counter(), random.Random(seed)
        turns = sorted((chance.uniform(0, ROUND_SECONDS), number) for number in range(len(self._clients)))
        for at, number in turns:
            if (early := start + at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            self._clients[number].send(text(b"candidate-%d-%d" % (os.getpid(), number)))
        await asyncio.sleep(start + ROUND_SECONDS - time.perf_counter())

    async def heard_all(self, answers: int) -> tuple[list[float], set[int]]:
        """Wait until each client has received `answers` answers.

        Returns:
            the delays in seconds, and the digests of the orders in which the clients received them.

        Raises:
            Disordered: a client received an author's answers in a wrong order, or too many.
        """
        await self._until(lambda: all(one.heard >= answers for one in self._candidates))
        if not all(one.is_ordered and one.heard == answers for one in self._candidates):
            raise Disordered
        delays = [delay for one in self._watched for delay in one.delays]
        return delays, {one.order for one in self._candidates}


def play(ground: Ground, people: int, rounds: int) -> tuple[list[float], float]:
    """Run a quiz.

    Returns:
        the delays of answers in seconds, and the house's CPU seconds for all deliveries.

    Raises:
        RuntimeError: a client did not receive all answers.
        Disordered: clients received the answers in different orders.
    """
    with ground.house(heavy=0, ws_ping_interval=0) as house, crowds(CROWDS, Candidates) as both:
        together([crowd.begin("join", people // CROWDS, house.address, AT_ONCE) for crowd in both])
        together([crowd.begin("begin") for crowd in both])
        with house.cpu() as cpu:
            for number in range(rounds):
                begun = enumerate(both, CROWDS * number)
                together([crowd.begin("answer", seed) for seed, crowd in begun])
            heard = together([crowd.begin("heard_all", rounds * people) for crowd in both])
    if len({order for _, orders in heard for order in orders}) != 1:
        raise Disordered
    return [delay for some, _ in heard for delay in some], sum(cpu.values())
