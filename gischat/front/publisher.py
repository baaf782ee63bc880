"""Publishes what comes from no connection: a text over HTTP, a hook's messages, an announcement."""

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
    """A front's; `in_background` are those whose end nobody waits for any more."""

    def __init__(self, dispatcher: Dispatcher, timings: Timings) -> None:
        self.is_draining = False
        self.in_background: set[asyncio.Task[list[JobResult]]] = set()
        self._job_queues: dict[tuple[str, str], JobQueue] = {}  # of those in order that have something on its way
        self._dispatcher = dispatcher
        self._timings = timings

    async def publish(self, channel: str, message: Message, *, client: str = "", sender: str = "") -> JobResult | None:
        """Says something that comes from no connection; None when its end was not heard of in time.

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
        """Says several things in their order; for what came of each, it waits as long as it takes.

        Args:
            in_order: behind what the same sender still has on its way.
        """
        if self.is_draining:  # their ends might come when nobody is here to be told
            return self._refuse_all(messages, Unavailable(RESTARTING, RefusalReason.SHUTTING_DOWN))
        key = channel, sender
        job_queue = self._job_queues.get(key) if in_order else None
        job_queue = job_queue or self._dispatcher.open(channel, client, sender)
        if in_order:
            self._job_queues[key] = job_queue
        try:
            ends: list[asyncio.Future[JobResult]] = []
            for message in messages:
                end: asyncio.Future[JobResult] = asyncio.get_running_loop().create_future()
                job_queue.submit(message, partial(_set_result, end), bounded=not ends)
                ends.append(end)
            return [await end for end in ends]
        except Unavailable as refusal:  # the first does not fit, and so none is taken
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


def _set_result(end: "asyncio.Future[JobResult]", result: JobResult) -> None:
    if not end.done():  # nobody waits for it any more
        end.set_result(result)
