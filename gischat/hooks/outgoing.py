"""Outgoing hooks: post a channel's messages to external addresses, to each in order and at its own pace.

The outbox is read by position, and is the backlog. A failing post is repeated until the message is about to be trimmed
from the outbox; then the message becomes a dead letter. So do later messages, each at its own time, until the address
accepts posts again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from gischat.bridges.cursor import OutboxCursor
from gischat.bridges.errors import Delayed, Rejected, Stopped
from gischat.bridges.participant import Participant
from gischat.bridges.retrying import Retrying
from gischat.bridges.store import BridgeStore
from gischat.broker.entries import Publication
from gischat.broker.log_throttle import LogThrottle
from gischat.broker.outbox import Entry
from gischat.hooks.delivery import Delivery
from gischat.hooks.letters import KIND, HookLetters, target_of
from gischat.observability import metrics
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

RETAINED = 0.9  # of the outbox's age, after which a message is given up, before it is trimmed unread
NOT_POSTED = frozenset({"nb_users", "newcomer", "exiter"})


class OutgoingHooks:
    """All outgoing hooks of the settings."""

    kind = KIND

    @staticmethod
    def channels_of(settings: Settings) -> Sequence[str]:
        return list(dict.fromkeys(channel for channel, _ in settings.outgoing_hooks))

    def __init__(self, participant: Participant, settings: Settings, timings: Timings = Timings()) -> None:
        self.participant = participant
        self.settings = settings
        self.timings = timings
        self.delivery = Delivery(settings, timings)
        self.letters = HookLetters(settings, participant.redis, timings)

    async def run(self, stop: asyncio.Event) -> None:
        """Post messages until `stop` is set; then finish those in flight, within a timeout."""
        hooks = [_Hook(self, channel, url, stop) for channel, url in dict.fromkeys(self.settings.outgoing_hooks)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(hook.run()) for hook in hooks]
                await stop.wait()
                await asyncio.wait(tasks, timeout=self.timings.drain)
                for task in tasks:
                    task.cancel()
        finally:
            self.delivery.close()


class _Hook(Retrying):
    """One outgoing hook: the messages of a channel for one address."""

    def __init__(self, hooks: OutgoingHooks, channel: str, url: str, stop: asyncio.Event) -> None:
        self._host = urlsplit(url).hostname  # other parts may be secret
        words = f"messages of {channel} cannot be posted to {self._host}"
        self._refusals = LogThrottle(words, hooks.timings, patience=0.0)
        super().__init__(KIND, hooks.timings, stop, self._refusals)
        self._channel = channel
        self._url = url
        self._delivery, self._letters = hooks.delivery, hooks.letters
        participant, settings = hooks.participant, hooks.settings
        self._history = participant.broker.history
        self._news = participant.news[channel]
        store = BridgeStore(settings.instance_id, f"{KIND}:{target_of(url)}", participant.redis)
        self._cursor = OutboxCursor(channel, participant.broker.outbox, store)
        self._max_age = RETAINED * settings.max_outbox_age

    async def run(self) -> None:
        """Post messages until the process stops."""
        with contextlib.suppress(Stopped):
            await self.attempt(self._cursor.load)
            log.info("messages are posted to %s from now on", self._host, extra={"channel": self._channel})
            await self.follow(self._cursor, self._news, self._pass_on)

    async def _pass_on(self, entry: Entry) -> None:
        self._count("missed", self._cursor.missed_before(entry))
        if entry.publication.is_broadcast and entry.publication.type not in NOT_POSTED:
            await self._post(entry)
            self._cursor.advance(entry)
            await self.attempt(self._cursor.save)  # at once, so that the next process does not post it again

    async def _post(self, entry: Entry) -> None:
        """Post a message until it is accepted, given up, or deleted by a moderator."""
        until = int(entry.id.partition(b"-")[0]) / 1000 + self._max_age
        try:
            if await self.attempt(partial(self._post_unless_deleted, entry.publication), until):
                self._refusals.resolve()
                self._count("passed", 1)
        except (Rejected, Delayed) as error:
            await self._give_up(entry.publication, str(error))

    async def _post_unless_deleted(self, publication: Publication) -> bool:
        if await self._history.is_deleted(self._channel, publication):
            return False
        await self._delivery.post(self._url, self._channel, publication.id.decode(), publication.body)
        return True

    async def _give_up(self, publication: Publication, reason: str) -> None:
        await self.attempt(
            lambda: self._letters.add(self._channel, self._url, publication.type, reason, publication.body)
        )
        self._count("refused", 1)
        extra = {"channel": self._channel, "type": publication.type}
        log.warning("a message was not posted, and is a dead letter now: %s", reason, extra=extra)

    def _count(self, outcome: str, number: int) -> None:
        if number:
            metrics.BRIDGE_MESSAGES.labels(KIND, "out", outcome).inc(number)
