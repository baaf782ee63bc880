"""The front's application: routes, startup and shutdown."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.routing import URLSpec
from tornado.web import Application

from gischat.broker.discovery import connect, reading_groups
from gischat.broker.outbox import OutboxReader
from gischat.front.auth.access_keys import has_wrong_key, key_of, shown_key, take_from_path
from gischat.front.auth.client_address import TrustedProxies
from gischat.front.handlers import docs, features, keyed, rest
from gischat.front.handlers.access_log import identify, log_request
from gischat.front.handlers.base import WEB
from gischat.front.handlers.cached import CachedReads
from gischat.front.handlers.events import Events
from gischat.front.handlers.hooks import PostToHook
from gischat.front.handlers.map import Map, image_source
from gischat.front.handlers.metrics import MetricsHandler
from gischat.front.handlers.websocket import ChannelSocket
from gischat.front.services import Services
from gischat.front.transport.acceptor import raise_nofile_limit
from gischat.front.transport.http_server import FrontHTTPServer
from gischat.observability.metrics import RejectReason
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

RESERVED_DESCRIPTORS = 64  # for logs, Redis and the event loop

OPERATOR_PATHS = ("/admin", "/metrics")

# Cheap, and requested by the dozen when a page is opened, or regularly by monitoring.
RATE_LIMIT_EXEMPT = (rest.Page, rest.Alive, rest.Ready)


def routes(front: Services) -> list[URLSpec]:
    """All paths of a front."""
    parts = {"front": front}
    web = {"path": str(WEB), "images": image_source(front.settings)}
    base = front.settings.base_path
    # The page's URLs are relative, so its own must end with a slash.
    moved = [URLSpec(re.escape(base), rest.Moved, {"url": f"{base}/"})] if base else []
    return [
        *moved,
        URLSpec(r"/()", rest.Page, web | {"default_filename": "index.html"}),
        URLSpec(r"/web/(.+)", rest.Page, web),
        URLSpec(r"/version", rest.Version, parts),
        URLSpec(r"/channels", rest.Channels, parts),
        URLSpec(r"/rules", rest.Rules, parts),
        URLSpec(r"/status", rest.Status, parts),
        URLSpec(r"/map", Map, parts),
        URLSpec(r"/qfield", rest.QField, parts),
        *docs.routes(front),
        *_admin_routes(front),
        URLSpec(r"/livez", rest.Alive, parts),
        URLSpec(r"/readyz", rest.Ready, parts),
        URLSpec(r"/metrics", MetricsHandler, parts),
        URLSpec(r"/hooks/([^/]+)", PostToHook, parts),
        URLSpec(r"/channel/([^/]+)/users", rest.Users, parts),
        URLSpec(r"/channel/([^/]+)/last", rest.Last, parts),
        URLSpec(r"/channel/([^/]+)/text", rest.PutText, parts),
        URLSpec(r"/channel/([^/]+)/features\.geojson", features.Features, parts),
        URLSpec(r"/channel/([^/]+)/messages/([^/]+)\.json", features.MessageAsJson, parts),
        URLSpec(r"/channel/([^/]+)/messages/([^/]+)\.geojson", features.MessageAsGeoJson, parts),
        URLSpec(r"/channel/([^/]+)/messages/([^/]+)\.gpkg", features.MessageAsGeoPackage, parts),
        URLSpec(r"/channel/([^/]+)/events", Events, parts),
        URLSpec(r"/channel/([^/]+)/ws", ChannelSocket, parts),
    ]


def _admin_routes(front: Services) -> list[URLSpec]:
    """The paths for moderators; none without an admin token."""
    if not front.settings.admin_token:
        return []
    from gischat.front.handlers import (  # importing their schemas takes a thirtieth of the startup
        admin,
        admin_bans,
        admin_keys,
    )

    routes = (*admin.ROUTES, *admin_bans.ROUTES, *admin_keys.ROUTES)
    return [URLSpec(path, handler, {"front": front}) for path, handler in routes]


class FrontApplication(Application):
    """Resolves each request's client, gives it an id, applies keys and rate limits, and selects its handler."""

    def __init__(self, front: Services, **options: Any) -> None:
        super().__init__(list(routes(front)), **options)
        self._proxies = TrustedProxies(front.settings.trusted_proxies)
        self._front = front
        self._cached = CachedReads(front)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        identify(request, is_vouched_for=self._proxies.resolve_client(request))
        requested = request.path
        request.path = _normalized_path(requested, self._front.settings.base_path)
        take_from_path(request, self._front.channel_auth.keys)
        found = self._find_keyed(request, requested) or self._cached.find(request)
        found = found or super().find_handler(request, **kwargs)
        if has_wrong_key(request):
            found = self._refuse_key(request, found)
        if issubclass(found.handler_class, RATE_LIMIT_EXEMPT):
            return found
        is_plain = request.method == "GET" and "If-None-Match" not in request.headers
        cost = getattr(found.handler_class, "COST", 1.0) if is_plain else 1.0
        refusal = self._front.connection_limiter.check_request(str(request.remote_ip), cost)
        if refusal is None:
            return found
        return self._rejected(request, refusal)

    def _find_keyed(self, request: HTTPServerRequest, requested: str) -> Any:
        """The handler of a path that differs with a key: none for moderators, and the page moves the key."""
        if shown_key(request) is None:
            return None
        if request.path.startswith(OPERATOR_PATHS):
            return self.get_handler_delegate(request, rest.NotFound, {"front": self._front})
        if key_of(request) is not None and request.path == "/":
            return self.get_handler_delegate(request, keyed.KeyedPage, {"ups": keyed.ups_from(requested)})
        return None

    def _refuse_key(self, request: HTTPServerRequest, found: Any) -> Any:
        """The handler of a request with a wrong key. A lockout does not affect valid keys from the same address: 160
        random bits cannot be guessed, and many people behind one address may have a key that has ended."""
        address, attempts = str(request.remote_ip), self._front.wrong_keys
        self._front.rejections.record(RejectReason.KEY, "a wrong key in an address, from %s", address)
        if seconds := attempts.retry_after(address):
            return self._rejected(request, keyed.too_many_wrong_keys(seconds))
        attempts.record(address)
        if issubclass(found.handler_class, ChannelSocket):
            return found  # which sends an `uncompliant`, because clients show nothing about a refused handshake
        return self.get_handler_delegate(request, keyed.WrongKey, {"front": self._front})

    def _rejected(self, request: HTTPServerRequest, refusal: Any) -> Any:
        return self.get_handler_delegate(request, rest.TooManyRequests, {"front": self._front, "refusal": refusal})


