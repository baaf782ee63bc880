"""User count: publishes the number of this front's connections in a channel, versioned and throttled."""

import asyncio

import msgspec

from gischat.broker.entries import COUNT
from gischat.front.channel.throttle import Throttle
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_result import JobResult
from gischat.protocol.messages import Message, new_id
from gischat.timings import Timings


class UserCount:
    """Publishes the count, throttled: a thousand people who join at once cause four jobs, not a thousand.

    Every change increments `version`; `published_version` is the last one published. A client that joined with version
    n is included in the published count as soon as `published_version >= n`.
    """

    def __init__(self, channel: str, dispatcher: Dispatcher, timings: Timings = Timings()) -> None:
        self.connections = 0
        self.version = 0
        self.published_version = 0
        self._published_connections = 0  # `connections` when last published
        self._job_queue = dispatcher.open(channel)
        self._throttle = Throttle(timings.count, self._publish)
        self._retry = timings.retry

    def add(self, difference: int) -> int:
        """Count connections that joined (or, if negative, left); returns the version."""
        self.connections += difference
        return self.republish()

    def differs_from(self, connections: int) -> bool:
        """Whether Redis has another number than was published, and no newer one is in flight."""
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
        # While one is in flight, do nothing: its end triggers again if there is a newer version.
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
