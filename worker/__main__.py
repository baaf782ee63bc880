"""`python -m worker --lane light|heavy|all` starts one worker; `python -m worker dead` shows the dead letters."""

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence

from gischat import notify, process, scraping
from gischat.messages import Lane
from gischat.settings import Settings
from gischat.streams.multiplexer import ANSWER_SECONDS, Redis
from gischat.streams.servers import connect, reading_groups
from worker import dead
from worker.consumer import READ_SECONDS, Consumer, HeavyConsumer, LightConsumer
from worker.gateway import Gateway
from worker.inbox import InboxReader
from worker.sandbox import Sandbox
from worker.workbook import WorkBook

log = logging.getLogger("worker")

RECLAIM_SECONDS = {Lane.LIGHT: 5.0, Lane.HEAVY: 12.0}
DEAF_SECONDS = 20.0
AWAY_SECONDS = 3.0  # a worker that is to stop waits so long for a Redis that is away


class Deaf(Exception):
    """This process runs and takes no jobs: it is of no use."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker", description="Starts one gischat worker.")
    parser.add_argument("--lane", choices=("light", "heavy", "all"), required=True, help="the jobs it takes")
    parser.add_argument(
        "--name",
        default=f"{socket.gethostname()}-{os.getpid()}",
        help="its name in Redis; a worker that is started again under its name takes up what it had begun",
    )
    return parser.parse_args()


async def work(lanes: list[Lane], name: str, settings: Settings, stop: asyncio.Event) -> None:
    """Works until it is told to stop, then ends what it holds."""
    async with contextlib.AsyncExitStack() as stack:
        sandbox = Sandbox(seconds=settings.job_seconds, memory=settings.job_memory, preload=("worker.attempts",))
        stack.push_async_callback(sandbox.close)
        if Lane.HEAVY in lanes:
            await sandbox.start()
        consumers: list[Consumer] = []
        if Lane.LIGHT in lanes:
            groups = reading_groups(settings.redis_url, settings.channels)
            consumers += [await stack.enter_async_context(_light(channels, name, settings)) for channels in groups]
        if Lane.HEAVY in lanes:
            consumers.append(await stack.enter_async_context(_heavy(name, settings, sandbox)))
        await stack.enter_async_context(scraping.answering(settings))
        log.info("taking %s jobs as %s", " and ".join(lanes), name)
        notify.ready()
        # One that fails ends the group, and so the process: better a new worker than one that takes no jobs.
        async with asyncio.TaskGroup() as group:
            runs = {consumer: group.create_task(consumer.run(stop)) for consumer in consumers}
            watch = group.create_task(_watch(consumers))
            await stop.wait()
            watch.cancel()
            await asyncio.gather(*(_end(consumer, run) for consumer, run in runs.items()))


async def _end(consumer: Consumer, run: "asyncio.Task[None]") -> None:
    """Lets a consumer end what it holds; while Redis is away it cannot, and whoever comes next takes it up."""
    there_at = time.monotonic()
    while not run.done() and time.monotonic() - there_at < AWAY_SECONDS:
        await asyncio.wait([run], timeout=AWAY_SECONDS / 10)
        if consumer.gateway.connected_seconds:
            there_at = time.monotonic()
    run.cancel()


@contextlib.asynccontextmanager
async def _light(channels: Sequence[str], name: str, settings: Settings) -> AsyncIterator[LightConsumer]:
    async with _connected(Lane.LIGHT, settings) as redis, _reading(Lane.LIGHT, settings) as reader:
        gateway = Gateway(settings, Lane.LIGHT, channels, name, redis=redis, reader=reader)
        yield LightConsumer(gateway, reclaim_seconds=RECLAIM_SECONDS[Lane.LIGHT])


@contextlib.asynccontextmanager
async def _heavy(name: str, settings: Settings, sandbox: Sandbox) -> AsyncIterator[HeavyConsumer]:
    """One for all channels, or nobody could choose among their jobs; in a cluster it reads each by itself."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_connected(Lane.HEAVY, settings))
        readers = [
            InboxReader(settings, Lane.HEAVY, channels, await stack.enter_async_context(_reading(Lane.HEAVY, settings)))
            for channels in reading_groups(settings.redis_url, settings.channels)
        ]
        yield HeavyConsumer(
            Gateway(settings, Lane.HEAVY, settings.channels, name, redis=redis, reader=redis),
            settings,
            sandbox,
            readers,
            WorkBook(settings, redis),
            reclaim_seconds=RECLAIM_SECONDS[Lane.HEAVY],
        )


def _connected(lane: Lane, settings: Settings) -> contextlib.AbstractAsyncContextManager[Redis]:
    return connect(settings.redis_url, name=f"gischat-worker-{lane}")


def _reading(lane: Lane, settings: Settings) -> contextlib.AbstractAsyncContextManager[Redis]:
    """A connection for reads that wait."""
    answer_seconds = READ_SECONDS + ANSWER_SECONDS
    return connect(settings.redis_url, name=f"gischat-reader-{lane}", resends=False, answer_seconds=answer_seconds)


async def _watch(consumers: list[Consumer]) -> None:
    """Sees to it that every loop goes on while Redis answers.

    Raises:
        Deaf: one does not.
    """
    now = asyncio.get_running_loop().time
    answering_since = now()
    while True:
        await asyncio.sleep(DEAF_SECONDS / 10)
        for consumer in consumers:
            asked_at = now()
            # While Redis is away a question may wait: the answer then says nothing of the time before.
            if not await consumer.gateway.answers() or now() - asked_at > DEAF_SECONDS / 10:
                answering_since = now()
            quiet_since = max(consumer.turned_at, answering_since)
            if now() - quiet_since > DEAF_SECONDS:
                raise Deaf(f"no jobs are taken from the {consumer.gateway.lane} lane although redis answers")


def main() -> int:
    if sys.argv[1:2] == ["dead"]:
        return dead.main(sys.argv[2:])
    given = arguments()
    lanes = list(Lane) if given.lane == "all" else [Lane(given.lane)]
    return process.run("worker", functools.partial(work, lanes, given.name), name=given.name)


if __name__ == "__main__":
    sys.exit(main())
