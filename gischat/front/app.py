"""A front that serves: its routes, its connections to Redis, its beginning."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib import resources
from urllib.parse import quote

from tornado.httpserver import HTTPServer
from tornado.log import access_log
from tornado.netutil import bind_sockets
from tornado.routing import URLSpec
from tornado.web import Application, RequestHandler

from gischat.front import docs, http
from gischat.front.front import Front
from gischat.front.gateway import READ_SECONDS, OutboxReader
from gischat.front.websocket import ChannelSocket
from gischat.settings import Settings
from gischat.streams.multiplexer import ANSWER_SECONDS
from gischat.streams.servers import connect, reading_groups

log = logging.getLogger(__name__)

PROBES = frozenset({"/livez", "/readyz"})


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
        log_function=_log_request,
        websocket_ping_interval=settings.ws_ping_interval or None,
        websocket_ping_timeout=settings.ws_ping_timeout or None,
        websocket_max_message_size=settings.max_frame_size,
        # The rights to a channel do not come from cookies: there is nothing to forge.
        xsrf_cookies=False,
    )


def _log_request(handler: RequestHandler) -> None:
    """One line a request; those of the probes, which come every few seconds, only where something is wrong."""
    status, request = handler.get_status(), handler.request
    if status >= 500:
        level = logging.ERROR
    elif status >= 400:
        level = logging.WARNING
    else:
        level = logging.DEBUG if request.path in PROBES else logging.INFO
    # A path is a client's word: what is no part of a URL does not reach the log as it is.
    path = quote(request.path, safe="/%:@!$&'()*+,;=")
    milliseconds = 1000 * request.request_time()
    access_log.log(level, "%d %s %s %s %.1fms", status, request.method, path, request.remote_ip, milliseconds)


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
