"""A websocket to the server, by Tornado's client, which answers pings, sends its own, and reports close codes."""

from ssl import SSLContext

from msgspec import DecodeError, json
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from gischat.client.errors import Refused, Unreachable

CONNECT_SECONDS = 20.0
# Tornado closes a websocket without a pong in time, which must suffice for a pong behind a picture on a slow network.
PING_SECONDS = 60.0
MAX_RETRY_AFTER = 3600.0  # seconds
FINAL = (400, 401, 403)  # statuses of a handshake that a repetition does not change


async def open_websocket(
    url: str, *, token: str | None, ssl: SSLContext | None, max_message_bytes: int
) -> WebSocketClientConnection:
    """Open a websocket.

    Raises:
        Refused: the server refuses this client for good.
        Unreachable: the server cannot be reached at the moment.
    """
    # Tornado encodes headers as Latin-1, but the server decodes them as UTF-8.
    headers = {"Authorization": f"Bearer {token.encode().decode('latin-1')}"} if token else {}
    request = HTTPRequest(url, headers=headers, ssl_options=ssl, connect_timeout=CONNECT_SECONDS)
    try:
        return await websocket_connect(request, ping_interval=PING_SECONDS, max_message_size=max_message_bytes)
    except HTTPClientError as error:
        reason = _reason(error)
        if error.code in FINAL:
            raise Refused(reason) from error
        raise Unreachable(f"The server answered {error.code}: {reason}", _retry_after(error)) from error
    except Exception as error:  # of the network, of TLS, or of another server
        raise Unreachable(f"The server cannot be reached: {error or type(error).__name__}") from error


def _reason(error: HTTPClientError) -> str:
    """The reason in the server's answer; the status for other answers, such as a proxy's page."""
    body = error.response.body if error.response is not None else b""
    try:
        return str(json.decode(body)["detail"])
    except (DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return error.message


def _retry_after(error: HTTPClientError) -> float:
    value = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    return min(float(value), MAX_RETRY_AFTER) if value.isdecimal() else 0.0
