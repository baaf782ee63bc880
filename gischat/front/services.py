"""The composition root of a front: creates its parts, and drains them on shutdown."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec
from tornado.iostream import IOStream

from gischat.broker.broker import Broker
from gischat.broker.client import Redis
from gischat.broker.discovery import connect, reading_groups
from gischat.broker.namespace import Namespace
from gischat.broker.outbox import OutboxReader
from gischat.broker.resp_errors import RedisError
from gischat.errors import RefusalReason, Unavailable
from gischat.front.auth.admin_auth import AdminAuth
from gischat.front.auth.channel_auth import ChannelAuth
from gischat.front.auth.failed_attempts import FailedAttempts
from gischat.front.auth.origins import Origins
from gischat.front.channel.cache import CachedAnswer, ReadPacer
from gischat.front.channel.geopackages import GeoPackages
from gischat.front.channel.nickname_challenge import Challenges
from gischat.front.channel.recent_messages import MAX_BYTES, RecentMessages
from gischat.front.channel.room import REPLAYED_BYTES_PER_SECOND, Room
from gischat.front.close_status import SHUTTING_DOWN
from gischat.front.connection.client_connection import RESTARTING, ClientConnection
from gischat.front.connection.event_reader import EventReader
from gischat.front.connection.event_stream import EventEncoder
from gischat.front.connection.keepalive import Keepalive
from gischat.front.degradations import Degradations
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.health_probe import RoundTripProbe
from gischat.front.gauges import Gauges
from gischat.front.limits.admission import Admission
from gischat.front.limits.connection_limit import ConnectionLimiter
from gischat.front.limits.hook_limit import Hooks
from gischat.front.limits.memory_budget import MemoryBudget
from gischat.front.limits.rate_limit import ConnectionRateLimiter
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.moderation.service import ModerationService
from gischat.front.publisher import Publisher
from gischat.front.subscription.lease import LeaseKeeper
from gischat.front.subscription.live_exchange import LiveExchange
from gischat.front.subscription.recovery import Parts, Recovery
from gischat.front.subscription.subscriber import Subscriber
from gischat.front.transport.read_scheduler import ReadScheduler
from gischat.front.transport.upload_watch import UploadWatch
from gischat.observability import metrics
from gischat.observability.metrics import CloseReason, Delay, RejectReason
from gischat.protocol.parsing import MessageParser
from gischat.protocol.types import LIVE_TYPES
from gischat.settings import Settings
from gischat.timings import Timings


class Services:
    """The parts of one front process."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        heavy: Redis,
        histories: Redis,
        bodies: Redis,
        readers: Sequence[OutboxReader],
        timings: Timings = Timings(),
    ) -> None:
        self.settings = settings
        self.timings = timings
        self._redis = redis
        self.origins = Origins(settings)
        self.channel_auth = ChannelAuth(settings)
        self.wrong_keys = FailedAttempts(timings.wrong_tokens)
        self.rejections = RejectionLog(timings)
        self.memory_budget = MemoryBudget(settings.max_front_bytes, self.rejections)
        self.connection_limiter = ConnectionLimiter(settings, self.rejections, timings)
        self.hooks = Hooks(settings, self.rejections)
        self.messages = MessageParser(settings)
        namespace = Namespace(settings, timings)
        self.broker = Broker.of(namespace, secrets.token_hex(16), redis, heavy, histories, bodies)
        self.admission = Admission(settings, self.rejections)
        self.dispatcher = Dispatcher(self.broker, settings, timings, self.admission)
        pace = ReadPacer()
        replays = ReadPacer(REPLAYED_BYTES_PER_SECOND)
        self.rooms = {
            name: Room(name, self.broker, self.dispatcher, pace, self._recent_messages(), replays, timings)
            for name in settings.channels
        }
        self.geopackages = GeoPackages(timings)
        self.status = CachedAnswer(self._encode_status, seconds=timings.answer_kept)
        for room in self.rooms.values():
            room.on_count = self.status.invalidate
        self.subscriber = Subscriber(self.broker, readers, self.rooms, self.dispatcher, timings)
        self.leases = LeaseKeeper(self.broker, self.rooms, self.dispatcher, self.subscriber, timings)
        readers_of_live = _live_readers(settings, timings)
        self.live = LiveExchange(self.broker.front, self.rooms, namespace, redis, readers_of_live, timings)
        self.challenges = Challenges(self.rooms, timings)
        self.admin_auth = AdminAuth(settings.admin_token, timings)
        self.moderation = ModerationService(
            settings, self.broker, self.rooms, self.dispatcher, self.channel_auth, timings
        )
        recovery = Recovery(Parts(self.rooms, self.dispatcher, self.subscriber, self.leases, self.moderation))
        self.probe = RoundTripProbe(settings.channels[0], self.dispatcher, timings)
        keepalive = Keepalive(self.rooms, settings.ws_ping_interval, settings.ws_ping_timeout, timings)
        gauges = Gauges(settings.process_name, self.rooms, self.reasons_not_ready, timings)
        self.read_scheduler = ReadScheduler()
        self.upload_watch = UploadWatch(timings)
        self._event_encoder = EventEncoder()
        self.publisher = Publisher(self.dispatcher, timings)
        # These run as long as the front does.
        self.background_services = (
            self.subscriber,
            self.leases,
            recovery,
            self.dispatcher,
            self.probe,
            keepalive,
            gauges,
            self.upload_watch,
            self.live,
        )
        for close_reason in CloseReason:  # create them at 0, so that Prometheus sees the first one as an increase
            metrics.CONNECTIONS_CLOSED.labels(close_reason)
        for reject_reason in RejectReason:
            metrics.CONNECTIONS_REFUSED.labels(reject_reason)
        for delay in Delay:
            metrics.READING_DELAYED.labels(delay)
        self.is_draining = False
        self._degradations = Degradations(self.broker, self.leases, timings)
        self._user_counts = dict.fromkeys(settings.channels, 0)

    def _recent_messages(self) -> RecentMessages:
        """The recent messages of one channel; all channels together use a quarter of this front's memory budget."""
        return RecentMessages(
            max_bytes=min(MAX_BYTES, self.settings.max_front_bytes // 4 // len(self.settings.channels)),
            max_entries=self.settings.max_outbox_messages,
            memory=self.memory_budget,
            timings=self.timings,
        )

    def accept_client(
        self,
        room: Room,
        stream: IOStream,
        close: Callable[[int, str], None],
        pace: ConnectionRateLimiter,
        after: str | None,
        address: str,
        types: Iterable[str] = (),
    ) -> ClientConnection:
        """Let a client join a room.

        Args:
            pace: the connection's rate limits.
            after: the id of the last message that the client has; it gets the later ones.
            types: optional message types that the client asks for.
        """
        connection = ClientConnection(
            room,
            stream,
            close,
            messages=self.messages,
            dispatcher=self.dispatcher,
            pace=pace,
            rejections=self.rejections,
            memory=self.memory_budget,
            max_unread_bytes=self.settings.max_unread_bytes,
            requires_registration=self.settings.require_registration,
            address=address,
            address_key=pace.address_key,
        )
        room.join(connection, after)
        if not LIVE_TYPES.isdisjoint(types):
            room.live.subscribe(connection)
        return connection

    def accept_reader(
        self, room: Room, stream: IOStream, close: Callable[[int, str], None], after: str | None, address: str
    ) -> EventReader:
        """Let a reader join a room; for `after` see `accept_client`."""
        reader = EventReader(
            room,
            stream,
            close,
            id=self.dispatcher.new_id(),
            encoder=self._event_encoder,
            memory=self.memory_budget,
            max_unread_bytes=self.settings.max_unread_bytes,
            address=address,
        )
        room.join(reader, after)
        return reader

    async def user_counts(self) -> dict[str, int]:
        """Connections by channel, over all fronts; the last known numbers while Redis is out of reach."""
        with contextlib.suppress(Unavailable, RedisError):
            counts = await self.broker.presence.user_counts(self.settings.channels)
            self._user_counts = dict(zip(self.settings.channels, counts, strict=True))
        return self._user_counts

    async def _encode_status(self) -> bytes:
        counts = await self.user_counts()
        await self._degradations.look()
        healthy = self.probe.is_healthy and not self.degradations()
        return msgspec.json.encode(
            {
                "status": "ok" if healthy else "degraded",
                "healthy": healthy,
                "channels": [{"name": name, "nb_connected_users": number} for name, number in counts.items()],
            }
        )

    def reasons_not_ready(self) -> list[str]:
        """Why this front should get no clients at the moment; empty if it should."""
        reasons = {
            "it is about to stop": self.is_draining,
            "redis is out of reach": not self._redis.is_connected,
            "messages are not delivered: is a light worker running?": not self.probe.is_healthy,
            "keys of every channel in redis are damaged": len(self.leases.damaged) == len(self.rooms),
        }
        return [reason for reason, holds in reasons.items() if holds]

    async def look_for_degradations(self) -> None:
        """Update `degradations` by reading the status (cached, with a short timeout)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.timings.scrape):
                await self.status.get()

    def degradations(self) -> list[str]:
        """What an operator has to repair although clients are accepted: single channels, the heavy lane."""
        return self._degradations.named()

    async def drain(self) -> None:
        """Wait until accepted messages are published, then close all connections and publish their end."""
        self.is_draining = self.publisher.is_draining = True
        self.probe.stop()
        connections = [member for room in self.rooms.values() for member in room.connections.values()]
        for connection in connections:
            connection.is_draining = True
        await self._wait_until(lambda: self.dispatcher.are_idle, self.timings.drain)
        self.dispatcher.reject_pending(Unavailable(RESTARTING, RefusalReason.SHUTTING_DOWN))
        await self.broker.inbox.uploads.cancel_pending()
        for number, connection in enumerate(connections):
            metrics.CONNECTIONS_CLOSED.labels(CloseReason.SHUTTING_DOWN).inc()
            connection.close(*SHUTTING_DOWN)
            if number % 100 == 99:
                await asyncio.sleep(self.timings.shutdown_spread * 100 / len(connections))
        await self.live.flush()
        await self._wait_until(lambda: self._has_left, self.timings.leave)
        if self._has_left:
            await self.leases.release()

    @property
    def _has_left(self) -> bool:
        """Whether every channel has been told that this front has no connections any more."""
        rooms = self.rooms.values()
        is_told = all(room.user_count.published_version == room.user_count.version for room in rooms)
        return is_told and self.dispatcher.are_idle and not any(room.connections for room in rooms)

    @staticmethod
    async def _wait_until(holds: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():  # noqa: ASYNC110 - the condition spans many parts, and is checked once per process
                    await asyncio.sleep(0.02)


def _live_readers(settings: Settings, timings: Timings) -> list[tuple[Sequence[str], Callable[[], Redis]]]:
    url, answer_seconds = settings.redis_url, timings.outbox_answer
    dial = partial(connect, url, name="gischat-live", resends=False, answer_seconds=answer_seconds, timings=timings)
    return [(channels, dial) for channels in reading_groups(url, settings.channels)]
