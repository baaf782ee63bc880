"""Entry point of every process: settings, logs, metrics, signals, watchdog, exit status.

0    stopped by SIGTERM or SIGINT, after a clean shutdown
1    a bug in the server; the supervisor restarts it
78   wrong settings (EX_CONFIG of sysexits.h): a restart does not help
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
from gischat.observability.multiprocess import multiprocess
from gischat.settings import WRONG_SETTINGS, Settings, SettingsError, load
from gischat.timings import Timings

log = logging.getLogger(__name__)


Main = Callable[[Settings, Timings, asyncio.Event], Awaitable[None]]


def run(kind: str, main: Main, timings: Timings = Timings(), *, name: str = "") -> int:
    """Run a process to its end and return its exit status.

    Args:
        kind: `front` or `worker`, for the logs.
        main: takes the settings, the timings, and an event that is set when the process must stop.
        name: the process' name, unless `PROCESS_NAME` is set.
    """
    try:
        with _counting(load(), kind, name) as settings:
            return _run_to_end(kind, settings, timings, main)
    except SettingsError as error:
        print(f"gischat: wrong settings\n{error}", file=sys.stderr)
        return WRONG_SETTINGS


@contextlib.contextmanager
def _counting(settings: Settings, kind: str, name: str) -> Iterator[Settings]:
    """Set up the metrics, shared with the host's other processes if so configured.

    Yields the settings with the final `process_name`.

    Raises:
        SettingsError: PROMETHEUS_MULTIPROC_DIR is unusable.
    """
    directory = settings.prometheus_multiproc_dir
    if not directory:
        yield replace(settings, process_name=settings.process_name or name or kind)
        return
    with contextlib.ExitStack() as stack:
        try:
            taken = stack.enter_context(multiprocess(directory, kind, settings.process_name))
        except OSError as error:
            raise SettingsError({"PROMETHEUS_MULTIPROC_DIR": f"{directory}: {error.strerror}."}) from None
        yield replace(settings, process_name=taken)


def _run_to_end(kind: str, settings: Settings, timings: Timings, main: Main) -> int:
    process = logs.Process(kind, settings.process_name, os.getpid())
    logs.set_up(process, settings)
    sentry.set_up(process, settings)
    try:
        # uvloop saves a tenth of the CPU per message, and more in a worker: docs/capacity-planning.md
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
    """Log exceptions that no task raised, except one that is no fault."""
    # Redis sent data while we closed a TLS connection: asyncio ignores that, uvloop reports it.
    is_late_word = "SSL protocol" in context.get("message", "") and "closed" in str(context.get("exception"))
    if not is_late_word:
        loop.default_exception_handler(context)


async def _feed_watchdog(hung: float) -> None:
    """Watchdog: when the event loop hangs, a thread of the interpreter dumps its traceback and ends the process."""
    while True:
        faulthandler.dump_traceback_later(hung, exit=True)
        await asyncio.sleep(hung / 10)
