"""A bridge as a participant in its channels: it enqueues jobs, receives their results, and keeps a lease.

It does the work of a front without clients: it renews a lease, reads the outboxes by position, and replays what Redis
has lost. It does not keep publications for the other chat, which the bridge reads from the outbox at its own pace.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Self

import msgspec

from gischat.bridges.cursor import STREAM_START, sort_key
from gischat.bridges.store import BridgeStore
from gischat.broker.broker import Broker
from gischat.broker.client import Redis
from gischat.broker.discovery import connect, reading_groups
from gischat.broker.entries import NICKNAMES, STATE_LOST, Outcome, Publication
from gischat.broker.log_throttle import described
from gischat.broker.namespace import Namespace
from gischat.broker.orders import Connected, Deletion, Disconnection, SurveyRequest, survey_answer
from gischat.broker.outbox import READ_ENTRIES, OutboxReader
from gischat.broker.resp_errors import RedisError
from gischat.errors import RefusalReason, Unavailable
from gischat.front.auth.bans import Bans
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.intactness import Intactness
from gischat.front.dispatch.job_queue import JobQueue
from gischat.front.dispatch.job_result import JobResult
from gischat.front.dispatch.state_reports import Incident
from gischat.front.dispatch.stream_position import Continuity
from gischat.protocol.messages import Message, folded
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

REDIS_FAULTS = (ConnectionError, Unavailable, RedisError)

# Temporary reasons, after which the message is sent again
PASSING = frozenset(
    (
        RefusalReason.QUEUE_FULL,
        RefusalReason.SERVER_FULL,
        RefusalReason.ADDRESS_QUEUE_FULL,
        RefusalReason.REDIS_UNAVAILABLE,
        RefusalReason.MESSAGE_LOST,
    )
)


class Participant:
    """One participant per bridge. Its id begins with `kind`, by which later processes recognise its messages."""

    def __init__(
        self,
        kind: str,
        channels: Sequence[str],
        settings: Settings,
        redis: Redis,
        heavy: Redis,
        readers: Sequence[OutboxReader],
        timings: Timings = Timings(),
    ) -> None:
        self.kind = kind
        self.channels = channels
        self.front = f"{kind}-{secrets.token_hex(8)}"
        self.redis = redis
        self.store = BridgeStore(settings.instance_id, kind, redis)
        self.broker = Broker.of(Namespace(settings, timings), self.front, redis, heavy)
        self.dispatcher = Dispatcher(self.broker, settings, timings)
        self.bans = dict.fromkeys(channels, Bans())
        self.news = {channel: asyncio.Event() for channel in channels}  # set after each publication
        # Called when a channel's nicknames and count have to be sent again
        self.on_restore: Callable[[str], None] = lambda _: None
        # Called when nicknames that fulfil the condition have to be removed from a channel
        self.on_dismissal: Callable[[str, Callable[[str], bool]], None] = lambda channel, is_meant: None
        self.people_of: Callable[[str], Sequence[Connected]] = lambda _: ()
        self._reserved = settings.admin_author if settings.admin_token else ""
        self._readers = readers
        self._timings = timings
        self._entries: dict[str, bytes] = {}  # the last entry read from each outbox
        self._intact = {channel: Intactness(self.dispatcher.positions[channel]) for channel in channels}
        self._caught_up_at = dict.fromkeys(channels, 0.0)  # loop time; everything published until then was received

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(
        cls, kind: str, channels: Sequence[str], settings: Settings, timings: Timings
    ) -> AsyncIterator[Self]:
        """A connected participant; waits for Redis."""
        async with contextlib.AsyncExitStack() as stack:
            open_redis = partial(connect, settings.redis_url, timings=timings)
            redis = await stack.enter_async_context(open_redis(name="gischat-bridge"))
            heavy = await stack.enter_async_context(open_redis(name="gischat-bridge-heavy"))
            connections, readers = [redis, heavy], []
            for group in reading_groups(settings.redis_url, channels):
                reading = open_redis(name="gischat-bridge-reader", resends=False, answer_seconds=timings.outbox_answer)
                connections.append(await stack.enter_async_context(reading))
                readers.append(OutboxReader(settings, group, connections[-1], timings))
            participant = cls(kind, channels, settings, redis, heavy, readers, timings)
            for connection in connections:
                connection.reconnected = participant.dispatcher.reports.reconnected
            await participant._join()
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [
                tasks.create_task(run)
                for run in (
                    *(participant._read(reader) for reader in readers),
                    participant._renew_leases(),
                    participant._recover(),
                    participant.dispatcher.run(),
                )
            ]
            try:
                yield participant
            finally:
                await participant._leave()
                for task in running:
                    task.cancel()

    def is_own(self, publication: Publication) -> bool:
        """Whether a bridge of this kind sent it: this process, or an earlier one."""
        return publication.source is not None and self.is_of_own_people(publication.source.front)

    def is_of_own_people(self, address: str) -> bool:
        """Whether a connection belongs to a person of the other chat, in this process or an earlier one."""
        return address.startswith(f"{self.kind}-")

    async def take_over(self) -> None:
        """Free the nicknames of an earlier process that ran on this machine and was killed."""
        for channel in self.channels:
            await self.broker.presence.release_leases_of_dead_fronts(channel)

    async def submit(self, job_queue: JobQueue, message: Message) -> JobResult:
        """Send a message and wait for its result; resend it if it was refused for a temporary reason.

        The result is certain: if it is unknown, Redis is queried (see `JobQueue`).
        """
        deadline = asyncio.get_running_loop().time() + self._timings.bridge_patience
        while True:
            future: asyncio.Future[JobResult] = asyncio.get_running_loop().create_future()
            self.dispatcher.reopen(job_queue)  # the person may have left meanwhile: see `People.leave`
            try:
                self.bans[job_queue.channel].check(message)
                job_queue.submit(message, lambda result, to=future: None if to.done() else to.set_result(result))  # type: ignore[misc]
                result = await future
            except Unavailable as refusal:
                result = JobResult.of(refusal, message)
            is_passing = result.is_refusal and result.refusal_reason in PASSING
            if not is_passing or asyncio.get_running_loop().time() > deadline:
                return result
            await asyncio.sleep(self._timings.retry)

    # Leases and recovery

    async def _join(self) -> None:
        """Acquire leases, load bans, and start at the end of each outbox; waits for Redis."""
        for channel in self.channels:
            while channel not in self._entries:
                try:
                    newest = await self.broker.outbox.last_entry(channel)
                    await self._load_bans(channel)
                    await self.broker.presence.renew_lease(channel, self._timings.lease)
                except REDIS_FAULTS as error:
                    log.debug("waiting for redis: %s", described(error))
                    await asyncio.sleep(self._timings.retry)
                else:
                    self.dispatcher.positions[channel].start_at(newest.publication.offset if newest else 0)
                    self._entries[channel] = newest.id if newest else STREAM_START
            self._intact[channel].until = asyncio.get_running_loop().time()

    async def _leave(self) -> None:
        with contextlib.suppress(*REDIS_FAULTS, TimeoutError):
            async with asyncio.timeout(self._timings.leave):
                for channel in self.channels:
                    await self.broker.presence.release_lease(channel)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._timings.lease_renewal)
            for channel, intact in self._intact.items():
                intact.ask(asyncio.get_running_loop().time())
                try:
                    renewal = await self.broker.presence.renew_lease(channel, self._timings.lease)
                except RedisError as error:  # a key of this channel may be damaged, which must not affect the others
                    log.debug("a lease could not be renewed: %s", described(error))
                    continue
                except REDIS_FAULTS as error:
                    log.debug("no lease could be renewed: %s", described(error))
                    break
                now = asyncio.get_running_loop().time()
                if not intact.answer(renewal, self._caught_up_at[channel], now):
                    self.dispatcher.reports.state_lost(channel)  # recovery replays from when it was last intact
                elif renewal.had_expired:
                    self.on_restore(channel)

    async def _recover(self) -> None:
        """Recover from losses in Redis: replay jobs, and restore nicknames and counts."""
        while True:
            report = await self.dispatcher.reports.next()
            if report.incident is not Incident.STATE_LOST:
                self.dispatcher.resend_in_flight(report.channel or None)
                continue
            channel = report.channel
            since = self._intact[channel].until - self._timings.redis_loss
            try:
                await self.broker.presence.renew_lease(channel, self._timings.lease, is_state_lost=True)
                await self._rewind(channel)
            except REDIS_FAULTS as error:
                log.warning("recovery failed, and will be retried: %s", described(error))
                continue  # the loss will be detected again
            log.warning("redis has lost this bridge's state in a channel", extra={"channel": channel})
            self.dispatcher.positions[channel].reset()
            self.dispatcher.replay(channel, since)
            self.on_restore(channel)
            await self._load_bans(channel)

    async def _rewind(self, channel: str) -> None:
        """Read the outbox again if its entries now precede our position."""
        newest = await self.broker.outbox.last_entry(channel)
        if newest is None or sort_key(newest.id) < sort_key(self._entries[channel]):
            self._entries[channel] = STREAM_START
            for reader in self._readers:
                if channel in reader.channels:
                    reader.reconnect()

    # Receiving

    async def _read(self, reader: OutboxReader) -> None:
        while True:
            positions = {channel: self._entries[channel] for channel in reader.channels}
            asked_at = asyncio.get_running_loop().time()
            try:
                read = await reader.read(positions)
            except REDIS_FAULTS as error:
                log.debug("the outboxes could not be read: %s", described(error))
                await asyncio.sleep(self._timings.read_pause)
                continue
            is_caught_up = all(len(entries) < READ_ENTRIES for _, entries in read)
            for channel, entries in read:
                if self._entries[channel] != positions[channel]:
                    is_caught_up = False
                    continue  # rewound meanwhile
                for entry in entries:
                    if not entry.publication.is_foreign:
                        await self._receive(channel, entry.publication)
                self._entries[channel] = entries[-1].id
                self.news[channel].set()
            if is_caught_up:
                self._caught_up_at |= dict.fromkeys(reader.channels, asked_at)

    async def _receive(self, channel: str, publication: Publication) -> None:
        position = self.dispatcher.positions[channel]
        continuity = position.compare(publication.offset)
        if continuity is Continuity.GAP:
            self.dispatcher.reports.gap(channel)
        elif continuity is Continuity.RESTARTED:
            position.start_epoch()
            self.dispatcher.reports.state_lost(channel)
        position.advance(publication.offset)
        self.dispatcher.complete(publication)
        if publication.outcome is Outcome.CONTROL and publication.type in ORDERS:
            await ORDERS[publication.type](self, channel, publication.body)

    # Orders, which every front executes, and a bridge for its people

    async def _load_bans(self, channel: str, _: bytes = b"") -> None:
        with contextlib.suppress(*REDIS_FAULTS):
            state = await self.broker.moderation.moderation_state(channel)
            bans = self.bans[channel] = Bans(state.bans, reserved=self._reserved)
            self.on_dismissal(channel, lambda nickname: bans.ban_reason(nickname) is not None)

    async def _restore(self, channel: str, _: bytes) -> None:
        self.on_restore(channel)

    async def _disconnect(self, channel: str, body: bytes) -> None:
        unwanted = folded(msgspec.json.decode(body, type=Disconnection).nickname)
        self.on_dismissal(channel, lambda nickname: folded(nickname) == unwanted)

    async def _forget_deleted(self, channel: str, body: bytes) -> None:
        deletion = msgspec.json.decode(body, type=Deletion)
        self.dispatcher.delete_messages(channel, None if deletion.all else set(deletion.ids))

    async def _answer_survey(self, channel: str, body: bytes) -> None:
        request = msgspec.json.decode(body, type=SurveyRequest)
        people = [one for name in self.channels if request.channel in (None, name) for one in self.people_of(name)]
        with contextlib.suppress(*REDIS_FAULTS):  # the survey's result then lists this bridge as missing
            await self.broker.moderation.answer_survey(channel, request.call, survey_answer(self.front, people))


ORDERS: Mapping[str, Callable[[Participant, str, bytes], Awaitable[None]]] = {
    "moderation": Participant._load_bans,
    "deleted": Participant._forget_deleted,
    "disconnect": Participant._disconnect,
    "survey": Participant._answer_survey,
    STATE_LOST: Participant._restore,
    NICKNAMES: Participant._restore,
}
