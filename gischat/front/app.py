"""One front, put together: its parts, its routes, its beginning and its end."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import resources

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.routing import URLSpec
from tornado.web import Application

from gischat.errors import Refused
from gischat.front import docs, http
from gischat.front.circle import Circle
from gischat.front.connection import Connection
from gischat.front.gateway import READ_SECONDS, Gateway, OutboxReader
from gischat.front.presence import Presence
from gischat.front.rooms import Room
from gischat.front.subscriber import Subscriber
from gischat.front.turnstile import Turnstiles
from gischat.front.websocket import ChannelSocket
from gischat.messages import Messages
from gischat.settings import Settings
from gischat.streams.multiplexer import ANSWER_SECONDS, Redis
from gischat.streams.servers import connect, reading_groups

log = logging.getLogger(__name__)

DRAIN_SECONDS = 4.0  # for what clients sent before
GOODBYE_SECONDS = 1.0  # over which the goodbyes are spread, so that not all come back at once
LEAVE_SECONDS = 3.0  # for the channels to be told


class Front:
    """The parts of one front process."""

    def __init__(self, settings: Settings, redis: Redis, readers: Sequence[OutboxReader]) -> None:
        self.settings = settings
        self._redis = redis
        self.messages = Messages(settings)
        self.gateway = Gateway(settings, secrets.token_hex(4), redis)
        self.turnstiles = Turnstiles(self.gateway, settings)
        self.rooms = {name: Room(name, self.gateway, self.turnstiles) for name in settings.channels}
        self.subscriber = Subscriber(self.gateway, readers, self.rooms, self.turnstiles)
        self.presence = Presence(self.gateway, self.rooms, self.turnstiles, self.subscriber)
        self.circle = Circle(settings.channels[0], self.turnstiles)
        self.is_draining = False
        self._head_counts = dict.fromkeys(settings.channels, 0)

    def connect(self, room: Room, stream: IOStream, close: Callable[[int, str], None], after: str | None) -> Connection:
        """A client has come to a room; what it missed after the message of id `after`, it wants to be told."""
        connection = Connection(
            room,
            stream,
            close,
            messages=self.messages,
            turnstiles=self.turnstiles,
            max_unread_bytes=self.settings.max_unread_bytes,
        )
        room.enter(connection, after)
        return connection

    async def head_counts(self) -> dict[str, int]:
        """Connections by channel, over all fronts; the last that were known while Redis is out of reach."""
        with contextlib.suppress(Refused):
            counts = await self.gateway.head_counts(self.settings.channels)
            self._head_counts = dict(zip(self.settings.channels, counts, strict=True))
        return self._head_counts

    def reasons_not_ready(self) -> list[str]:
        """Why this front should get no clients at the moment; none if it should."""
        reasons = {
            "it is about to stop": self.is_draining,
            "redis is out of reach": not self._redis.is_connected,
            "messages do not go round: is a light worker running?": not self.circle.is_closed,
        }
        return [reason for reason, holds in reasons.items() if holds]

    async def drain(self) -> None:
        """Lets what was sent before be published, then says goodbye to everyone and tells the channels."""
        self.is_draining = True
        self.circle.stop()
        connections = [member for room in self.rooms.values() for member in room.connections.values()]
        for connection in connections:
            connection.is_draining = True
        await self._until(lambda: self.turnstiles.are_idle, DRAIN_SECONDS)
        for number, connection in enumerate(connections):
            connection.close(1001, "The server is about to restart.")
            if number % 100 == 99:
                await asyncio.sleep(GOODBYE_SECONDS * 100 / len(connections))
        await self._until(lambda: self._has_left, LEAVE_SECONDS)

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


def routes(front: Front) -> list[URLSpec]:
    """Every path that a front answers."""
    parts = {"front": front}
    web = {"path": str(resources.files("gischat") / "web")}
    return [
        URLSpec(r"/()", http.Page, web | {"default_filename": "index.html"}),
        URLSpec(r"/web/(.+)", http.Page, web),
        URLSpec(r"/version", http.Version, parts),
        URLSpec(r"/channels", http.Channels, parts),
        URLSpec(r"/rules", http.Rules, parts),
        URLSpec(r"/status", http.Status, parts),
        *docs.routes(front),
        URLSpec(r"/livez", http.Alive, parts),
        URLSpec(r"/readyz", http.Ready, parts),
        URLSpec(r"/channel/([^/]+)/users", http.Users, parts),
        URLSpec(r"/channel/([^/]+)/last", http.Last, parts),
        URLSpec(r"/channel/([^/]+)/text", http.PutText, parts),
        URLSpec(r"/channel/([^/]+)/ws", ChannelSocket, parts),
    ]


def application(front: Front) -> Application:
    settings = front.settings
    return Application(
        list(routes(front)),
        default_handler_class=http.NotFound,
        default_handler_args={"front": front},
        websocket_ping_interval=settings.ws_ping_interval or None,
        websocket_ping_timeout=settings.ws_ping_timeout or None,
        websocket_max_message_size=settings.max_frame_size,
        # The rights to a channel do not come from cookies: there is nothing to forge.
        xsrf_cookies=False,
    )


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Front]:
    """A front that serves, as soon as Redis is there; drained and gone at the end."""
    url = settings.redis_url
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(connect(url, name="gischat-front"))
        connections = [redis]
        readers: list[OutboxReader] = []
        for channels in reading_groups(url, settings.channels):
            answer_seconds = READ_SECONDS + ANSWER_SECONDS
            reader = connect(url, name="gischat-subscriber", resends=False, answer_seconds=answer_seconds)
            connections.append(await stack.enter_async_context(reader))
            readers.append(OutboxReader(settings, channels, reader))
        front = Front(settings, redis, readers)
        for connection in connections:
            connection.reconnected = front.turnstiles.enqueue_again
        # A part that fails ends the group, and so the process: better a new front than one that does not hear.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        await front.subscriber.find_positions()
        await front.presence.begin()
        tasks = [group.create_task(part.run()) for part in (front.subscriber, front.presence, front.circle)]
        server = HTTPServer(application(front), max_body_size=settings.max_frame_size)
        server.add_sockets(bind_sockets(settings.port, settings.host or None, reuse_port=True))
        log.info("serving on http://%s:%d", settings.host, settings.port)
        try:
            yield front
        finally:
            server.stop()
            await front.drain()
            await server.close_all_connections()
            for task in tasks:
                task.cancel()
