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
from typing import IO, Any

import psutil
import pytest
from PIL import Image

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded
from tests.support.waiting import until
from tests.worker.pictures import drawing, webp_bomb
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


def compute(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def write_to_the_standard_error(words: str) -> None:
    os.write(2, words.encode())
    print(words, file=sys.stderr, flush=True)
    print(words, flush=True)


# Results and errors


async def test_a_function_gets_its_arguments_and_returns_its_result(sandbox: Sandbox) -> None:
    assert await sandbox.run(divide, 6, by=4) == 1.5
    assert await sandbox.run(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
    assert await sandbox.run(bool) is False


async def test_one_child_serves_run_after_run(sandbox: Sandbox) -> None:
    children = {await sandbox.run(os.getpid) for _ in range(5)}
    assert len(children) == 1
    assert os.getpid() not in children


async def test_concurrent_calls_run_one_after_the_other() -> None:
    async with opened() as sandbox:
        answers = await asyncio.gather(*(sandbox.run(abs, -number) for number in range(20)))
        assert answers == list(range(20))


async def test_20_megabytes_pass_in_both_directions(sandbox: Sandbox) -> None:
    text = "0123456789abcdef" * 1_250_000
    assert await sandbox.run(str.upper, text) == text.upper()


async def test_an_exception_is_raised_with_the_childs_traceback(sandbox: Sandbox) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as raised:
        await sandbox.run(divide, 1, by=0)
    assert "return one / by" in raised.value.__notes__[0]
    assert await sandbox.run(divide, 1, by=1) == 1


async def test_uncompliant_is_raised_with_its_reason(sandbox: Sandbox) -> None:
    with pytest.raises(Uncompliant) as refusal:
        await sandbox.run(fit, "not base64", max_size=800, max_pixels=1000)
    assert refusal.value.reason == "The image is not valid base64."


async def test_an_exception_that_cannot_be_pickled_is_raised_as_text(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxedFailure, match=r"in fuss\n(.|\n)*Fussy: salt and pepper"):
        await sandbox.run(fuss)


async def test_a_result_that_cannot_be_pickled_is_an_exception(sandbox: Sandbox) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        await sandbox.run(threading.Lock)
    assert await sandbox.run(abs, -1) == 1


async def test_an_argument_that_cannot_be_pickled_is_an_exception(sandbox: Sandbox) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        await sandbox.run(bool, threading.Lock())
    assert await sandbox.run(abs, -1) == 1


# Limits


async def test_a_function_that_exceeds_its_cpu_time_is_ended_even_if_it_ignores_signals() -> None:
    async with opened(seconds=0.2) as sandbox:
        with pytest.raises(TimedOut, match=r"more than 0\.2 seconds of CPU time"):
            await sandbox.run(sum, range(10**12))  # hours in C
        assert await sandbox.run(abs, -1) == 1


async def test_only_cpu_time_counts_and_for_each_run_separately() -> None:
    """A child that waits for the processor counts like one that sleeps."""
    async with opened(seconds=0.4, preload=(__name__,)) as sandbox:
        await sandbox.run(compute, 0.25)
        await sandbox.run(time.sleep, 0.5)
        await sandbox.run(compute, 0.25)


async def test_a_function_that_hangs_is_ended() -> None:
    async with opened(wall_seconds=0.2) as sandbox:
        with pytest.raises(TimedOut, match=r"longer than 0\.2 seconds"):
            await sandbox.run(time.sleep, FOREVER)


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


async def test_a_timeout_error_of_the_function_is_not_the_sandboxs(sandbox: Sandbox) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        await sandbox.run(subprocess.run, ["sleep", str(FOREVER)], timeout=0.01)


@pytest.mark.parametrize("call", [(bytearray, MEMORY), (list, range(MEMORY))])
async def test_a_function_that_needs_too_much_memory_is_ended(call: tuple[Any, ...], narrow_sandbox: Sandbox) -> None:
    child = await narrow_sandbox.run(os.getpid)
    with pytest.raises(OutOfMemory):
        await narrow_sandbox.run(*call)
    assert await narrow_sandbox.run(os.getpid) != child


async def test_an_argument_that_needs_too_much_memory_ends_only_the_child(narrow_sandbox: Sandbox) -> None:
    with pytest.raises(OutOfMemory):
        await narrow_sandbox.run(len, bytes(MEMORY // 6))  # received, but too large to be unpickled
    assert await narrow_sandbox.run(abs, -1) == 1


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
async def test_a_crash_ends_only_the_child(number: signal.Signals, sandbox: Sandbox) -> None:
    child = await sandbox.run(os.getpid)
    with pytest.raises(Crashed, match=f"signal {number}"):
        await sandbox.run(signal.raise_signal, number)
    assert await sandbox.run(os.getpid) != child


async def test_an_exit_ends_only_the_child(sandbox: Sandbox) -> None:
    for exit_ in (os._exit, sys.exit):
        with pytest.raises(Crashed):
            await sandbox.run(exit_, 3)
    assert await sandbox.run(abs, -1) == 1


async def test_a_child_that_dies_between_runs_is_replaced_after_one_failure(sandbox: Sandbox) -> None:
    os.kill(await sandbox.run(os.getpid), signal.SIGKILL)
    with pytest.raises(Crashed):
        await sandbox.run(abs, -1)
    assert await sandbox.run(abs, -1) == 1


async def test_a_failed_start_raises_its_reason_and_logs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async with opened(preload=("no_such_module",)) as sandbox:
        with pytest.raises(StartFailed, match="No module named 'no_such_module'"):
            await sandbox.start()
    assert capfd.readouterr() == ("", "")


async def test_a_process_limit_of_the_system_is_not_the_functions_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(*_: Any, **__: Any) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    async with opened() as sandbox:
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", popen)
            with pytest.raises(StartFailed, match="temporarily unavailable"):
                await sandbox.run(os.getpid)
        assert await sandbox.run(os.getpid) != os.getpid()


async def test_the_event_loop_is_not_blocked(tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with opened() as sandbox, opened() as other:
        stuck = asyncio.create_task(sandbox.run(hold, str(held)))
        await until(lambda: is_held(held))
        assert await other.run(abs, -1) == 1
        assert not stuck.done()
        stuck.cancel()


async def test_a_cancelled_call_ends_its_child_and_not_the_next_one(tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with opened() as sandbox:
        stuck = asyncio.create_task(sandbox.run(hold, str(held)))
        await until(lambda: is_held(held))
        following = asyncio.create_task(sandbox.run(abs, -1))

        stuck.cancel()

        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert not is_held(held)
        assert await following == 1


async def test_a_cancelled_start_leaves_nothing_behind() -> None:
    before, others = descriptors(), children()
    async with opened() as sandbox:
        for turns in range(12):
            start = asyncio.create_task(sandbox.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            start.cancel()
            await asyncio.wait([start])
        assert await sandbox.run(abs, -1) == 1
    assert descriptors() == before
    assert children() == others


# Start and end


async def test_a_started_child_has_imported_its_modules() -> None:
    async with opened(preload=("worker.images",)) as sandbox:
        await sandbox.start()
        assert "PIL.Image" in await sandbox.run(list_modules)


def list_modules() -> list[str]:
    return list(sys.modules)


async def test_the_child_is_nice_in_its_own_process_group_and_dumps_no_core(sandbox: Sandbox) -> None:
    assert await sandbox.run(os.nice, 0) == min(os.nice(0) + 5, 19)
    assert await sandbox.run(os.getpgrp) not in {os.getpgrp(), 0}  # Ctrl-C is sent to the terminal's group
    assert await sandbox.run(resource.getrlimit, resource.RLIMIT_CORE) == (0, 0)


async def test_the_child_inherits_no_sockets() -> None:
    async with opened() as sandbox:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        os.set_inheritable(server.sockets[0].fileno(), True)
        assert await sandbox.run(count_descriptors) <= 5  # the standard three, its own socket, the listing
        server.close()


def count_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def test_the_childs_output_is_not_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(encoded(drawing(90, 70), "TIFF", compression="tiff_lzw"))
    damaged[8:60] = b"\x55" * 52  # libtiff reports it on standard error
    async with opened() as sandbox:
        await sandbox.run(write_to_the_standard_error, "48.8584N-2.2945E")
        with pytest.raises(Uncompliant):
            await sandbox.run(fit, as_base64(bytes(damaged)), max_size=800, max_pixels=10**6)
    assert capfd.readouterr() == ("", "")


async def test_closing_leaves_no_process_and_no_descriptor() -> None:
    before, others = descriptors(), children()
    async with opened() as sandbox:
        await sandbox.run(abs, 1)
        with pytest.raises(Crashed):
            await sandbox.run(signal.raise_signal, signal.SIGSEGV)
        await sandbox.run(abs, 1)
    async with opened(wall_seconds=0.1) as sandbox:
        with pytest.raises(TimedOut):
            await sandbox.run(time.sleep, FOREVER)
    assert descriptors() == before
    assert children() == others


def descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


def children() -> set[int]:
    """This process' children, alive or not yet reaped; some may be other tests', such as a shared Redis."""
    return {child.pid for child in psutil.Process().children()}


async def test_closing_waits_for_the_current_run() -> None:
    sandbox = Sandbox(seconds=FOREVER, memory=MEMORY)
    run = asyncio.create_task(sandbox.run(abs, -1))
    await asyncio.sleep(0)
    await sandbox.close()
    assert await run == 1


async def test_a_closed_sandbox_stays_closed() -> None:
    sandbox = Sandbox(seconds=FOREVER, memory=MEMORY)
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(RuntimeError, match="closed"):
        await sandbox.run(abs, -1)


PARENT = f"""
import asyncio, sys
from worker.sandbox import Sandbox
from {__name__} import hold, lock

async def main():
    idle, busy = (Sandbox(seconds=3600, memory=1 << 30) for _ in range(2))
    await idle.run(lock, sys.argv[1])
    await busy.run(hold, sys.argv[2])

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_a_child_dies_with_its_parent_idle_or_running(tmp_path: Path) -> None:
    idle, busy = tmp_path / "idle", tmp_path / "busy"
    with start_python(PARENT, str(idle), str(busy)) as parent:
        await until(lambda: is_held(idle) and is_held(busy))
        parent.kill()
    await until(lambda: not is_held(idle) and not is_held(busy))


_locks: list[IO[str]] = []


def lock(path: str) -> None:
    """Lock the file and return; the lock ends with the process."""
    file = open(path, "w")  # noqa: SIM115 - it is to stay open
    fcntl.flock(file, fcntl.LOCK_EX)
    _locks.append(file)


def start_python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment)


# With the functions that really run in it


async def test_a_too_large_picture_is_refused_before_it_takes_memory(narrow_sandbox: Sandbox) -> None:
    with pytest.raises(Uncompliant, match="16383 × 16383 pixels"):
        await narrow_sandbox.run(fit, as_base64(webp_bomb(16383, 16383)), max_size=800, max_pixels=64_000_000)


async def test_a_jpeg_is_decoded_at_reduced_scale(narrow_sandbox: Sandbox) -> None:
    sea = encoded(Image.new("RGB", (8000, 8000), (30, 60, 200)), "JPEG")  # 256 MB when decoded at full scale
    assert await narrow_sandbox.run(fit, as_base64(sea), max_size=800, max_pixels=64_000_000)
