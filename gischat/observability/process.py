"""What all our processes do alike: settings, logs, signals, exit status.

0    told to stop (SIGTERM, SIGINT) and done
1    a fault of ours; the supervisor starts it again
78   wrong settings (EX_CONFIG of sysexits.h): starting again does not help
"""

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import uvloop

from gischat.observability import logs, metrics, sentry
from gischat.settings import WRONG_SETTINGS, Settings, SettingsError, load
from gischat.timings import Timings

log = logging.getLogger(__name__)


Main = Callable[[Settings, Timings, asyncio.Event], Awaitable[None]]


def run(kind: str, main: Main, timings: Timings = Timings(), *, name: str = "") -> int:
    """Runs a process to its end; returns its exit status.

    Args:
        kind: `front`, `worker`: what the process is called in logs.
        main: is handed the settings, the timings and an event that is set when the process is to stop.
        name: what it is called among its kind, where `PROCESS_NAME` does not say.
    """
    try:
        with _counting(load(), kind, name) as settings:
            return _run_to_end(kind, settings, timings, main)
    except SettingsError as error:
        print(f"gischat: wrong settings\n{error}", file=sys.stderr)
        return WRONG_SETTINGS


@contextlib.contextmanager
def _counting(settings: Settings, kind: str, name: str) -> Iterator[Settings]:
    """Counts alone, or with the host's other processes; gives the settings with the name that the process has then.

    Raises:
        SettingsError: there is no such directory to count in.
    """
    directory = settings.prometheus_multiproc_dir
    if not directory:
        yield replace(settings, process_name=settings.process_name or name or kind)
        return
    with contextlib.ExitStack() as stack:
        try:
            taken = stack.enter_context(metrics.multiprocess(directory, kind, settings.process_name))
        except OSError as error:
            raise SettingsError({"PROMETHEUS_MULTIPROC_DIR": f"{directory}: {error.strerror}."}) from None
        yield replace(settings, process_name=taken)


def _run_to_end(kind: str, settings: Settings, timings: Timings, main: Main) -> int:
    process = logs.Process(kind, settings.process_name, os.getpid())
    logs.set_up(process, settings)
    sentry.set_up(process, settings)
    try:
        # uvloop takes a tenth off what a message costs, and more off a worker: docs/capacity-planning.md
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, timings, main))
    except Exception:
        log.exception("the %s failed", kind)
        return 1
    else:
        log.info("stopped")
        return 0
    finally:
        sentry.flush(settings, timings.sentry_flush)


async def _run(settings: Settings, timings: Timings, main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(handle_exception)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watchdog = asyncio.create_task(_feed_watchdog(timings.hung))
    sampling = asyncio.create_task(metrics.sample_process(settings.process_name, timings.sample))
    try:
        await main(settings, timings, stop)
    finally:
        sampling.cancel()
        watchdog.cancel()
        faulthandler.cancel_dump_traceback_later()


def handle_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task was there to raise goes to the log, as ever, but for one thing that is nobody's fault."""
    # The server still spoke when we closed a connection with TLS: asyncio lets that pass, uvloop cries out.
    is_late_word = "SSL protocol" in context.get("message", "") and "closed" in str(context.get("exception"))
    if not is_late_word:
        loop.default_exception_handler(context)


async def _feed_watchdog(hung: float) -> None:
    """A loop that hangs cannot end its own process: a thread of the interpreter does, and shows where it hung."""
    while True:
        faulthandler.dump_traceback_later(hung, exit=True)
        await asyncio.sleep(hung / 10)
