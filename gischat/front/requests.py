"""What is logged of a request: one line, in which nothing stands as a client wrote it."""

import logging
from urllib.parse import quote

from tornado.log import access_log
from tornado.web import HTTPError, RequestHandler

log = logging.getLogger(__name__)

PROBES = frozenset({"/livez", "/readyz"})
LONGEST_PATH, LONGEST_METHOD = 200, 10


def log_request(handler: RequestHandler) -> None:
    """One line a request; those of the probes, which come every few seconds, only where something is wrong."""
    status, request = handler.get_status(), handler.request
    if status >= 500:
        level = logging.ERROR
    elif status >= 400:
        level = logging.WARNING
    else:
        level = logging.DEBUG if request.path in PROBES else logging.INFO
    milliseconds = 1000 * request.request_time()
    access_log.log(level, "%d %s %s %.1fms", status, _named(handler), request.remote_ip, milliseconds)


def log_failure(handler: RequestHandler, error: object) -> None:
    """A fault of ours with its traceback; a client's has its line already."""
    if isinstance(error, BaseException) and not isinstance(error, HTTPError):
        log.error("%s failed", _named(handler), exc_info=error)


def _named(handler: RequestHandler) -> str:
    """The method and the path, without the query: that may hold what is secret."""
    method = quote(str(handler.request.method)[:LONGEST_METHOD])
    path = quote(handler.request.path[:LONGEST_PATH], safe="/%:@!$&'()*+,;=")
    return f"{method} {path}"
