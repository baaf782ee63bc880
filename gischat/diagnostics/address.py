"""Check of the public address, through all proxies in front of the server."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from urllib.parse import SplitResult, urlsplit

from gischat.diagnostics.findings import Finding, ok, problem
from gischat.front.auth.origins import FORWARD_HOST_HINT
from gischat.timings import Timings

JSON = "application/json"
HANDSHAKE = {  # RFC 6455 §1.3
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
NO_CHANNEL = "/channel/%20/ws"  # an unknown channel is accepted and then closed, so nobody sees a user join
UPGRADE = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"


def check_address(url: str, timings: Timings = Timings()) -> Iterator[Finding]:
    """Request the channels and a websocket as QGIS does, then a websocket as our page does."""
    try:
        address = urlsplit(url)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in ("http", "https") or not address.hostname:
        yield problem(url, "is no address of a website", "as people type it: https://chat.example.org")
        return
    ask = partial(_ask, address, timings.check_address)
    try:
        status, headers, body = ask("/channels")
        if status != 200:
            yield problem(url, f"answers {status} {headers.get('Location', '')}".rstrip(), _remedy(status))
            return
        if headers.get("Content-Type") != JSON:
            told = headers.get("Content-Type")
            yield problem(url, f"answers with type '{told}', but QGIS accepts only {JSON}", "in nginx: charset off;")
            return
        json.loads(body)
        of_qgis, _, _ = ask(NO_CHANNEL, HANDSHAKE)
        of_page, _, _ = ask(NO_CHANNEL, HANDSHAKE | {"Origin": f"{address.scheme}://{address.netloc}"})
    except (OSError, http.client.HTTPException, ValueError) as error:
        yield problem(url, f"has no chat: {error}", "start a front, and the proxies before it")
        return
    if of_qgis != 101:
        yield problem(url, f"has no websockets: {of_qgis}", f"in nginx, beside proxy_pass: {UPGRADE}")
    elif of_page != 101:
        yield problem(url, "refuses the chat's own page", f"in nginx, beside proxy_pass: {FORWARD_HOST_HINT}")
    else:
        yield ok(url, "works for QGIS and for browsers")


def _remedy(status: int) -> str:
    if 300 <= status < 400:
        return "publish the address that it redirects to: QGIS follows no redirects"
    return "start a front, and the proxies before it"


def _ask(
    address: SplitResult, seconds: float, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=seconds)
    with closing(connection):
        connection.request("GET", address.path + path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(100_000)
