"""A front that serves: its routes, its connections to Redis, its beginning."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.routing import URLSpec
from tornado.web import Application

from gischat.front.door.addresses import Proxies
from gischat.front.front import Front
from gischat.front.handlers import docs, features, rest
from gischat.front.handlers.answers import WEB
from gischat.front.handlers.cached import CachedReads
from gischat.front.handlers.map import Map, image_source
from gischat.front.handlers.requests import identify, log_request
from gischat.front.handlers.scrape import Metrics
from gischat.front.handlers.websocket import ChannelSocket
from gischat.front.jobs.gateway import OutboxReader
from gischat.front.sockets.accepting import allow_descriptors
from gischat.front.sockets.server import Server
from gischat.settings import Settings
from gischat.streams.servers import connect, reading_groups
from gischat.timings import Timings

log = logging.getLogger(__name__)

OWN_DESCRIPTORS = 64  # logs, Redis, the loop's

FOR_OPERATORS = ("/admin", "/metrics")

# Asked for by the dozen when a page is opened, or by whoever watches us; and they cost little.
AS_OFTEN_AS_YOU_LIKE = (rest.Page, rest.Alive, rest.Ready)


def routes(front: Front) -> list[URLSpec]:
    """Every path that a front answers."""
    parts = {"front": front}
    web = {"path": str(WEB), "images": image_source(front.settings)}
    return [
        URLSpec(r"/()", rest.Page, web | {"default_filename": "index.html"}),
        URLSpec(r"/web/(.+)", rest.Page, web),
        URLSpec(r"/version", rest.Version, parts),
        URLSpec(r"/channels", rest.Channels, parts),
        URLSpec(r"/rules", rest.Rules, parts),
        URLSpec(r"/status", rest.Status, parts),
        URLSpec(r"/map", Map, parts),
        *docs.routes(front),
        *_admin_routes(front),
        URLSpec(r"/livez", rest.Alive, parts),
        URLSpec(r"/readyz", rest.Ready, parts),
        URLSpec(r"/metrics", Metrics, parts),
        URLSpec(r"/channel/([^/]+)/users", rest.Users, parts),
        URLSpec(r"/channel/([^/]+)/last", rest.Last, parts),
        URLSpec(r"/channel/([^/]+)/text", rest.PutText, parts),
        URLSpec(r"/channel/([^/]+)/features\.geojson", features.Features, parts),
        URLSpec(r"/channel/([^/]+)/messages/([^/]+)\.json", features.MessageAsJson, parts),
        URLSpec(r"/channel/([^/]+)/messages/([^/]+)\.geojson", features.MessageAsGeoJson, parts),
        URLSpec(r"/channel/([^/]+)/messages/([^/]+)\.gpkg", features.MessageAsGeoPackage, parts),
        URLSpec(r"/channel/([^/]+)/ws", ChannelSocket, parts),
    ]


def _admin_routes(front: Front) -> list[URLSpec]:
    """The paths of moderation; none where nobody moderates."""
    if not front.settings.admin_token:
        return []
    from gischat.front.handlers import admin  # with its schemas a thirtieth of a start

    return admin.routes(front)


class Site(Application):
    """The front as HTTP sees it. First of all a request is told whose it is, gets its id, and may be too many."""

    def __init__(self, front: Front, **options: Any) -> None:
        super().__init__(list(routes(front)), **options)
        self._proxies = Proxies(front.settings.trusted_proxies)
        self._front = front
        self._cached = CachedReads(front)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        identify(request, is_vouched_for=self._proxies.locate(request))
        request.path = _path(request.path)
        found = self._cached.find(request) or super().find_handler(request, **kwargs)
        if issubclass(found.handler_class, AS_OFTEN_AS_YOU_LIKE):
            return found
        is_plain = request.method == "GET" and "If-None-Match" not in request.headers
        cost = getattr(found.handler_class, "COST", 1.0) if is_plain else 1.0
        refusal = self._front.admission.ask(str(request.remote_ip), cost)
        if refusal is None:
            return found
        return self.get_handler_delegate(request, rest.OneTooMany, {"front": self._front, "refusal": refusal})


def _path(path: str) -> str:
    """A request's path: where people end an instance's address with a slash, clients ask for paths that begin with two.

    Operators' paths are never spelled so: whatever stands before a front keeps them from the world by their names.
    """
    if not path.startswith("//"):
        return path
    with_one = "/" + path.lstrip("/")
    return path if with_one.startswith(FOR_OPERATORS) else with_one


def application(front: Front) -> Application:
    settings = front.settings
    return Site(
        front,
        default_handler_class=rest.NotFound,
        default_handler_args={"front": front},
        log_function=log_request,
        origins=front.origins,
        websocket_max_message_size=settings.max_frame_size,
        # The rights to a channel do not come from cookies: there is nothing to forge.
        xsrf_cookies=False,
    )


@contextlib.asynccontextmanager
async def running(settings: Settings, timings: Timings = Timings()) -> AsyncIterator[Front]:
    """A front that serves, as soon as Redis is there; drained and gone at the end."""
    url = settings.redis_url
    async with contextlib.AsyncExitStack() as stack:
        connected = partial(connect, url, timings=timings)
        redis = await stack.enter_async_context(connected(name="gischat-front"))
        heavy = await stack.enter_async_context(connected(name="gischat-heavy"))
        reads = connected(name="gischat-histories", resends=False, answer_seconds=timings.history_answer)
        histories = await stack.enter_async_context(reads)
        connections = [redis, heavy]
        readers: list[OutboxReader] = []
        for channels in reading_groups(url, settings.channels):
            reader = connected(name="gischat-subscriber", resends=False, answer_seconds=timings.outbox_answer)
            connections.append(await stack.enter_async_context(reader))
            readers.append(OutboxReader(settings, channels, reader, timings))
        front = Front(settings, redis, heavy, histories, readers, timings)
        for connection in connections:
            connection.reconnected = front.turnstiles.enqueue_again
        # A part that fails ends the group, and so the process: better a new front than one that does not hear.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        await front.subscriber.find_positions()
        await front.moderation.begin()
        await front.presence.begin()
        tasks = [group.create_task(part.run()) for part in front.parts]
        allow_descriptors(settings.max_connections + settings.max_pending_connections + OWN_DESCRIPTORS)
        address_key = Proxies(settings.trusted_proxies).key_of
        server = Server(application(front), settings, front.drops, front.memory, address_key, timings)
        tasks.append(group.create_task(server.watch()))
        server.add_sockets(bind_sockets(settings.port, settings.host or None, reuse_port=True))
        here = {"front": front.gateway.front}
        log.info("serving on http://%s:%d", settings.host, settings.port, extra=here)
        try:
            yield front
        finally:
            server.stop()
            await front.drain()
            await server.answer_late()
            await server.close_all_connections()
            for task in tasks:
                task.cancel()
