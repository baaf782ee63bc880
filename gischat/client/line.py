"""One websocket to the server, on Tornado's client: it answers pings, pings itself, and knows close codes."""

import contextlib
from ssl import SSLContext

from msgspec import DecodeError, json
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from gischat.client.errors import Refused, Unreachable

CONNECT_SECONDS = 20.0
# Tornado takes a line for dead when no pong comes: one that waits behind a picture on a slow network must be in time.
PING_SECONDS = 60.0
MAX_RETRY_AFTER = 3600.0  # seconds
FINAL = (400, 401, 403)  # answers to the handshake that will not change by asking again


class Line:
    """An open websocket."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket

    async def read(self) -> str | bytes | None:
        """The next frame; None when the line has ended."""
        return await self._socket.read_message()

    async def write(self, frame: str) -> None:
        """Puts a frame on the line; returns when it is written, or the line has ended."""
        with contextlib.suppress(WebSocketClosedError, StreamClosedError):
            await self._socket.write_message(frame)

    def close(self) -> None:
        """Says goodbye; the rest is read within seconds, or lost."""
        self._socket.close(1000)

    @property
    def ending(self) -> tuple[int | None, str]:
        """The close code, None where the server has sent none, and the reason."""
        return self._socket.close_code, self._socket.close_reason or ""


async def open_line(url: str, *, token: str | None, ssl: SSLContext | None, max_message_bytes: int) -> Line:
    """Opens a websocket.

    Raises:
        Refused: the server does not want us, for good.
        Unreachable: there is nobody, or not now.
    """
    # Tornado sends each character as a byte, the server takes the bytes for UTF-8.
    headers = {"Authorization": f"Bearer {token.encode().decode('latin-1')}"} if token else {}
    request = HTTPRequest(url, headers=headers, ssl_options=ssl, connect_timeout=CONNECT_SECONDS)
    try:
        return Line(await websocket_connect(request, ping_interval=PING_SECONDS, max_message_size=max_message_bytes))
    except HTTPClientError as error:
        said = _words(error)
        if error.code in FINAL:
            raise Refused(said) from error
        raise Unreachable(f"The server answered {error.code}: {said}", _retry_after(error)) from error
    except Exception as error:  # of the network, of TLS, of whatever answers there and is no server of ours
        raise Unreachable(f"The server cannot be reached: {error or type(error).__name__}") from error


def _words(error: HTTPClientError) -> str:
    """What the server says is wrong; a proxy's page says nothing to anybody."""
    body = error.response.body if error.response is not None else b""
    try:
        return str(json.decode(body)["detail"])
    except (DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return error.message


def _retry_after(error: HTTPClientError) -> float:
    value = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    return min(float(value), MAX_RETRY_AFTER) if value.isdecimal() else 0.0
