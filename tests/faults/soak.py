"""A soak test of all faults in random order: `python -m tests.faults.soak --seconds 600 --seed 1`.

Prints a ledger; the exit status is 1 if a message was lost, duplicated or out of order, or if counts or lists of users
are wrong.
"""

import argparse
import asyncio
import dataclasses
import functools
import itertools
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults.scene import CHANNEL, Scene
from tests.support.ledger import Ledger
from tests.support.peers import Guest
from tests.support.processes import Process, Stack
from tests.support.proxy import Proxy, everyone, named
from tests.support.redis_servers import Server

CALM_MESSAGES = 15  # between two faults
VISITORS = 3  # at a time
PAUSE = 0.6  # seconds at most between a talker's bursts, which bounds the traffic


class Soak:
    """The faults, and the numbers injected."""

    def __init__(self, scene: Scene, server: Server, proxy: Proxy, dice: random.Random) -> None:
        self.injected: Counter[str] = Counter()
        self._scene = scene
        self._server = server
        self._proxy = proxy
        self._dice = dice
        # Weights: faults that take long are rare.
        self._faults: dict[Callable[[], Awaitable[None]], int] = {
            self.worker_killed: 6,
            self.workers_rolled: 3,
            self.worker_frozen: 2,
            self.front_killed: 2,
            self.front_stopped: 2,
            self.front_frozen: 2,
            self.redis_killed: 3,
            self.redis_emptied: 2,
            self.redis_flushed: 3,
            self.redis_frozen: 2,
            self.connections_cut: 6,
            self.network_swallowed: 2,
            self.front_deafened: 2,
            self.everything_killed: 1,
            self.guests_moved: 4,
            self.visitors_changed: 4,
        }
        self._visitors: list[Guest] = []
        self._visits = itertools.count()

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        faults, weights = list(self._faults), list(self._faults.values())
        while time.monotonic() < end:
            (fault,) = self._dice.choices(faults, weights)
            name = fault.__name__.replace("_", " ")
            self.injected[name] += 1
            print(f"{end - time.monotonic():5.0f} s left, {len(self._scene.ledger.sent)} sent: {name}", file=sys.stderr)
            await fault()
            await self._scene.flow(CALM_MESSAGES)

    async def worker_killed(self) -> None:
        self._dice.choice(self._scene.stack.workers).kill()

    async def workers_rolled(self) -> None:
        for worker in self._scene.stack.workers:
            await self._stop(worker)

    async def worker_frozen(self) -> None:
        await self._freeze(self._dice.choice(self._scene.stack.workers), self._dice.uniform(1, 8))

    async def front_killed(self) -> None:
        self._dice.choice(self._scene.stack.fronts).kill()

    async def front_stopped(self) -> None:
        await self._stop(self._dice.choice(self._scene.stack.fronts))

    async def front_frozen(self) -> None:
        await self._freeze(self._dice.choice(self._scene.stack.fronts), self._dice.uniform(1, 12))

    async def redis_killed(self) -> None:
        self._server.kill()
        await asyncio.sleep(self._dice.uniform(0, 5))
        self._server.start()

    async def redis_emptied(self) -> None:
        self._server.kill()
        self._server.forget()
        await asyncio.sleep(self._dice.uniform(0, 2))
        self._server.start()

    async def redis_flushed(self) -> None:
        self._server.client.flushall()

    async def redis_frozen(self) -> None:
        await self._freeze(self._server, self._dice.uniform(0.5, 8))

    async def connections_cut(self) -> None:
        share = self._dice.random()
        self._proxy.cut(lambda link: self._dice.random() < share)

    async def network_swallowed(self) -> None:
        direction = self._dice.choice(["to_server", "to_client"])
        self._proxy.swallow(**{direction: everyone})
        await asyncio.sleep(self._dice.uniform(0.5, 7))
        if self._dice.random() < 0.5:
            self._proxy.cut()
        self._proxy.heal()

    async def front_deafened(self) -> None:
        self._proxy.swallow(to_client=named("gischat-subscriber"))
        await asyncio.sleep(self._dice.uniform(1, 14))
        self._proxy.heal()

    async def everything_killed(self) -> None:
        for process in (*self._scene.stack.processes, self._server):
            process.kill()
        self._server.start()

    async def guests_moved(self) -> None:
        """Some clients lose their connection, and reconnect to another front under their nickname."""
        for guest in self._scene.guests:
            if guest.session is not None and self._dice.random() < 0.5:
                guest.move()

    async def visitors_changed(self) -> None:
        """The visitors leave for good, and as many others join."""
        while self._visitors:
            await self._scene.leave(self._visitors.pop())
        for _ in range(VISITORS):
            number = next(self._visits)
            visitor = self._scene.peer(Guest, f"visitor-{number}", front=number % 2, ledger=Ledger())
            self._visitors.append(visitor)
        await self._scene.enter(*self._visitors)

    async def _stop(self, process: Process) -> None:
        process.terminate()
        await asyncio.to_thread(process.ends_within, 15)

    async def _freeze(self, process: Process, seconds: float) -> None:
        process.freeze()
        await asyncio.sleep(seconds)
        process.wake()


async def soak(seconds: float, seed: str, directory: Path) -> int:
    dice = random.Random(seed)
    with Server(directory / "valkey", appendfsync="everysec") as server:
        async with Proxy(server.port) as proxy:
            stack = Stack(directory, proxy.url, fronts=2, light=2, heavy=2, channels=CHANNEL)
            scene = Scene(stack, server.client, dice)
            async with scene:
                await scene.talk(talkers=6, guests=4, large_photos=0.02, pause=PAUSE)
                run = Soak(scene, server, proxy, dice)
                await run.run(seconds)
                return await report(scene, run)


async def report(scene: Scene, run: Soak) -> int:
    """Print the ledger; returns the exit status."""
    for check in (functools.partial(scene.settle, may_have_gaps=True), scene.no_ghosts):
        try:
            await check()
        except AssertionError as error:
            print(error)
    balance = scene.ledger.balance()
    for name, closings in ((peer.name, Counter(peer.closings)) for peer in scene.peers):
        print(f"{name} lost its connection {sum(closings.values())} times, with {dict(closings)}")
    print("\nfaults injected")
    for name, times in sorted(run.injected.items()):
        print(f"  {name:24}{times:6}")
    print("\nledger")
    for line in str(balance).split(", "):
        name, _, number = line.rpartition(" ")
        print(f"  {name:24}{number:>6}")
    people = len(scene.peers)
    print(f"  {'people':24}{people:6}")
    told = await scene.told()
    for url, (number, names) in zip(scene.urls, told, strict=True):
        print(f"  {url} tells of {number} people; names: {dataclasses.asdict(names)}")
    ends = {name: codes for name, codes in scene.keeper.ends.items() if codes}
    print(f"\nexit statuses of processes: {json.dumps(ends)}")
    is_balanced = not (balance.lost or balance.duplicated or balance.out_of_order or balance.contradicted)
    is_right = is_balanced and all(number == people and names.are_right for number, names in told)
    return 0 if is_right else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--keep", type=Path, help="a directory for the processes' logs, to be kept")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that no process is left running
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(soak(given.seconds, given.seed, given.keep))
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(soak(given.seconds, given.seed, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
