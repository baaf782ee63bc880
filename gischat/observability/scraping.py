"""`/metrics`: access control, and the HTTP server of a worker. A front serves it among its other paths."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from gischat import bearer
from gischat.observability.exposition import Exposition
from gischat.observability.metrics import flush_buffered
from gischat.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

# A request with any of these headers came through a proxy, so its loopback address is not the client's.
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")

FORBIDDEN = "Metrics are told to this machine itself, or with the bearer token of METRICS_TOKEN."


def is_allowed(request: HTTPServerRequest, token: str) -> bool:
    """Whether a request has the token, or comes directly from this machine, through no proxy."""
    if token and bearer.matches(bearer.from_headers(request.headers), [bearer.digest(token)]):
        return True
    return _is_loopback(request.remote_ip) and not any(name in request.headers for name in FORWARDING_HEADERS)


def _is_loopback(text: str | None) -> bool:
    try:
        address = ip_address(text or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


async def write_metrics(
    handler: RequestHandler, settings: Settings, others: Callable[[], Iterable["Metric"]] = list
) -> None:
    """Answer a scrape with the metrics of all processes of this host, and the `others`, which are made in a thread."""
    flush_buffered()
    exposition = Exposition(settings.prometheus_multiproc_dir, others)
    # Reading many processes' files takes milliseconds, which would block the event loop.
    body, content_type = await asyncio.to_thread(exposition.encode, handler.request.headers.get("Accept", ""))
    handler.set_header("Content-Type", content_type)
    handler.set_header("Cache-Control", "no-store")
    await handler.finish(body)


class WorkerMetrics(RequestHandler):
    """`/metrics` of a worker."""

    def initialize(self, settings: Settings) -> None:
        self._settings = settings

    async def get(self) -> None:
        if is_allowed(self.request, self._settings.metrics_token):
            await write_metrics(self, self._settings)
        else:
            self.set_status(403)
            await self.finish(FORBIDDEN + "\n")


@contextlib.asynccontextmanager
async def serve_metrics(settings: Settings) -> AsyncIterator[None]:
    """Serve `/metrics` of a worker on METRICS_PORT, a port shared by all workers of a host."""
    server = HTTPServer(
        Application([("/metrics", WorkerMetrics, {"settings": settings})], log_function=lambda _: None),
        max_body_size=0,
        idle_connection_timeout=60,
    )
    server.add_sockets(bind_sockets(settings.metrics_port, settings.host or None, reuse_port=True))
    log.info("metrics on http://%s:%d/metrics", settings.host, settings.metrics_port)
    try:
        yield
    finally:
        server.stop()
        await server.close_all_connections()
