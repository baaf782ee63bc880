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
from collections.abc import AsyncIterator

from gischat import process
from gischat.messages import Lane
from gischat.settings import Settings
from gischat.streams.multiplexer import ANSWER_SECONDS, Multiplexer
from worker import dead
from worker.consumer import READ_SECONDS, Consumer, HeavyConsumer, LightConsumer
from worker.gateway import Gateway
from worker.sandbox import Sandbox

log = logging.getLogger(__name__)

RECLAIM_SECONDS = {Lane.LIGHT: 5.0, Lane.HEAVY: 12.0}
DEAF_SECONDS = 20.0


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
        consumers = [await stack.enter_async_context(_consumer(lane, name, settings)) for lane in lanes]
        log.info("taking %s jobs as %s", " and ".join(lanes), name)
        # One that fails ends the group, and so the process: better a new worker than one that takes no jobs.
        async with asyncio.TaskGroup() as group:
            for consumer in consumers:
                group.create_task(consumer.run(stop))
            watch = group.create_task(_watch(consumers))
            await stop.wait()
            watch.cancel()


async def _watch(consumers: list[Consumer]) -> None:
    """Sees to it that every loop goes on while Redis answers.

    Raises:
        Deaf: one does not.
    """
    answering_since = time.monotonic()
    while True:
        await asyncio.sleep(DEAF_SECONDS / 10)
        for consumer in consumers:
            if not await consumer.gateway.answers():
                answering_since = time.monotonic()
            quiet_since = max(consumer.turned_at, answering_since)
            if time.monotonic() - quiet_since > DEAF_SECONDS:
                raise Deaf(f"no jobs are taken from the {consumer.gateway.lane} lane although redis answers")


@contextlib.asynccontextmanager
async def _consumer(lane: Lane, name: str, settings: Settings) -> AsyncIterator[Consumer]:
    redis = Multiplexer(settings.redis_url, name=f"gischat-worker-{lane}")
    reader = Multiplexer(
        settings.redis_url,
        name=f"gischat-reader-{lane}",
        resends=False,
        answer_seconds=READ_SECONDS + ANSWER_SECONDS,
    )
    async with redis, reader:
        gateway = Gateway(settings, lane, name, redis, reader)
        if lane is Lane.LIGHT:
            yield LightConsumer(gateway, reclaim_seconds=RECLAIM_SECONDS[lane])
            return
        sandbox = Sandbox(seconds=settings.job_seconds, memory=settings.job_memory, preload=("worker.process",))
        try:
            await sandbox.start()
            yield HeavyConsumer(gateway, settings, sandbox, reclaim_seconds=RECLAIM_SECONDS[lane])
        finally:
            await sandbox.close()


def main() -> int:
    if sys.argv[1:2] == ["dead"]:
        return dead.main(sys.argv[2:])
    given = arguments()
    lanes = list(Lane) if given.lane == "all" else [Lane(given.lane)]
    return process.run("worker", functools.partial(work, lanes, given.name))


if __name__ == "__main__":
    sys.exit(main())
