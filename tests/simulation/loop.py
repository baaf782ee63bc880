"""An event loop of many processes in one: virtual time, and a seeded order of everything that happens.

Everything that runs belongs to a `Process`, named by its context: a task and whatever it starts belong to the process
that began it. Within a process callbacks run in the order in which asyncio runs them. Between processes, and between
what arrives over different connections, the order is drawn. A process can be frozen (nothing of it runs, while time
passes and its connections fill) and killed (nothing of it ever runs again).
"""

import asyncio
import atexit
import contextlib
import gc
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

Callback = Callable[..., object]
MAX_TURNS = 1_000_000  # a hundred times as many as a world takes
COLLECT_EVERY = 4  # worlds
LAST_AWAITS = 20  # of one task, when it is closed


class Process:
    """Something that runs by itself, and can be frozen and killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_frozen = False
        self.is_dead = False
        self.ready: deque[Handle] = deque()
        self.arrived: list[Handle] = []  # while it was frozen: what its connections brought …
        self.due: list[Handle] = []  # … and timers
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name


PROCESS: ContextVar[Process] = ContextVar("process")


class Handle:
    """A callback that is to run."""

    __slots__ = ("_when", "arguments", "callback", "context", "is_arrival", "is_cancelled", "process")

    def __init__(self, callback: Callback, arguments: tuple[Any, ...], context: Context, when: float) -> None:
        self.callback: Callback | None = callback
        self.arguments = arguments
        self.context = context
        self.process: Process = context[PROCESS]
        self.is_cancelled = False
        self.is_arrival = False
        self._when = when

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback, self.arguments = None, ()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class Task(asyncio.Task[Any]):
    """A task whose place in a set, as a `TaskGroup` has one, is the same in every process."""

    def __init__(self, number: int, *arguments: Any, **options: Any) -> None:
        self._number = number
        super().__init__(*arguments, **options)

    def __hash__(self) -> int:
        return self._number


class Loop(asyncio.AbstractEventLoop):
    """Runs until a coroutine ends; that of the process `world`, which is never frozen."""

    closed = 0  # so many worlds in this process

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.world = Process("world")
        self.faults: list[dict[str, Any]] = []  # what nobody was there to catch
        self.turns = 0
        self._now = 0.0
        self._timers: list[tuple[float, int, Handle]] = []
        self._number = 0
        self._runnable: dict[Process, None] = {}
        self._is_closed = False
        self._kept: list[
            asyncio.Task[Any]
        ] = []  # tasks of killed processes must not be collected: they would be closed

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callback, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, context or copy_context(), self._now)
        if not handle.process.is_dead and not self._is_closed:
            handle.process.ready.append(handle)
            self._runnable[handle.process] = None
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callback, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, context or copy_context(), when)
        if self._is_closed:
            return handle
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def call_later(self, delay: float, callback: Callback, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task = Task(len(self._kept), coro, loop=self, name=name, context=context)
        self._kept.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._is_closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_closed:
            self.faults.append(context)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return await self.network.connect(protocol_factory, host)

    network: Any  # see network.py

    # What a simulation asks of it

    def arrive_at(self, when: float, process: Process, callback: Callback, *args: Any) -> None:
        """Has something happen to a process from outside: its connections bring it."""
        handle: Handle = self.call_at(when, callback, *args, context=process.context)
        handle.is_arrival = True

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begins a process' work."""
        return process.context.run(self.create_task, work)

    def freeze(self, process: Process) -> None:
        process.is_frozen = True

    def thaw(self, process: Process) -> None:
        """What came meanwhile comes first, or the timers that are due do: libuv and asyncio differ in that."""
        process.is_frozen = False
        late = [process.arrived, process.due]
        if self.dice.random() < 0.5:
            late.reverse()
        for handles in late:
            process.ready += handles
            handles.clear()
        if process.ready:
            self._runnable[process] = None

    def kill(self, process: Process) -> None:
        process.is_dead = True
        for handles in (process.ready, process.arrived, process.due):
            handles.clear()

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Runs the world to its end."""
        asyncio._set_running_loop(self)
        gc.disable()
        try:
            task = self.start(self.world, main)
            while not task.done():
                self._turn()
            return task.result()
        finally:
            self._is_closed = True
            self.world.context.run(self._close_all)
            asyncio._set_running_loop(None)

    def _close_all(self) -> None:
        """Ends what has not ended."""
        complain, sys.unraisablehook = sys.unraisablehook, lambda _: None
        for task in self._kept:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            for _ in range(LAST_AWAITS):
                with contextlib.suppress(RuntimeError):  # it awaits something once more
                    task.get_coro().close()  # type: ignore[union-attr]
                    break
            if task.done() and not task.cancelled():
                task.exception()
        self._kept.clear()
        self._timers.clear()
        sys.unraisablehook = complain
        Loop.closed += 1
        if Loop.closed % COLLECT_EVERY == 0:
            collect_garbage()

    def _turn(self) -> None:
        """Runs what one process has to do now; where none has, time passes."""
        runnable = self._runnable
        if not runnable:
            self._pass_time()
            return
        process = next(iter(runnable)) if len(runnable) == 1 else self.dice.choice(list(runnable))
        self.turns += 1
        assert self.turns < MAX_TURNS, f"{process} goes round and round"
        ready = process.ready
        for _ in range(len(ready)):
            if process.is_frozen or process.is_dead:
                break
            handle = ready.popleft()
            if handle.callback is not None:
                try:
                    handle.context.run(handle.callback, *handle.arguments)
                except Exception as error:
                    self.call_exception_handler({"message": "a callback failed", "exception": error})
        if not ready or process.is_frozen or process.is_dead:
            del runnable[process]

    def _pass_time(self) -> None:
        """Moves the clock to the next timer, and lets everything happen that is due then."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        assert self._timers, "nothing is left that could happen"
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            _, _, handle = heapq.heappop(self._timers)
            process = handle.process
            if handle.is_cancelled or process.is_dead:
                continue
            if process.is_frozen:
                (process.arrived if handle.is_arrival else process.due).append(handle)
            else:
                process.ready.append(handle)
                self._runnable[process] = None


@atexit.register
def collect_garbage() -> None:
    """Collects the worlds' garbage. Only this does: elsewhere each of their generators would complain of its end."""
    complain, sys.unraisablehook = sys.unraisablehook, lambda _: None
    gc.collect()
    sys.unraisablehook = complain


async def until(holds: Callable[[], object], within: float) -> bool:
    """Waits for what can only be looked at; whether it came to hold in time."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + within
    while not holds():
        if loop.time() >= ends:
            return False
        await asyncio.sleep(0.05)
    return True
