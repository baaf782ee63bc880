"""One child process that runs functions with their time and memory bounded.

The heavy lane computes here, so that a decompression bomb, a hang or a segmentation fault in a C library costs this
child and never the worker, whose event loop goes on meanwhile. It bounds accidents and rude input; it is no wall
against code that an attacker has got to run.

    SandboxError
        TimedOut        the function took more than `seconds` of the processor's time, or by far too long by the clock
        OutOfMemory     the function needed more than `memory`
        Crashed         the child died of something else: a signal, an exit

    StartFailed         the child did not get ready
    Failed              the function raised what cannot travel between processes

Each SandboxError costs the child, and the next run starts a fresh one. What the function itself raises comes out of
`run` as it was, with the child's traceback as a note. The last two are ours to mend.

Why not a library: concurrent.futures.ProcessPoolExecutor has no time limit and cannot end a job. Pebble's pool can, but
gives a child that is stuck in C code three seconds more, polls its clock and its children from three threads, and
knows neither a limit of memory nor the death of its parent. Both take 20 to 27 ms to carry 5 MB there and back; this
takes 11.

Why processor time: beside other load a photo takes ten times as long as on an idle machine, and is as honest. The
clock bounds only what does not compute: a child that hangs, or gets next to nothing of the processor. Why the parent
looks at the child's processor time and does not leave it to the kernel: RLIMIT_CPU counts whole seconds and from the
child's start, ITIMER_PROF counts ticks (on a busy machine it came up to a sixth too early).
"""

import asyncio
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from worker.sandbox_child import HEADER, OutOfMemory, SandboxedFailure, SandboxError

__all__ = ["Crashed", "OutOfMemory", "Sandbox", "SandboxError", "SandboxedFailure", "StartFailed", "TimedOut"]

P = ParamSpec("P")
T = TypeVar("T")

# So long may a run take by the clock: with a sixth of a core. Beside four programs that never rest, on two cores, it
# gets a seventh of one (see `worker.sandbox_child`), which is enough for all but the worst picture of a slow machine.
WALL_FACTOR = 6
_WALL_STEPS = 10
_MIN_LOOK_SECONDS = 0.01
_START_SECONDS = 180  # only a child that hangs is not ready by then
_CHILD = "from worker.sandbox_child import serve; serve()"
_ROOT = str(Path(__file__).parents[1])
_CPUCLOCK_SCHED = 2  # with the process' id, as clock_getcpuclockid(3) of Linux puts them together


class TimedOut(SandboxError):
    """The function took longer than its time limits."""


class Crashed(SandboxError):
    """The child died before it answered."""


class StartFailed(Exception):
    """The child did not get ready; if an import failed, the text is its traceback."""


