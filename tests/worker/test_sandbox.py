"""The sandbox: results, errors, limits, and how its process starts and ends."""

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded
from tests.support.waiting import until
from tests.worker.pictures import MAX_PIXELS, drawing, jpeg_of_size, webp_bomb
from worker.images import fit
from worker.sandbox import Crashed, OutOfMemory, Sandbox, SandboxedFailure, StartFailed, TimedOut

MEMORY = 1 << 30
LITTLE_MEMORY = 1 << 28
FOREVER = 3600


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox for all tests that do not concern its start and end, since a start is expensive."""
    yield from _shared(MEMORY)


@pytest.fixture(scope="module")
def narrow_sandbox() -> Iterator[Sandbox]:
    """A sandbox with little memory."""
    yield from _shared(LITTLE_MEMORY)


def _shared(memory: int) -> Iterator[Sandbox]:
    sandbox = Sandbox(seconds=FOREVER, memory=memory)
    yield sandbox
    asyncio.run(sandbox.close())


@asynccontextmanager
async def opened(
    *, seconds: float = FOREVER, wall_seconds: float = FOREVER, preload: tuple[str, ...] = ()
) -> AsyncIterator[Sandbox]:
    """A sandbox for one test, with generous limits except for those that the test sets."""
    sandbox = Sandbox(seconds=seconds, wall_seconds=wall_seconds, memory=MEMORY, preload=preload)
    try:
        yield sandbox
    finally:
        await sandbox.close()


# Functions to run; pickle finds them by name, so they are at module level.


def hold(path: str) -> None:
    """Lock the file until the process ends."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(FOREVER)


def is_held(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Fussy(Exception):
    """An object that can be pickled but not unpickled."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def fuss() -> None:
    raise Fussy("salt", "pepper")


def divide(one: int, *, by: int) -> float:
    return one / by


def write_to_the_standard_error(words: str) -> None:
    os.write(2, words.encode())
    print(words, file=sys.stderr, flush=True)
    print(words, flush=True)


def list_modules() -> list[str]:
    return list(sys.modules)


def count_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


# Results and errors


async def test_one_child_does_one_run_after_the_other(sandbox: Sandbox) -> None:
    assert await sandbox.run(divide, 6, by=4) == 1.5
    assert await sandbox.run(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
    text = "0123456789abcdef" * 250_000
    assert await sandbox.run(str.upper, text) == text.upper()
    assert await asyncio.gather(*(sandbox.run(abs, -number) for number in range(20))) == list(range(20))
    children = {await sandbox.run(os.getpid) for _ in range(5)}
    assert len(children) == 1
    assert os.getpid() not in children


async def test_exceptions_are_raised_and_do_not_end_the_child(sandbox: Sandbox) -> None:
    child = await sandbox.run(os.getpid)
    with pytest.raises(ZeroDivisionError, match="division by zero") as raised:
        await sandbox.run(divide, 1, by=0)
    assert "return one / by" in raised.value.__notes__[0]  # the child's traceback
    with pytest.raises(Uncompliant) as refusal:
        await sandbox.run(fit, "not base64", max_size=800, max_pixels=1000)
    assert refusal.value.reason == "The image is not valid base64."
    with pytest.raises(SandboxedFailure, match=r"in fuss\n(.|\n)*Fussy: salt and pepper"):
        await sandbox.run(fuss)
    with pytest.raises(TypeError, match="cannot pickle"):  # the result
        await sandbox.run(threading.Lock)
    with pytest.raises(TypeError, match="cannot pickle"):  # the argument
        await sandbox.run(bool, threading.Lock())
    with pytest.raises(subprocess.TimeoutExpired):  # which is not the sandbox's
        await sandbox.run(subprocess.run, ["sleep", str(FOREVER)], timeout=0.01)
    assert await sandbox.run(os.getpid) == child


# Limits


async def test_only_cpu_time_counts_for_each_run_separately_and_who_exceeds_it_is_ended() -> None:
    """A child that waits for the processor counts like one that sleeps."""
    compute = "import time\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass"
    async with opened(seconds=0.4) as sandbox:
        await sandbox.run(exec, compute)
        await sandbox.run(time.sleep, 0.5)
        await sandbox.run(exec, compute)
        with pytest.raises(TimedOut, match=r"more than 0\.4 seconds of CPU time"):
            await sandbox.run(sum, range(10**12))  # hours in C, which heeds no signals


async def test_a_result_is_accepted_after_the_machine_was_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a freeze of the worker or machine, the timeout and the result are due at once."""
    loop = asyncio.get_running_loop()
    asleep = 0.0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + asleep)
    async with opened(wall_seconds=FOREVER) as sandbox:
        await sandbox.start()
        run = asyncio.create_task(sandbox.run(abs, -1))
        await asyncio.sleep(0)
        asleep = 10.0 * FOREVER
        assert await run == 1


