"""Outgoing hooks: post a channel's messages to external addresses, to each in order and at its own pace.

The outbox is read by position, and is the backlog. A failing post is repeated until the message is about to be trimmed
from the outbox; then the message becomes a dead letter. So do later messages, each at its own time, until the address
accepts posts again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from gischat.bridges.backoff import Backoff
from gischat.bridges.cursor import OutboxCursor
from gischat.bridges.errors import Delayed, Rejected
from gischat.bridges.participant import REDIS_FAULTS, Participant
from gischat.bridges.store import BridgeStore
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.outbox import Entry
from gischat.hooks.delivery import Delivery
from gischat.hooks.letters import KIND, HookLetters, target_of
from gischat.observability import metrics
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

T = TypeVar("T")

RETAINED = 0.9  # of the outbox's age, after which a message is given up, before it is trimmed unread
NOT_POSTED = frozenset({"nb_users", "newcomer", "exiter"})


class OutgoingHooks:
    """All outgoing hooks of the settings."""

    kind = KIND

    def __init__(self, participant: Participant, settings: Settings, timings: Timings = Timings()) -> None:
        self._participant = participant
        self._settings = settings
        self._timings = timings

    async def run(self, stop: asyncio.Event) -> None:
        """Post messages until `stop` is set; then finish those in flight, within a timeout."""
        delivery = Delivery(self._settings, self._timings)
        letters = HookLetters(self._settings, self._participant.redis, self._timings)
        hooks = [
            _Hook(channel, url, self._participant, delivery, letters, self._settings, self._timings)
            for channel, url in self._hooks()
        ]
        tasks = [asyncio.create_task(hook.run(stop)) for hook in hooks]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await asyncio.wait(tasks, timeout=self._timings.drain)
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            delivery.close()

    def _hooks(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(self._settings.outgoing_hooks))


class _Hook:
    """One outgoing hook: the messages of a channel for one address."""

    def __init__(
        self,
        channel: str,
        url: str,
        participant: Participant,
        delivery: Delivery,
        letters: HookLetters,
        settings: Settings,
        timings: Timings,
    ) -> None:
        self._channel = channel
        self._url = url
        self._history = participant.broker.history
        self._news = participant.news[channel]
        self._delivery = delivery
        self._letters = letters
        store = BridgeStore(settings.instance_id, f"{KIND}:{target_of(url)}", participant.redis)
        self._cursor = OutboxCursor(channel, participant.broker.outbox, store)
        self._timings = timings
        self._max_age = RETAINED * settings.max_outbox_age
        self._host = urlsplit(url).hostname  # other parts may be secret
        words = f"messages of {channel} cannot be posted to {self._host}"
        self._trouble = LogThrottle(words, timings, patience=0.0)

    async def run(self, stop: asyncio.Event) -> None:
        await self._redis(self._cursor.load)
        log.info("messages are posted to %s from now on", self._host, extra={"channel": self._channel})
        while not stop.is_set():
            entries = await self._redis(self._cursor.read)
            for entry in entries:
                self._count("missed", self._cursor.missed_before(entry))
                is_posted = entry.publication.is_broadcast and entry.publication.type not in NOT_POSTED
                if is_posted and not await self._post(entry, stop):
                    return
                self._cursor.advance(entry)
                await self._redis(self._cursor.save)
            if not entries:
                await self._wait_for_news(stop)
                await self._redis(self._cursor.rewind)

    async def _post(self, entry: Entry, stop: asyncio.Event) -> bool:
        """Post until success, until it is given up, or deleted by a moderator; False if the process stops before."""
        publication = entry.publication
        backoff = Backoff(self._timings.bridge_retry, self._timings.bridge_retry_longest)
        until = int(entry.id.partition(b"-")[0]) / 1000 + self._max_age
        while not await self._redis(lambda: self._history.is_deleted(self._channel, publication)):
            try:
                await self._delivery.post(self._url, self._channel, publication.id.decode(), publication.body)
            except Rejected as error:
                return await self._give_up(entry, str(error))
            except Delayed as error:
                metrics.BRIDGE_RETRIES.labels(KIND, error.trouble).inc()
                self._trouble.report(error)
                wait = backoff.next(error.after)
                if time.time() + wait > until:
                    return await self._give_up(entry, str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
                    return False
            else:
                self._trouble.resolve()
                self._count("passed", 1)
                return True
        return True

    async def _give_up(self, entry: Entry, reason: str) -> bool:
        publication = entry.publication
        await self._redis(
            lambda: self._letters.add(self._channel, self._url, publication.type, reason, publication.body)
        )
        self._count("refused", 1)
        extra = {"channel": self._channel, "type": publication.type}
        log.warning("a message was not posted, and is a dead letter now: %s", reason, extra=extra)
        return True

    async def _wait_for_news(self, stop: asyncio.Event) -> None:
        """Wait for publications, within a timeout, because several hooks of a channel share the event."""
        waits = [asyncio.ensure_future(one.wait()) for one in (self._news, stop)]
        await asyncio.wait(waits, timeout=self._timings.outbox_read, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        self._news.clear()

    async def _redis(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Query Redis until it answers."""
        while True:
            try:
                return await ask()
            except REDIS_FAULTS:
                await asyncio.sleep(self._timings.retry)

    def _count(self, outcome: str, number: int) -> None:
        if number:
            metrics.BRIDGE_MESSAGES.labels(KIND, "out", outcome).inc(number)
