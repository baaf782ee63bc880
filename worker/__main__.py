"""`python -m worker --lane <lane>|all` starts one worker."""

import gischat.without_tls  # noqa: F401 # before anything that imports `ssl`

# isort: split

import argparse
import asyncio
import contextlib
import functools
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence

from gischat.broker.client import Redis
from gischat.broker.discovery import connect, reading_groups
from gischat.broker.inbox_consumer import InboxConsumer
from gischat.broker.namespace import Namespace
from gischat.broker.presence import Presence
from gischat.observability import process, systemd
from gischat.protocol.messages import Lane
from gischat.settings import Settings
from gischat.timings import Timings
from worker.commit import Committer
from worker.consumer import Consumer
from worker.heavy_consumer import HeavyConsumer
from worker.inbox_reader import InboxReader
from worker.light_consumer import LightConsumer
from worker.placing import CRS_MEMORY, Placer
from worker.sandbox import Sandbox
from worker.shared_charges import SharedCharges

log = logging.getLogger("worker")

PRELOAD = ("worker.attempts", "worker.images", "worker.geojson")  # the modules of the sandbox's jobs


class ConsumerStalled(Exception):
    """A consumer of this process takes no jobs although Redis answers."""


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    layout = functools.partial(argparse.HelpFormatter, width=100)  # to ask for the terminal's would take 0.8 MiB
    parser = argparse.ArgumentParser("gischat worker", description="Starts one gischat worker.", formatter_class=layout)
    parser.add_argument("--lane", choices=(*Lane, "all"), required=True, help="the jobs it takes")
    parser.add_argument(
        "--name",
        default=f"{socket.gethostname()}-{os.getpid()}",
        help="its name in Redis; a worker that is started again under its name takes up what it had begun",
    )
    return parser.parse_args(arguments)


async def work(lanes: list[Lane], name: str, settings: Settings, timings: Timings, stop: asyncio.Event) -> None:
    """Process the lanes' jobs until `stop` is set, then finish those in progress."""
    async with contextlib.AsyncExitStack() as stack:
        sandbox = Sandbox(seconds=settings.job_seconds, memory=settings.job_memory, preload=PRELOAD)
        stack.push_async_callback(sandbox.close)
        if any(lane.is_sandboxed for lane in lanes):
            await sandbox.start()
        consumers: list[Consumer] = []
        if quick := [lane for lane in lanes if not lane.is_sandboxed]:
            groups = reading_groups(settings.redis_url, settings.channels)
            crs_reader = Sandbox(seconds=timings.crs, memory=CRS_MEMORY, preload=("worker.crs",))  # starts on demand
            stack.push_async_callback(crs_reader.close)
            placer = Placer(crs_reader)
            consumers += [
                await stack.enter_async_context(_light(lane, channels, name, settings, placer, timings))
                for lane in quick
                for channels in groups
            ]
        consumers += [
            await stack.enter_async_context(_heavy(lane, name, settings, timings, sandbox))
            for lane in lanes
            if lane.is_sandboxed
        ]
        if settings.otel_exporter_otlp_endpoint:
            from gischat.observability.tracing import Tracing

            tracing = Tracing("worker", settings)
            stack.push_async_callback(tracing.shut_down, timings.sentry_flush)
            for consumer in consumers:
                tracing.trace_consumer(consumer)
        if settings.metrics_port:
            from gischat.observability import scraping

            await stack.enter_async_context(scraping.serve_metrics(settings))
        log.info("taking %s jobs as %s", " and ".join(lanes), name)
        systemd.ready()
        gc.freeze()  # these objects are permanent: scanning them takes the collector 20 ms and more each time
        # A consumer that fails ends the group, and thereby the process: supervision starts a new worker.
        async with asyncio.TaskGroup() as group:
            runs = {consumer: group.create_task(consumer.run(stop)) for consumer in consumers}
            watch = group.create_task(_watch(consumers, timings.consumer_stalled))
            await stop.wait()
            watch.cancel()
            await asyncio.gather(*(_end(consumer, run, timings.redis_unavailable) for consumer, run in runs.items()))


