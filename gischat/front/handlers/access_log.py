"""The access log: log lines for requests, websockets and event streams; request ids.

Every request has an id, which its answer contains as X-Request-ID, so that a user's report, a proxy's log and ours can
be matched.
"""

import logging
import re
import secrets
from urllib.parse import parse_qsl, quote

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from gischat.front.auth.access_keys import REDACTED, has_wrong_key, shown_key

log = logging.getLogger(__name__)
access_log = logging.getLogger("gischat.access")

REQUEST_ID = "X-Request-ID"
REQUEST_ID_FORM = re.compile(r"[\w.:-]{8,128}", re.ASCII)
# A key in a mistyped URL: twice in a path, in the place of an id, or after "%2f"
LIKE_A_KEY = re.compile(r"(?<=/k)(/+)[^/]+|[0-9a-f]{40,}", re.IGNORECASE)
MESSAGE_ID = re.compile(r"[\w-]{1,64}", re.ASCII)

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
REJECTED_STATUSES = "was_turned_away"
MAX_PATH, MAX_METHOD, MAX_HEADER = 200, 10, 120
HIDDEN = "***"
# Everything after it is hidden, because a mistyped key, or a key in a mistyped path, is nearly the right one
HOOK_KEY = re.compile(r"(/(?:web)?hooks?/*).+", re.IGNORECASE)

ANSWERED = "%(address)s %(method)s %(path)s %(status)d %(bytes)dB %(duration_ms).1fms"
OPENED = "%(address)s %(transport)s %(path)s opened as connection %(connection)d"
ENDED = "%(address)s %(transport)s of connection %(connection)d ended by %(by)s with %(code)d after %(seconds).1fs"


def identify(request: HTTPServerRequest, *, is_vouched_for: bool) -> None:
    """Set a request's id, before it is handled.

    Args:
        is_vouched_for: the request comes from a trusted proxy, so a well-formed id that it contains is kept.
    """
    given = request.headers.get(REQUEST_ID, "")
    if not (is_vouched_for and REQUEST_ID_FORM.fullmatch(given)):
        # Stored in the header that a client would use; unlike an attribute, headers are dropped after a handshake.
        request.headers[REQUEST_ID] = secrets.token_hex(8)


def request_id(request: HTTPServerRequest) -> str:
    return str(request.headers.get(REQUEST_ID, ""))


def log_request(handler: RequestHandler) -> None:
    """Log a request in one line; successful probes, which come every few seconds, only at DEBUG."""
    status, request = handler.get_status(), handler.request
    if status == 101:
        return  # a websocket, logged when it is open
    is_quiet = (
        getattr(request, REJECTED_STATUSES, False)
        or (status < 500 and request.path in PROBES)
        or (status < 400 and getattr(handler, "IS_QUIET", False))
    )
    level = logging.DEBUG if is_quiet else logging.INFO
    if status >= 500 and not is_quiet:
        level = logging.WARNING  # errors of ours are also logged by `log_failure`
    log_answered(request, level, status, int(handler._headers.get("Content-Length", 0)))


def log_answered(request: HTTPServerRequest, level: int, status: int, size: int) -> None:
    """Log the line of a request."""
    if access_log.isEnabledFor(level):
        fields = {
            "address": request.remote_ip,
            "method": _method(request),
            "path": shown_path(request),
            "status": status,
            "bytes": size,
            "duration_ms": round(1000 * request.request_time(), 1),
            "request": request_id(request),
            "user_agent": _header(request, "User-Agent"),
        }
        access_log.log(level, ANSWERED, fields, extra=fields)


def mark_rejected(handler: RequestHandler) -> None:
    """Mark a request above a limit, which `RejectionLog` counts and logs, so that a flood cannot fill the log."""
    setattr(handler.request, REJECTED_STATUSES, True)


def log_opened(request: HTTPServerRequest, channel: str, connection: int, transport: str = "websocket") -> None:
    """Log the start of a websocket or event stream; later lines refer to it by its connection's id."""
    if access_log.isEnabledFor(logging.INFO):
        fields = {
            "address": request.remote_ip,
            "transport": transport,
            "path": shown_path(request),
            "connection": connection,
            "channel": channel,
            "request": request_id(request),
            "origin": _header(request, "Origin"),
            "user_agent": _header(request, "User-Agent"),
        }
        access_log.info(OPENED, fields, extra=fields)


def log_ended(
    request: HTTPServerRequest,
    channel: str,
    connection: int,
    *,
    goodbye: tuple[int, str] | None,
    client_code: int | None,
    messages: int,
    bytes_in: int,
    transport: str = "websocket",
) -> None:
    """Log the end of a websocket or event stream; without a close frame of either side its code is 1006 (RFC 6455
    §7.1.5).

    Args:
        goodbye: the code and reason with which we closed it; None if we did not.
        client_code: the code with which the client closed it, if it did; its reason may contain anything, and is not
            logged.
        messages: the number of messages received, without pings and other control frames.
        bytes_in: the number of bytes received.
    """
    if access_log.isEnabledFor(logging.INFO):
        by = "server" if goodbye else "client" if client_code else "loss"
        code, reason = goodbye or (client_code or 1006, "")
        fields = {
            "address": request.remote_ip,
            "transport": transport,
            "connection": connection,
            "channel": channel,
            "by": by,
            "code": code,
            "reason": reason,
            "seconds": round(request.request_time(), 1),
            "messages": messages,
            "bytes": bytes_in,
        }
        access_log.info(ENDED, fields, extra=fields)


def log_failure(handler: RequestHandler, error: object) -> None:
    """Log an error of ours with its traceback; a client's error is in the access log already."""
    if isinstance(error, BaseException) and not isinstance(error, HTTPError):
        fields = {"method": _method(handler.request), "path": shown_path(handler.request)}
        extra = {**fields, "request": request_id(handler.request)}
        log.error("%(method)s %(path)s failed", fields, exc_info=error, extra=extra)


def shown_path(request: HTTPServerRequest) -> str:
    """The path and query of a request, without secrets.

    A query may contain a secret (`token`), and anything that was put there by mistake. So only our own parameters are
    named, and only the value of a message id (`after`) is shown.
    """
    path = LIKE_A_KEY.sub(r"\1…", quote(HOOK_KEY.sub(rf"\1{HIDDEN}", request.path[:MAX_PATH]), safe="/%:@!$&'()*+,;="))
    if shown_key(request) is not None:
        path = REDACTED if has_wrong_key(request) else REDACTED + path  # after a wrong key, the rest may be part of it
    return f"{path}?{_shown_query(request.query)}" if request.query else path


def _shown_query(query: str) -> str:
    given = dict(parse_qsl(query, keep_blank_values=True, errors="replace"))
    shown = []
    if "after" in given:
        shown.append(f"after={given['after'] if MESSAGE_ID.fullmatch(given['after']) else HIDDEN}")
    if "token" in given:
        shown.append(f"token={HIDDEN}")
    if not given or given.keys() - {"after", "token"}:
        shown.append(HIDDEN)
    return "&".join(shown)


def _method(request: HTTPServerRequest) -> str:
    return quote(str(request.method)[:MAX_METHOD])


def _header(request: HTTPServerRequest, name: str) -> str:
    return str(request.headers.get(name, ""))[:MAX_HEADER]
