"""Origins: which other sites' pages may use this chat from a browser.

A page can send requests to every address that its reader's browser can reach, including localhost and intranets.
Browsers name the page's site in `Origin`, and hide answers that do not permit it (CORS, https://fetch.spec.whatwg.org);
for websockets the server has to check it. Clients that are no browsers send no `Origin`, and are admitted.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from tornado.httputil import HTTPServerRequest

from gischat.origin import DEFAULT_PORTS, Origin
from gischat.settings import Settings

FOREIGN_ORIGIN = "Pages of this site may not use this chat. Its operator can admit them: see ALLOWED_ORIGINS."
FORWARD_HOST_HINT = "proxy_set_header Host $http_host;"
MAX_HOST_LENGTH = 100  # characters in the log


class Origins:
    """The origins of this instance's own pages, and those of `ALLOWED_ORIGINS`."""

    def __init__(self, settings: Settings) -> None:
        self._is_open = "*" in settings.allowed_origins
        self._allowed = frozenset(map(Origin.parse, settings.allowed_origins)) - {None}

    def admit(self, request: HTTPServerRequest) -> bool:
        """Whether a request may be executed: it comes from no page, from our own or from an allowed one."""
        named = request.headers.get("Origin")
        if named is None:
            return True
        origin = Origin.parse(named)
        return origin is not None and (self._is_open or origin in self._allowed or _is_own(request, origin))

    @staticmethod
    def advice(request: HTTPServerRequest) -> str:
        """The cause of a refused origin and its remedy, for the operator's log."""
        origin = Origin.parse(request.headers.get("Origin", ""))
        page = f"a page of {origin.scheme}://{origin.host[:MAX_HOST_LENGTH]}" if origin else "a page of nowhere"
        requested = Origin.parse(f"http://{request.host}")
        if requested is None or not _is_behind_a_proxy(requested.host):
            return f"{page} may not use this chat: ALLOWED_ORIGINS could admit it"
        host = requested.host[:MAX_HOST_LENGTH]
        address = host if requested.port == DEFAULT_PORTS["http"] else f"{host}:{requested.port}"
        return (
            f"{page} was refused, for its request came with 'Host: {address}'. If that page is this chat's own, "
            f"a proxy has to hand on what it was requested for. In nginx, beside proxy_pass: {FORWARD_HOST_HINT}"
        )

    def headers(self, request: HTTPServerRequest) -> Mapping[str, str]:
        """The headers that permit an allowed page to read the answer; without credentials, as there are no cookies."""
        named = request.headers.get("Origin", "")
        if self._is_open:
            return {"Access-Control-Allow-Origin": "*"}
        # A cache must not give one site the answer for another.
        varies = {"Vary": "Origin"}
        return varies | {"Access-Control-Allow-Origin": named} if Origin.parse(named) in self._allowed else varies


def _is_own(request: HTTPServerRequest, origin: Origin) -> bool:
    """Whether the page comes from the host that the request is sent to.

    `Sec-Fetch-Site` is set by the browser, and pages cannot forge it (https://w3c.github.io/webappsec-fetch-metadata).
    Without it, host and port decide. The scheme matters only if it is known to be https: plain http may be the
    connection from a proxy that is reached by https.
    """
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        return True
    if origin.scheme not in DEFAULT_PORTS or (request.protocol == "https" != origin.scheme):
        return False
    return Origin.parse(f"{origin.scheme}://{request.host}") == origin


def _is_behind_a_proxy(host: str) -> bool:
    """Whether a proxy, rather than a person, would use this host name: an address, or a name without dots."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host
    return True
