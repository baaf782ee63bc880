"""Sandbox: a child process that runs functions with limited time and memory.

The heavy lane computes here, so that a decompression bomb, a hang or a segmentation fault in a C library kills only
this child, and the worker's event loop goes on meanwhile. It contains accidents and hostile input, but not an attacker
who can run code in it.

    SandboxError
        TimedOut        the function took more than `seconds` of CPU time, or far too long by the clock
        OutOfMemory     the function needed more than `memory`
        Crashed         the child died otherwise: by a signal, or by exiting

    StartFailed         the child did not become ready
    SandboxedFailure    the function raised an exception that cannot be pickled

After a SandboxError the child is gone, and the next run starts a new one. Exceptions of the function itself are raised
by `run`, with the child's traceback as a note. StartFailed and SandboxedFailure are bugs.

Why not a library: concurrent.futures.ProcessPoolExecutor has no time limit and cannot cancel a running job. Pebble's
pool can, but gives a child that is stuck in C code three more seconds, polls its clock and its children from three
threads, has no memory limit, and does not notice its parent's death. Both take 20 to 27 ms for a round trip of 5 MB;
this takes 11.

Why CPU time: on a busy machine an honest photo takes ten times as long as on an idle one. The limit in wall-clock time
is only for a child that does not compute: one that hangs, or gets almost no CPU. Why the parent polls the child's CPU
time instead of using the kernel's limits: RLIMIT_CPU counts whole seconds, from the child's start, and ITIMER_PROF
counts ticks (on a busy machine it fired up to a sixth too early).
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

# Wall-clock limit of a run, as a multiple of its CPU limit: suffices with a sixth of a core. Beside four busy programs
# on two cores it gets a seventh (see `worker.sandbox_child`), enough for all but the worst picture on a slow machine.
WALL_FACTOR = 6
_WALL_STEPS = 10
_MIN_LOOK_SECONDS = 0.01
_START_SECONDS = 180  # only a child that hangs is not ready by then
_CHILD = "from worker.sandbox_child import serve; serve()"
_ROOT = str(Path(__file__).parents[1])
_CPUCLOCK_SCHED = 2  # combined with a PID as by Linux's clock_getcpuclockid(3)


class TimedOut(SandboxError):
    """The function exceeded its time limit."""


class Crashed(SandboxError):
    """The child died before it answered."""


class StartFailed(Exception):
    """The child did not become ready; if an import failed, the text is its traceback."""


class Sandbox:
    """Runs one function at a time in a child process; further calls wait their turn.

    Args:
        seconds: CPU time per run.
        wall_seconds: wall-clock time per run; by default WALL_FACTOR times `seconds`.
        memory: bytes of the child's address space (not enforced on macOS).
        preload: names of the modules that a child imports before its first run.
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
        """Start a child in advance, so that the first run does not wait for its imports."""
        async with self._turn:
            await self._ready()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the child; returns its result.

        The function is pickled by module and name; arguments and result are pickled. Cancelling the call kills the
        child.

        Raises:
            Exception: whatever the function raises.
            SandboxError: the child exceeded a limit or died.
        """
        request = pickle.dumps((function, args, kwargs), pickle.HIGHEST_PROTOCOL)
        async with self._turn:
            child = await self._ready()
            outcome, value = pickle.loads(
                await self._within(self._seconds, self._wall_seconds, child, child.ask(request))
            )
            if outcome is OutOfMemory:
                await self._discard()  # its heap is full and fragmented
        if outcome is not None:
            raise value
        result: T = value
        return result

    async def close(self) -> None:
        """Kill the child after the current run; later runs raise RuntimeError. Idempotent."""
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
            except (SandboxError, OSError) as error:  # OSError: no memory, process or file left
                raise StartFailed(str(error)) from None
            if complaint:
                await self._discard()
                raise StartFailed(complaint.decode())
        return self._child

    async def _within(
        self, seconds: float, wall_seconds: float, child: "_Child", answer: Coroutine[Any, Any, bytearray]
    ) -> bytearray:
        """Await the child's answer within the limits; if it does not come, for any reason, the child is killed."""
        answering = asyncio.create_task(answer)
        try:
            since, wall_left = child.cpu_seconds(), wall_seconds
            while wall_left > 0:
                left = seconds - (child.cpu_seconds() - since)
                if left <= 0:
                    raise TimedOut(f"took more than {seconds:g} seconds of CPU time")
                step = min(max(left, _MIN_LOOK_SECONDS), wall_seconds / _WALL_STEPS)
                await asyncio.wait([answering], timeout=step)
                if answering.done():
                    return answering.result()
                wall_left -= step  # not by the clock: this process may have been frozen, or the machine asleep
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
            await asyncio.gather(answering, return_exceptions=True)  # until the loop no longer uses the socket
        return await child.reaped()


class _Child:
    """The parent's side of a child process."""

    def __init__(self, memory: int, preload: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            arguments = map(str, (theirs.fileno(), memory, os.getpid()))
            self._process = subprocess.Popen(
                # PYTHONPATH has all paths, so -S can skip the search: saves a third of the interpreter's start.
                [sys.executable, "-S", "-P", "-c", _CHILD, *arguments, *preload],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, [*sys.path, _ROOT]))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # a terminal's Ctrl-C and a supervisor's signals are for the worker to act on
            )

    async def greeting(self) -> bytearray:
        """Empty when the child is ready, else the reason why not. Raises EOFError or OSError if the child dies."""
        return await self._receive_frame()

    async def ask(self, request: bytes) -> bytearray:
        """Send a request and await the answer. Raises EOFError or OSError if the child dies."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, HEADER.pack(len(request)))
        await loop.sock_sendall(self._socket, request)
        return await self._receive_frame()

    def cpu_seconds(self) -> float:
        """CPU time of all its threads; on macOS, which does not expose it, wall-clock time, which is an upper bound."""
        if sys.platform != "linux":
            return time.monotonic()
        return time.clock_gettime(~self._process.pid << 3 | _CPUCLOCK_SCHED)

    def kill(self) -> None:
        self._process.kill()

    async def reaped(self) -> int:
        """Wait for its end; returns its exit status, or the signal that killed it as a negative number."""
        self._socket.close()
        return await asyncio.to_thread(self._process.wait)  # the kernel takes a while to tear down a large process

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
