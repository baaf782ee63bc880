"""One front, put together: its parts and its end."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence

import msgspec
from tornado.iostream import IOStream

from gischat import metrics
from gischat.errors import Cause, Refused
from gischat.front.channel.cache import CachedAnswer, ReadPace
from gischat.front.channel.challenge import Challenges
from gischat.front.channel.closing import STOPPING
from gischat.front.channel.connection import GOING_AWAY, Connection
from gischat.front.channel.geopackages import GeoPackages
from gischat.front.channel.moderation import Moderation
from gischat.front.channel.presence import Presence
from gischat.front.channel.pulse import Pulse
from gischat.front.channel.recent import MAX_BYTES, RecentMessages
from gischat.front.channel.rooms import REPLAYED_BYTES_PER_SECOND, Room
from gischat.front.channel.subscriber import Subscriber
from gischat.front.door.access import Access
from gischat.front.door.admission import Admission
from gischat.front.door.doorkeeper import Doorkeeper
from gischat.front.door.origins import Origins
from gischat.front.door.rates import Pace
from gischat.front.gauges import Gauges
from gischat.front.jobs.circle import Circle
from gischat.front.jobs.gateway import Gateway, OutboxReader
from gischat.front.jobs.turnstile import Ending, Turnstiles
from gischat.front.sockets.drops import Drops
from gischat.front.sockets.memory import Memory
from gischat.front.sockets.turns import Turns
from gischat.front.sockets.uploads import Uploads
from gischat.messages import Message
from gischat.metrics import Closing, Delay, Unwelcome
from gischat.reading import Messages
from gischat.settings import Settings
from gischat.streams.answers import RedisError
from gischat.streams.multiplexer import Redis
from gischat.timings import Timings


class Front:
    """The parts of one front process."""

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        heavy: Redis,
        histories: Redis,
        readers: Sequence[OutboxReader],
        timings: Timings = Timings(),
    ) -> None:
        self.settings = settings
        self.timings = timings
        self._redis = redis
        self.origins = Origins(settings)
        self.access = Access(settings)
        self.drops = Drops(timings)
        self.memory = Memory(settings.max_front_bytes, self.drops)
        self.admission = Admission(settings, self.drops, timings)
        self.messages = Messages(settings)
        self.gateway = Gateway(settings, secrets.token_hex(16), redis, heavy, histories, timings)
        self.turnstiles = Turnstiles(self.gateway, settings, timings)
        pace = ReadPace()
        replays = ReadPace(REPLAYED_BYTES_PER_SECOND)
        self.rooms = {
            name: Room(name, self.gateway, self.turnstiles, pace, self._recent_messages(), replays, timings)
            for name in settings.channels
        }
        self.geopackages = GeoPackages(timings)
        self.status = CachedAnswer(self._encode_status, seconds=timings.answer_kept)
        for room in self.rooms.values():
            room.counted = self.status.invalidate
        self.subscriber = Subscriber(self.gateway, readers, self.rooms, self.turnstiles, timings)
        self.presence = Presence(self.gateway, self.rooms, self.turnstiles, self.subscriber, timings)
        self.challenges = Challenges(self.rooms, timings)
        self.doorkeeper = Doorkeeper(settings.admin_token, timings)
        self.moderation = Moderation(settings, self.gateway, self.rooms, self.turnstiles, timings)
        self.circle = Circle(settings.channels[0], self.turnstiles, timings)
        pulse = Pulse(self.rooms, settings.ws_ping_interval, settings.ws_ping_timeout, timings)
        gauges = Gauges(settings.process_name, self.rooms, self.reasons_not_ready, timings)
        self.turns = Turns()
        self.uploads = Uploads(timings)
        # Those that run as long as the front does.
        self.parts = (self.subscriber, self.presence, self.turnstiles, self.circle, pulse, gauges, self.uploads)
        for closing in Closing:  # so that the first of its kind is an increase
            metrics.CONNECTIONS_CLOSED.labels(closing)
        for unwelcome in Unwelcome:
            metrics.CONNECTIONS_REFUSED.labels(unwelcome)
        for delay in Delay:
            metrics.READING_DELAYED.labels(delay)
        self.is_draining = False
        self._head_counts = dict.fromkeys(settings.channels, 0)

    def _recent_messages(self) -> RecentMessages:
        """For a channel: all of them together hold a quarter of what this front may."""
        return RecentMessages(
            max_bytes=min(MAX_BYTES, self.settings.max_front_bytes // 4 // len(self.settings.channels)),
            max_entries=self.settings.max_outbox_messages,
            memory=self.memory,
            timings=self.timings,
        )

    def connect(
        self,
        room: Room,
        stream: IOStream,
        close: Callable[[int, str], None],
        pace: Pace,
        after: str | None,
        address: str,
    ) -> Connection:
        """A client has come to a room; what it missed after the message of id `after`, it wants to be told."""
        connection = Connection(
            room,
            stream,
            close,
            messages=self.messages,
            turnstiles=self.turnstiles,
            pace=pace,
            drops=self.drops,
            memory=self.memory,
            max_unread_bytes=self.settings.max_unread_bytes,
            requires_registration=self.settings.require_registration,
            address=address,
            address_key=pace.address_key,
        )
        room.enter(connection, after)
        return connection

    async def publish(self, channel: str, message: Message, *, client: str = "", sender: str = "") -> Ending | None:
        """Says something that comes from no connection; None when its end was not heard of in time.

        Args:
            client, sender: see `Job`.
        """
        if self.is_draining:  # its end might come when nobody is here to be told
            refused = Ending.of(Refused(GOING_AWAY, Cause.STOPPING), message)
            self.turnstiles.tally.ended(message.type, refused.outcome, refused.cause)
            return refused
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        turnstile = self.turnstiles.open(channel, client, sender)
        try:
            turnstile.submit(message, lambda ending: None if ended.done() else ended.set_result(ending))
            async with asyncio.timeout(self.timings.publish):
                return await ended
        except TimeoutError:
            return None
        finally:
            self.turnstiles.close(turnstile)

    async def head_counts(self) -> dict[str, int]:
        """Connections by channel, over all fronts; the last that were known while Redis is out of reach."""
        with contextlib.suppress(Refused, RedisError):
            counts = await self.gateway.head_counts(self.settings.channels)
            self._head_counts = dict(zip(self.settings.channels, counts, strict=True))
        return self._head_counts

    async def _encode_status(self) -> bytes:
        counts = await self.head_counts()
        healthy = self.circle.is_closed and not self.presence.damaged
        return msgspec.json.encode(
            {
                "status": "ok" if healthy else "degraded",
                "healthy": healthy,
                "channels": [{"name": name, "nb_connected_users": number} for name, number in counts.items()],
            }
        )

    def reasons_not_ready(self) -> list[str]:
        """Why this front should get no clients at the moment; none if it should."""
        reasons = {
            "it is about to stop": self.is_draining,
            "redis is out of reach": not self._redis.is_connected,
            "messages do not go round: is a light worker running?": not self.circle.is_closed,
            "keys of every channel in redis are damaged": len(self.presence.damaged) == len(self.rooms),
        }
        return [reason for reason, holds in reasons.items() if holds]

    def damages(self) -> list[str]:
        """What is wrong with single channels, which an operator has to repair."""
        return [
            f"channel {channel}: in redis, these keys are of a wrong type: {', '.join(keys)}"
            for channel, keys in self.presence.damaged.items()
        ]

    async def drain(self) -> None:
        """Lets what was sent before be published, then says goodbye to everyone and tells the channels."""
        self.is_draining = True
        self.circle.stop()
        connections = [member for room in self.rooms.values() for member in room.connections.values()]
        for connection in connections:
            connection.is_draining = True
        await self._until(lambda: self.turnstiles.are_idle, self.timings.drain)
        self.turnstiles.refuse_waiting(Refused(GOING_AWAY, Cause.STOPPING))
        await self.gateway.line.send_home()
        for number, connection in enumerate(connections):
            metrics.CONNECTIONS_CLOSED.labels(Closing.STOPPING).inc()
            connection.close(*STOPPING)
            if number % 100 == 99:
                await asyncio.sleep(self.timings.goodbyes * 100 / len(connections))
        await self._until(lambda: self._has_left, self.timings.leave)
        if self._has_left:
            await self.presence.end()

    @property
    def _has_left(self) -> bool:
        """Whether every channel has been told that nobody is here any more."""
        rooms = self.rooms.values()
        is_told = all(room.head_count.told == room.head_count.changes for room in rooms)
        return is_told and self.turnstiles.are_idle and not any(room.connections for room in rooms)

    @staticmethod
    async def _until(holds: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():  # noqa: ASYNC110 - what holds is spread over many parts, and asked once in a life
                    await asyncio.sleep(0.02)