def _normalized_path(path: str, base: str) -> str:
    """A request's path without the instance's base, if there is one; a proxy may remove the base or keep it.

    With an instance's address that ends in a slash, clients request paths that begin with two. The operator's paths are
    not normalized, because proxies in front block them by their exact names.
    """
    below = path.removeprefix(base) if path.startswith(f"{base}/") else path
    if below.startswith("//"):
        below = "/" + below.lstrip("/")
    return path if below.startswith(OPERATOR_PATHS) else below


def application(front: Services) -> Application:
    settings = front.settings
    return FrontApplication(
        front,
        default_handler_class=rest.NotFound,
        default_handler_args={"front": front},
        log_function=log_request,
        origins=front.origins,
        websocket_max_message_size=settings.max_frame_size,
        # No cookies grant access to a channel, so there is nothing to forge.
        xsrf_cookies=False,
    )


@contextlib.asynccontextmanager
async def lifespan(settings: Settings, timings: Timings = Timings()) -> AsyncIterator[Services]:
    """Start a front, which waits for Redis; it is drained and stopped at the end of the context."""
    url = settings.redis_url
    async with contextlib.AsyncExitStack() as stack:
        connected = partial(connect, url, timings=timings)
        redis = await stack.enter_async_context(connected(name="gischat-front"))
        heavy = await stack.enter_async_context(connected(name="gischat-heavy"))
        reads = connected(name="gischat-histories", resends=False, answer_seconds=timings.history_answer)
        histories = await stack.enter_async_context(reads)
        bodies = await stack.enter_async_context(connected(name="gischat-bodies"))
        connections = [redis, heavy]
        readers: list[OutboxReader] = []
        for channels in reading_groups(url, settings.channels):
            reader = connected(name="gischat-subscriber", resends=False, answer_seconds=timings.outbox_answer)
            connections.append(await stack.enter_async_context(reader))
            readers.append(OutboxReader(settings, channels, reader, timings))
        front = Services(settings, redis, heavy, histories, bodies, readers, timings)
        if settings.otel_exporter_otlp_endpoint:
            from gischat.observability.tracing import Tracing

            tracing = Tracing("front", settings).trace_front(front)
            stack.push_async_callback(tracing.shut_down, timings.sentry_flush)
        for connection in connections:
            connection.reconnected = front.dispatcher.reports.reconnected
        # An error of a part ends the group and the process: a new front is better than one that receives nothing.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        await front.subscriber.seek_to_tail()
        await front.moderation.load()
        await front.leases.acquire()
        tasks = [group.create_task(part.run()) for part in front.background_services]
        raise_nofile_limit(settings.max_connections + settings.max_pending_connections + RESERVED_DESCRIPTORS)
        address_key = TrustedProxies(settings.trusted_proxies).key_of
        server = FrontHTTPServer(
            application(front), settings, front.rejections, front.memory_budget, front.admission, address_key, timings
        )
        tasks.append(group.create_task(server.watch()))
        server.add_sockets(bind_sockets(settings.port, settings.host or None, reuse_port=True))
        here = {"front": front.broker.front}
        log.info("serving on http://%s:%d", settings.host, settings.port, extra=here)
        try:
            yield front
        finally:
            server.stop()
            await front.drain()
            await server.wait_idle()
            await server.close_all_connections()
            for task in tasks:
                task.cancel()
