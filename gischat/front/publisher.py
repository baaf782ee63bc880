"""Publishes messages that come from no connection: texts over HTTP, hooks' messages, announcements."""

import asyncio
from collections.abc import Sequence
from functools import partial

from gischat.errors import RefusalReason, Unavailable
from gischat.front.connection.client_connection import RESTARTING
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_queue import JobQueue
from gischat.front.dispatch.job_result import JobResult
from gischat.protocol.messages import Message
from gischat.timings import Timings


class Publisher:
    """Publishes for one front; `in_background` are tasks whose result nothing awaits any more."""

    def __init__(self, dispatcher: Dispatcher, timings: Timings) -> None:
        self.is_draining = False
        self.in_background: set[asyncio.Task[list[JobResult]]] = set()
        self._job_queues: dict[tuple[str, str], JobQueue] = {}  # of messages in order, while they are not published
        self._dispatcher = dispatcher
        self._timings = timings

    async def publish(self, channel: str, message: Message, *, client: str = "", sender: str = "") -> JobResult | None:
        """Publish a message; returns None if its result did not arrive in time.

        Args:
            client, sender: see `Job`.
        """
        try:
            async with asyncio.timeout(self._timings.publish):
                return (await self.publish_all(channel, [message], client=client, sender=sender))[0]
        except TimeoutError:
            return None

    async def publish_all(
        self, channel: str, messages: Sequence[Message], *, client: str = "", sender: str = "", in_order: bool = False
    ) -> list[JobResult]:
        """Publish messages in their order; wait for all results, however long it takes.

        Args:
            in_order: publish them after all that the same sender has pending.
        """
        if self.is_draining:  # their results might arrive after this process has ended
            return self._refuse_all(messages, Unavailable(RESTARTING, RefusalReason.SHUTTING_DOWN))
        key = channel, sender
        job_queue = self._job_queues.get(key) if in_order else None
        job_queue = job_queue or self._dispatcher.open(channel, client, sender)
        if in_order:
            self._job_queues[key] = job_queue
        try:
            futures: list[asyncio.Future[JobResult]] = []
            for message in messages:
                future: asyncio.Future[JobResult] = asyncio.get_running_loop().create_future()
                job_queue.submit(message, partial(_set_result, future), bounded=not futures)
                futures.append(future)
            return [await future for future in futures]
        except Unavailable as refusal:  # the queue refuses the first one, so none is submitted
            return self._refuse_all(messages, refusal)
        finally:
            if not in_order or job_queue.is_idle:
                self._dispatcher.close(job_queue)
                if self._job_queues.get(key) is job_queue:
                    del self._job_queues[key]

    def _refuse_all(self, messages: Sequence[Message], refusal: Unavailable) -> list[JobResult]:
        refusals = [JobResult.of(refusal, one) for one in messages]
        for message, refused in zip(messages, refusals, strict=True):
            self._dispatcher.counters.count_result(message.type, refused.outcome, refused.refusal_reason)
        return refusals


def _set_result(future: "asyncio.Future[JobResult]", result: JobResult) -> None:
    if not future.done():  # cancelled: nothing awaits it any more
        future.set_result(result)