class Sandbox:
    """Runs one function at a time in a child process of its own; further calls wait their turn.

    `seconds` of processor time per run; `wall_seconds` by the clock, WALL_FACTOR times as many if not given; `memory`
    in bytes of the child's address space (not enforced on macOS); `preload` names the modules that a child imports
    before its first run.
    """

    def __init__(
        self, *, seconds: float, wall_seconds: float | None = None, memory: int, preload: Sequence[str] = ()
    ) -> None:
        self._seconds = seconds
        self._wall_seconds = WALL_FACTOR * seconds if wall_seconds is None else wall_seconds
        self._memory = memory
        self._preload = preload
        self._child: _Child | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Has a child ready, so that the first run does not wait for its imports."""
        async with self._turn:
            await self._ready()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what the function returns or raises what it raises, or a SandboxError.

        The function is found by its module and name, as pickle does; arguments and result are pickled.
        Cancelling the call ends the child.
        """
        request = pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
        async with self._turn:
            child = await self._ready()
            outcome, value = pickle.loads(
                await self._within(self._seconds, self._wall_seconds, child, child.ask(request))
            )
            if outcome is OutOfMemory:
                await self._discard()  # its heap is full and in pieces
        if outcome is not None:
            raise value
        result: T = value
        return result

    async def close(self) -> None:
        """Ends the child, after the run that is under way; a later run is a RuntimeError. May be repeated."""
        self._closed = True
        async with self._turn:
            await self._discard()

    async def _ready(self) -> "_Child":
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        if self._child is None:
            try:
                self._child = _Child(self._memory, self._preload)
                complaint = await self._within(math.inf, _START_SECONDS, self._child, self._child.greeting())
            except (SandboxError, OSError) as error:  # of the system's: no memory, no process, no file left
                raise StartFailed(str(error)) from None
            if complaint:
                await self._discard()
                raise StartFailed(complaint.decode())
        return self._child

    async def _within(
        self, seconds: float, wall_seconds: float, child: "_Child", answer: Coroutine[Any, Any, bytearray]
    ) -> bytearray:
        """The child's answer; without one, for whatever reason, the child is gone."""
        answering = asyncio.create_task(answer)
        try:
            since, wall_left = child.cpu_seconds(), wall_seconds
            while wall_left > 0:
                left = seconds - (child.cpu_seconds() - since)
                if left <= 0:
                    raise TimedOut(f"took more than {seconds:g} seconds of the processor's time")
                step = min(max(left, _MIN_LOOK_SECONDS), wall_seconds / _WALL_STEPS)
                await asyncio.wait([answering], timeout=step)
                if answering.done():
                    return answering.result()
                wall_left -= step  # however late it is now: this process may have been frozen, or the machine asleep
            raise TimedOut(f"took longer than {wall_seconds:g} seconds")
        except (EOFError, OSError):
            raise Crashed(_describe(await self._discard(answering))) from None
        except BaseException:
            await self._discard(answering)
            raise

    async def _discard(self, answering: "asyncio.Task[bytearray] | None" = None) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        child.kill()
        if answering is not None:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)  # the loop lets go of the socket
        return await child.reaped()


class _Child:
    """The parent's side of one child process: asks, listens, ends."""

    def __init__(self, memory: int, preload: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            arguments = map(str, (theirs.fileno(), memory, os.getpid()))
            self._process = subprocess.Popen(
                # It is given all paths and need not look for them (-S): a third of what an interpreter takes to start.
                [sys.executable, "-S", "-P", "-c", _CHILD, *arguments, *preload],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, [*sys.path, _ROOT]))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # a terminal's Ctrl-C and a supervisor's signals are for the worker to act on
            )

    async def greeting(self) -> bytearray:
        """Empty when the child is ready, else why it is not. Raises EOFError or OSError when it goes away."""
        return await self._receive_frame()

    async def ask(self, request: bytes) -> bytearray:
        """Raises EOFError or OSError when the child goes away."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, HEADER.pack(len(request)))
        await loop.sock_sendall(self._socket, request)
        return await self._receive_frame()

    def cpu_seconds(self) -> float:
        """Its processor time, of all its threads; on macOS, which tells it nobody, the clock, which is never less."""
        if sys.platform != "linux":
            return time.monotonic()
        return time.clock_gettime(~self._process.pid << 3 | _CPUCLOCK_SCHED)

    def kill(self) -> None:
        self._process.kill()

    async def reaped(self) -> int:
        """Its exit status once it has ended, or the signal that ended it as a negative number."""
        self._socket.close()
        return await asyncio.to_thread(self._process.wait)  # it takes the kernel a while to take down a large one

    async def _receive_frame(self) -> bytearray:
        (size,) = HEADER.unpack(await self._receive(HEADER.size))
        return await self._receive(size)

    async def _receive(self, size: int) -> bytearray:
        loop = asyncio.get_running_loop()
        buffer = bytearray(size)
        rest = memoryview(buffer)
        while rest:
            count = await loop.sock_recv_into(self._socket, rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return buffer


def _describe(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"ended by signal {-status}, {signal.strsignal(-status)}"
