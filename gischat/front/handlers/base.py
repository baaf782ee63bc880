"""The base of all handlers: security headers, request ids, JSON answers, errors.

Answers may contain what people wrote. So browsers must not take them for pages or scripts, must not show them in
frames, and must not reveal our URLs, which may contain a token, to sites that people link to.
"""

from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from tornado.web import HTTPError, RequestHandler

from gischat.front.handlers.access_log import REQUEST_ID, log_failure, request_id

COMMON_HEADERS = {
    "Server": "gischat",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

NOT_UTF8 = "The address' {} is not valid UTF-8: in an address, percent signs encode the bytes of UTF-8 characters."

WEB = Path(__file__).parents[2] / "web"

# Exactly: the QGIS plugin compares it as a string, and RFC 8259 §11 has no charset.
JSON = "application/json"

_EMBEDDED_BY_NOBODY = ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")
_OF_OUR_OWN = ("script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "connect-src 'self'")

# Content Security Policies (https://www.w3.org/TR/CSP3)
FOR_DATA = "; ".join(_EMBEDDED_BY_NOBODY)
FOR_SWAGGER_UI = "; ".join((*_EMBEDDED_BY_NOBODY, *_OF_OUR_OWN))
# Our page builds its elements one by one, so the browser blocks every string that is to become markup.
# The trusted-types policy is for the service worker's URL, which keeps the page for offline use; see web/install.js.
FOR_OUR_PAGE = (
    f"{FOR_SWAGGER_UI}; manifest-src 'self'; worker-src 'self'; require-trusted-types-for 'script';"
    " trusted-types gischat-worker"
)


class Problem(HTTPError):
    """An answer with the reason, or a list of the errors by field, as it is: `HTTPError` would format it."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status)
        self.detail = detail


class Handler(RequestHandler):
    """The base of all our handlers."""

    __slots__ = ()  # see `ChannelSocket`

    CONTENT_SECURITY_POLICY = FOR_DATA
    MEDIA_TYPE = JSON

    def set_default_headers(self) -> None:
        for name, value in COMMON_HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", self.CONTENT_SECURITY_POLICY)
        self.set_header(REQUEST_ID, request_id(self.request))

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Decode a part of the path, or a parameter of the query."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise HTTPError(400, NOT_UTF8.format(f"parameter '{name}'" if name else "path")) from None

    @property
    def address(self) -> str:
        """The client's address: see `TrustedProxies.resolve_client`."""
        return str(self.request.remote_ip)

    def answer(self, content: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", JSON)
        self.finish(msgspec.json.encode(content))

    def answer_json(self, body: bytes) -> None:
        self.set_header("Content-Type", self.MEDIA_TYPE)
        self.finish(body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", allowed_methods(type(self)))
        error = kwargs.get("exc_info", (None, None))[1]
        # Reasons with arguments are Tornado's own, and for programmers.
        reason = error.get_message() if isinstance(error, HTTPError) and not error.args else None
        detail = error.detail if isinstance(error, Problem) else reason or HTTPStatus(status_code).phrase
        self.answer({"detail": detail}, status_code)

    def log_exception(self, typ: object, value: object, tb: object) -> None:
        log_failure(self, value)


def allowed_methods(handler: type[RequestHandler]) -> str:
    """The methods that a handler implements, for `Allow` (RFC 9110 §10.2.1)."""
    methods = [name for name in RequestHandler.SUPPORTED_METHODS if _is_answered(handler, name)]
    return ", ".join(name for name in methods if name != "HEAD" or "GET" in methods)


def _is_answered(handler: type[RequestHandler], method: str) -> bool:
    return getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())
