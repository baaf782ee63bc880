"""How many connections of this front are in a channel, told to the workers."""

import asyncio

import msgspec

from gischat.broker.entries import COUNT
from gischat.front.channel.throttle import Throttle
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_result import JobResult
from gischat.protocol.messages import Message, new_id
from gischat.timings import Timings


class UserCount:
    """Tells changes, gathered: a thousand people who join together are four jobs, not a thousand.

    Every change has a number; `told` is the last that the channel has been told of. Who joined with change n is part of
    a published count as soon as `told >= n`.
    """

    def __init__(self, channel: str, dispatcher: Dispatcher, timings: Timings = Timings()) -> None:
        self.connections = 0
        self.version = 0
        self.published_version = 0
        self._published_connections = 0  # connections, when it was told last
        self._job_queue = dispatcher.open(channel)
        self._throttle = Throttle(timings.count, self._publish)
        self._retry = timings.retry

    def add(self, difference: int) -> int:
        """Counts connections that came (or, negative, went); returns the change's number."""
        self.connections += difference
        return self.republish()

    def differs_from(self, connections: int) -> bool:
        """Whether Redis has another number than it was told, and nothing newer is on its way."""
        return (
            self.published_version == self.version
            and self._job_queue.is_idle
            and connections != self._published_connections
        )

    def republish(self) -> int:
        self.version += 1
        self._throttle.trigger()
        return self.version

    def _publish(self) -> None:
        # While one is on its way, nothing: its end asks again if there is more to tell.
        if self._job_queue.is_idle:
            self._submit(self.version)

    def _submit(self, change: int) -> None:
        def ended(ending: JobResult) -> None:
            if ending.is_refusal:
                asyncio.get_running_loop().call_later(self._retry, self._throttle.trigger)
                return
            self.published_version, self._published_connections = max(self.published_version, change), connections
            if self.version > change:
                self._throttle.trigger()

        connections = self.connections
        body = msgspec.json.encode({"connections": connections})
        self._job_queue.submit(Message(COUNT, new_id(), body), ended)
