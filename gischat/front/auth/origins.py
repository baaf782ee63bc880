"""Pages of other sites: which of them a browser may let speak to this chat.

A page may ask any address that its reader's browser can reach, one on localhost or in an intranet too. Browsers say by
`Origin` whose page it is, and do not let it see an answer that does not name it (CORS, https://fetch.spec.whatwg.org);
a websocket they leave to the server altogether. Clients that are no browsers send no `Origin`, and are welcome.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from tornado.httputil import HTTPServerRequest

from gischat.origin import DEFAULT_PORTS, Origin
from gischat.settings import Settings

FOREIGN_ORIGIN = "Pages of this site may not use this chat. Its operator can admit them: see ALLOWED_ORIGINS."
FORWARD_HOST_HINT = "proxy_set_header Host $http_host;"
MAX_HOST_LENGTH = 100  # characters, in the log


class Origins:
    """This instance's own pages, and those of `ALLOWED_ORIGINS`."""

    def __init__(self, settings: Settings) -> None:
        self._is_open = "*" in settings.allowed_origins
        self._allowed = frozenset(map(Origin.parse, settings.allowed_origins)) - {None}

    def admit(self, request: HTTPServerRequest) -> bool:
        """Whether what a request asks for may be done: nobody's page asks, or ours, or an allowed one."""
        named = request.headers.get("Origin")
        if named is None:
            return True
        origin = Origin.parse(named)
        return origin is not None and (self._is_open or origin in self._allowed or _is_own(request, origin))

    @staticmethod
    def advice(request: HTTPServerRequest) -> str:
        """What an operator should know of a request that is not admitted, for the log."""
        origin = Origin.parse(request.headers.get("Origin", ""))
        page = f"a page of {origin.scheme}://{origin.host[:MAX_HOST_LENGTH]}" if origin else "a page of nowhere"
        asked = Origin.parse(f"http://{request.host}")
        if asked is None or not _is_behind_a_proxy(asked.host):
            return f"{page} may not use this chat: ALLOWED_ORIGINS could admit it"
        host = asked.host[:MAX_HOST_LENGTH]
        address = host if asked.port == DEFAULT_PORTS["http"] else f"{host}:{asked.port}"
        return (
            f"{page} was refused, for its request came with 'Host: {address}'. If that page is this chat's own, "
            f"a proxy has to hand on what it was asked for. In nginx, beside proxy_pass: {FORWARD_HOST_HINT}"
        )

    def headers(self, request: HTTPServerRequest) -> Mapping[str, str]:
        """What lets an allowed page of another site read the answer. Never with credentials: there are no cookies."""
        named = request.headers.get("Origin", "")
        if self._is_open:
            return {"Access-Control-Allow-Origin": "*"}
        # A cache must not hand one site what was answered to another.
        varies = {"Vary": "Origin"}
        return varies | {"Access-Control-Allow-Origin": named} if Origin.parse(named) in self._allowed else varies


def _is_own(request: HTTPServerRequest, origin: Origin) -> bool:
    """Whether the page comes from where the request goes to.

    A browser that says so is believed: no page can make it lie (https://w3c.github.io/webappsec-fetch-metadata).
    Else host and port decide. The scheme does so only where it is known to be https: plain http may be
    the last leg behind a proxy that speaks https to the browser.
    """
    if request.headers.get("Sec-Fetch-Site") == "same-origin":
        return True
    if origin.scheme not in DEFAULT_PORTS or (request.protocol == "https" != origin.scheme):
        return False
    return Origin.parse(f"{origin.scheme}://{request.host}") == origin


def _is_behind_a_proxy(host: str) -> bool:
    """Whether this is how proxies call what is behind them, and people nothing: an address, or a name without dots."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host
    return True