async def _end(consumer: Consumer, run: "asyncio.Task[None]", away: float) -> None:
    """Wait until a consumer has finished its jobs, then cancel it.

    It is cancelled earlier once Redis has been unavailable for `away` seconds: other workers then claim the jobs.
    """
    there_at = time.monotonic()
    while not run.done() and time.monotonic() - there_at < away:
        await asyncio.wait([run], timeout=away / 10)
        if consumer.inbox.connected_seconds:
            there_at = time.monotonic()
    run.cancel()


@contextlib.asynccontextmanager
async def _light(
    lane: Lane, channels: Sequence[str], name: str, settings: Settings, placer: Placer, timings: Timings
) -> AsyncIterator[LightConsumer]:
    async with _connected(lane, settings, timings) as redis, _reading(lane, settings, timings) as reader:
        namespace = Namespace(settings, timings)
        yield LightConsumer(
            InboxConsumer(namespace, lane, channels, name, redis=redis, reader=reader),
            Committer(namespace, redis=redis, reader=reader),
            Presence(namespace, name, redis),
            placer,
            timings,
        )


@contextlib.asynccontextmanager
async def _heavy(
    lane: Lane, name: str, settings: Settings, timings: Timings, sandbox: Sandbox
) -> AsyncIterator[HeavyConsumer]:
    """Connect one consumer for all channels, so that it can choose among their jobs; a reader for each group."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_connected(lane, settings, timings))
        namespace = Namespace(settings, timings)
        readers = []
        for channels in reading_groups(settings.redis_url, settings.channels):
            reading = await stack.enter_async_context(_reading(lane, settings, timings))
            readers.append(InboxReader(settings, lane, channels, reading))
        yield HeavyConsumer(
            InboxConsumer(namespace, lane, settings.channels, name, redis=redis, reader=redis),
            Committer(namespace, redis=redis, reader=redis),
            settings,
            sandbox,
            readers,
            SharedCharges(settings, redis),
            timings,
        )


def _connected(lane: Lane, settings: Settings, timings: Timings) -> contextlib.AbstractAsyncContextManager[Redis]:
    return connect(settings.redis_url, name=f"gischat-worker-{lane}", timings=timings)


def _reading(lane: Lane, settings: Settings, timings: Timings) -> contextlib.AbstractAsyncContextManager[Redis]:
    """A connection for blocking reads."""
    name, answer_seconds = f"gischat-reader-{lane}", timings.inbox_answer
    return connect(settings.redis_url, name=name, resends=False, answer_seconds=answer_seconds, timings=timings)


async def _watch(consumers: list[Consumer], stalled_after: float) -> None:
    """Check that every consumer's loop makes progress while Redis answers.

    Raises:
        ConsumerStalled: a loop has made none for `stalled_after` seconds.
    """
    now = asyncio.get_running_loop().time
    answering_since = now()
    while True:
        await asyncio.sleep(stalled_after / 10)
        for consumer in consumers:
            asked_at = now()
            # While Redis is away, the command may wait: a late answer does not prove that Redis was available before.
            if not await consumer.inbox.answers() or now() - asked_at > stalled_after / 10:
                answering_since = now()
            quiet_since = max(consumer.last_progress_at, answering_since)
            if now() - quiet_since > stalled_after:
                raise ConsumerStalled(f"no jobs are taken from the {consumer.inbox.lane} lane although redis answers")


def main(arguments: Sequence[str] | None = None, timings: Timings = Timings()) -> int:
    given = _parsed(sys.argv[1:] if arguments is None else arguments)
    lanes = list(Lane) if given.lane == "all" else [Lane(given.lane)]
    return process.run("worker", functools.partial(work, lanes, given.name), timings, name=given.name)


if __name__ == "__main__":
    sys.exit(main())
