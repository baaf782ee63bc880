"""The programs of an instance, as supervisord runs them: the real ones, but for what touches the machine.

In place of a front's HTTP server stands `sockets.FrontServer`, in place of the heavy lane's child process one that
takes virtual time.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from gischat.broker import bodies, scripts
from gischat.broker.entries import Job
from gischat.commands.front import serve
from gischat.front.services import Services
from gischat.protocol.messages import Lane
from gischat.protocol.parsing import MessageParser
from gischat.protocol.schemas import schemas
from gischat.settings import Settings
from gischat.timings import Timings
from tests.simulation import sockets
from tests.simulation.loop import PROCESS, Loop, Process
from tests.simulation.network import Network
from tests.simulation.redis_scripts import short_name
from tests.simulation.redis_server import EPOCH
from worker.__main__ import work
from worker.attempts import Attempt
from worker.effects import Publish

STOP_SECONDS = 20.0  # after which supervisord ends one that was told to stop
START_SECONDS = 0.7


PLACE = b'["position",0,[]]'


class Sandbox:
    """In place of the heavy lane's: the picture is as it is, after a while."""

    def __init__(self, **_: object) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, function: object, type: str, body: bytes, *_: object, **__: object) -> Attempt:
        seconds = asyncio.get_running_loop().dice.expovariate(4)  # type: ignore[attr-defined]
        await asyncio.sleep(seconds)
        return Attempt(Publish(body, place=PLACE if type == "geojson" else b""), seconds)


class Placer:
    """In place of the light lane's: some CRS are known, some are looked up for a while, and some places are found."""

    def __init__(self, _: object) -> None: ...

    def now(self, job: Job, effect: Publish) -> Publish | None:
        dice = asyncio.get_running_loop().dice  # type: ignore[attr-defined]
        return replace(effect, place=dice.choice([b"", PLACE])) if dice.random() < 0.5 else None

    async def later(self, job: Job, effect: Publish) -> Publish:
        await asyncio.sleep(asyncio.get_running_loop().dice.expovariate(4))  # type: ignore[attr-defined]
        return replace(effect, place=PLACE)


class Program:
    """A program that is started again whenever it ends."""

    def __init__(
        self, loop: Loop, network: Network, name: str, main: Callable[[asyncio.Event], Awaitable[None]]
    ) -> None:
        self.name = name
        self.ends: list[str] = []  # how it has ended
        self.process: Process
        self._loop = loop
        self._network = network
        self._main = main

    async def keep(self) -> None:
        while True:
            self.process = Process(self.name)
            self._stop = asyncio.Event()
            self._run = self._loop.start(self.process, self._end_well())  # type: ignore[arg-type]
            self._ended: asyncio.Future[str] = self._loop.create_future()
            self.ends.append(await self._ended)
            self._loop.kill(self.process)
            self._network.stop_listening(self.name)
            self._network.lose_process(self.process)
            await asyncio.sleep(self._loop.dice.uniform(0.1, START_SECONDS))

    async def _end_well(self) -> None:
        try:
            await self._main(self._stop)
        except Exception as error:
            self._end(f"failed: {_told(error)}")
        else:
            self._end("stopped")

    def _end(self, how: str) -> None:
        # In the world's name: this process is about to be no more.
        self._loop.world.context.run(self._set_ended, how)

    def _set_ended(self, how: str) -> None:
        if not self._ended.done():
            self._ended.set_result(how)

    def kill(self) -> None:
        self._loop.kill(self.process)
        self._set_ended("killed")

    async def stop(self) -> None:
        """Tells it to stop; one that does not in time is killed."""
        ended = self._ended
        self.process.context.run(self._stop.set)
        await asyncio.wait([ended], timeout=STOP_SECONDS)
        if not ended.done():
            self.kill()


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(map(_told, error.exceptions))
    return repr(error)


# Once, not for each process of each seed
_read = functools.cache(scripts._read)
_schemas = functools.cache(schemas)
_parser = functools.cache(MessageParser)
_make_script = scripts._script


@functools.cache
def _script(name: str, limits: str, read: Callable[[str], str]) -> scripts.Script:
    """The real script, under its real digest, but for what goes over the wire each time that a Redis is given it."""
    script = _make_script(name, limits)
    return replace(script, parts=(short_name(script.digest, script.text),))


def front(settings: Settings, timings: Timings) -> Callable[[asyncio.Event], Awaitable[None]]:
    return lambda stop: serve(settings, timings, stop)


def worker(settings: Settings, timings: Timings, lane: Lane) -> Callable[[asyncio.Event], Awaitable[None]]:
    return lambda stop: work([lane], settings.process_name, settings, timings, stop)


@contextlib.contextmanager
def no_machine(loop: Loop, network: Network, fronts: dict[str, Services], *, on_one_machine: bool) -> Iterator[None]:
    """Clocks and chance are the loop's; nothing reaches the machine."""
    dice = loop.dice
    processes: list[Process] = []

    def identity() -> str:
        processes.append(PROCESS.get())
        return str(len(processes) - 1)

    def is_gone(other: str) -> bool:
        process = processes[int(other)]
        return on_one_machine and process.is_dead

    def application(front: Services) -> Services:
        fronts[front.settings.process_name] = front
        return front

    def token_hex(size: int = 32) -> str:
        return f"{dice.getrandbits(8 * size):0{2 * size}x}"

    replaced: dict[str, Any] = {
        "gischat.broker.scripts._read": _read,
        "gischat.broker.scripts._script": functools.partial(_script, read=_read),
        "gischat.broker.bodies.Bodies.limits": bodies.Limits(inline=300, chunk=100),  # layers are large
        "gischat.front.services.MessageParser": _parser,
        "gischat.front.dispatch.dispatcher.schemas": _schemas,
        "time.monotonic": loop.time,
        "time.time": lambda: EPOCH + loop.time(),
        "secrets.token_hex": token_hex,
        "gc.freeze": lambda: None,
        "gischat.front.app.application": application,
        "gischat.front.app.FrontHTTPServer": sockets.FrontServer,
        "gischat.front.app.bind_sockets": lambda *_, **__: [],
        "gischat.front.app.raise_nofile_limit": lambda _: None,
        "gischat.front.transport.tcp_info._in_kernel": lambda _: 0,
        "gischat.front.transport.tcp_info._acknowledged": lambda _: 0,
        "gischat.front.transport.tcp_info._retransmits": lambda _: 0,
        "gischat.broker.presence.identity": identity,
        "gischat.broker.presence.is_gone": is_gone,
        "worker.__main__.Sandbox": Sandbox,
        "worker.__main__.Placer": Placer,
        "tests.support.peers.connect": sockets.connect,
    }
    with ExitStack() as stack:
        for name, replacement in replaced.items():
            stack.enter_context(patch(name, replacement))
        stack.enter_context(patch.object(sockets.FrontServer, "loop", loop, create=True))
        stack.enter_context(patch.object(sockets.FrontServer, "network", network, create=True))
        stack.enter_context(patch.object(sockets.connect, "network", network, create=True))
        yield