async def test_too_much_memory_for_a_function_or_argument_ends_only_the_child(narrow_sandbox: Sandbox) -> None:
    child = await narrow_sandbox.run(os.getpid)
    with pytest.raises(OutOfMemory):
        await narrow_sandbox.run(list, range(MEMORY))
    with pytest.raises(OutOfMemory):
        await narrow_sandbox.run(len, bytes(MEMORY // 6))  # received, but too large to be unpickled
    assert await narrow_sandbox.run(os.getpid) != child


async def test_a_crash_ends_only_the_child(sandbox: Sandbox) -> None:
    child = await sandbox.run(os.getpid)
    with pytest.raises(Crashed, match=f"signal {signal.SIGSEGV}"):
        await sandbox.run(signal.raise_signal, signal.SIGSEGV)
    for exit_ in (os._exit, sys.exit):
        with pytest.raises(Crashed):
            await sandbox.run(exit_, 3)
    after = await sandbox.run(os.getpid)
    assert after != child
    # One that dies between runs is replaced after one failure
    os.kill(after, signal.SIGKILL)
    with pytest.raises(Crashed):
        await sandbox.run(abs, -1)
    assert await sandbox.run(abs, -1) == 1


async def test_a_failed_start_raises_its_reason(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def popen(*_: Any, **__: Any) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    async with opened(preload=("no_such_module",)) as sandbox:
        with pytest.raises(StartFailed, match="No module named 'no_such_module'"):
            await sandbox.start()
        monkeypatch.setattr(subprocess, "Popen", popen)  # the system's limit of processes
        with pytest.raises(StartFailed, match="temporarily unavailable"):
            await sandbox.run(os.getpid)
    assert capfd.readouterr() == ("", "")


async def test_a_run_blocks_no_other_and_ends_its_child_when_cancelled(sandbox: Sandbox, tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with opened() as stuck:
        run = asyncio.create_task(stuck.run(hold, str(held)))
        await until(lambda: is_held(held))
        assert await sandbox.run(abs, -1) == 1
        assert not run.done()
        following = asyncio.create_task(stuck.run(abs, -1))

        run.cancel()

        with pytest.raises(asyncio.CancelledError):
            await run
        assert not is_held(held)
        assert await following == 1


async def test_a_cancelled_start_leaves_nothing_behind() -> None:
    before, others = descriptors(), children()
    async with opened() as sandbox:
        for turns in range(6):
            start = asyncio.create_task(sandbox.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            start.cancel()
            await asyncio.wait([start])
        assert await sandbox.run(abs, -1) == 1
    assert descriptors() == before
    assert children() == others


# Start and end


async def test_the_child_is_nice_in_its_own_process_group_dumps_no_core_and_inherits_no_sockets() -> None:
    async with opened() as sandbox:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        os.set_inheritable(server.sockets[0].fileno(), True)
        assert await sandbox.run(count_descriptors) <= 5  # the standard three, its own socket, the listing
        server.close()
        assert await sandbox.run(os.nice, 0) == min(os.nice(0) + 5, 19)
        assert await sandbox.run(os.getpgrp) not in {os.getpgrp(), 0}  # Ctrl-C is sent to the terminal's group
        assert await sandbox.run(resource.getrlimit, resource.RLIMIT_CORE) == (0, 0)


async def test_the_child_has_its_modules_and_writes_nothing_into_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(encoded(drawing(90, 70), "TIFF", compression="tiff_lzw"))
    damaged[8:60] = b"\x55" * 52  # libtiff reports it on standard error
    async with opened(preload=("worker.images",)) as sandbox:
        await sandbox.start()
        assert "PIL.Image" in await sandbox.run(list_modules)
        await sandbox.run(write_to_the_standard_error, "48.8584N-2.2945E")
        with pytest.raises(Uncompliant):
            await sandbox.run(fit, as_base64(bytes(damaged)), max_size=800, max_pixels=10**6)
    assert capfd.readouterr() == ("", "")


async def test_closing_waits_for_the_current_run_and_leaves_no_process_and_no_descriptor() -> None:
    before, others = descriptors(), children()
    async with opened(wall_seconds=0.1) as sandbox:
        with pytest.raises(TimedOut, match=r"longer than 0\.1 seconds"):
            await sandbox.run(time.sleep, FOREVER)
    async with opened() as sandbox:
        with pytest.raises(Crashed):
            await sandbox.run(signal.raise_signal, signal.SIGSEGV)
        run = asyncio.create_task(sandbox.run(abs, -1))
        await asyncio.sleep(0)
    assert await run == 1
    assert descriptors() == before
    assert children() == others
    # A closed sandbox stays closed
    await sandbox.close()
    with pytest.raises(RuntimeError, match="closed"):
        await sandbox.run(abs, -1)


def descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


def children() -> set[int]:
    """This process' children, alive or not yet reaped; some may be other tests', such as a shared Redis."""
    return {child.pid for child in psutil.Process().children()}


PARENT = f"""
import asyncio, sys
from worker.sandbox import Sandbox
from {__name__} import hold

asyncio.run(Sandbox(seconds=3600, memory=1 << 30).run(hold, sys.argv[1]))
"""


def start_parent(held: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", PARENT, str(held)], env=environment)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_a_running_child_dies_with_its_parent(tmp_path: Path) -> None:
    held = tmp_path / "held"
    with start_parent(held) as parent:
        await until(lambda: is_held(held))
        parent.kill()
    await until(lambda: not is_held(held))


# With the functions that really run in it


async def test_pictures_do_not_need_much_memory(narrow_sandbox: Sandbox) -> None:
    # One that is too large is refused before it takes memory
    with pytest.raises(Uncompliant, match="16383 × 16383 pixels"):
        await narrow_sandbox.run(fit, as_base64(webp_bomb(16383, 16383)), max_size=800, max_pixels=MAX_PIXELS)
    # A JPEG is decoded at reduced scale: this one has 192 MB at its full size
    sea = jpeg_of_size(encoded(Image.new("RGB", (160, 160), (30, 60, 200)), "JPEG"), 8000, 8000)
    assert await narrow_sandbox.run(fit, as_base64(sea), max_size=800, max_pixels=MAX_PIXELS)
