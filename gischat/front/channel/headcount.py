"""How many connections of this front are in a channel, told to the workers."""

import asyncio

import msgspec

from gischat.front.channel.gathering import Gathering
from gischat.front.jobs.turnstile import Ending, Turnstiles
from gischat.messages import Message, new_id
from gischat.streams.entries import COUNT
from gischat.timings import Timings


class HeadCount:
    """Tells changes, gathered: a thousand people who join together are four jobs, not a thousand.

    Every change has a number; `told` is the last that the channel has been told of. Who joined with change n is part of
    a published count as soon as `told >= n`.
    """

    def __init__(self, channel: str, turnstiles: Turnstiles, timings: Timings = Timings()) -> None:
        self.connections = 0
        self.changes = 0
        self.told = 0
        self._said = 0  # connections, when it was told last
        self._turnstile = turnstiles.open(channel)
        self._gathering = Gathering(timings.count, self._tell)
        self._retry = timings.retry

    def add(self, difference: int) -> int:
        """Counts connections that came (or, negative, went); returns the change's number."""
        self.connections += difference
        return self.tell_again()

    def differs_from(self, connections: int) -> bool:
        """Whether Redis has another number than it was told, and nothing newer is on its way."""
        return self.told == self.changes and self._turnstile.is_idle and connections != self._said

    def tell_again(self) -> int:
        self.changes += 1
        self._gathering.ask()
        return self.changes

    def _tell(self) -> None:
        # While one is on its way, nothing: its end asks again if there is more to tell.
        if self._turnstile.is_idle:
            self._submit(self.changes)

    def _submit(self, change: int) -> None:
        def ended(ending: Ending) -> None:
            if ending.is_refusal:
                asyncio.get_running_loop().call_later(self._retry, self._gathering.ask)
                return
            self.told, self._said = max(self.told, change), connections
            if self.changes > change:
                self._gathering.ask()

        connections = self.connections
        body = msgspec.json.encode({"connections": connections})
        self._turnstile.submit(Message(COUNT, new_id(), body), ended)
