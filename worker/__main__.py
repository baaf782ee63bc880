"""`python -m worker --lane light|heavy|all` starts one worker."""

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator

from gischat import process
from gischat.messages import Lane
from gischat.settings import Settings
from gischat.streams.multiplexer import ANSWER_SECONDS, Multiplexer
from worker.consumer import READ_SECONDS, Consumer, HeavyConsumer, LightConsumer
from worker.gateway import Gateway
from worker.sandbox import Sandbox

log = logging.getLogger(__name__)

LIGHT_RECLAIM_SECONDS = 5.0
HEAVY_RECLAIM_MARGIN = 10.0  # beyond what a job may take, three times over if it crashes its sandbox


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
            yield LightConsumer(gateway, reclaim_seconds=LIGHT_RECLAIM_SECONDS)
            return
        sandbox = Sandbox(seconds=settings.job_seconds, memory=settings.job_memory, preload=("worker.process",))
        try:
            reclaim_seconds = 3 * settings.job_seconds + HEAVY_RECLAIM_MARGIN
            yield HeavyConsumer(gateway, settings, sandbox, reclaim_seconds=reclaim_seconds)
        finally:
            await sandbox.close()


def main() -> int:
    given = arguments()
    lanes = list(Lane) if given.lane == "all" else [Lane(given.lane)]
    return process.run("worker", functools.partial(work, lanes, given.name))


if __name__ == "__main__":
    sys.exit(main())
