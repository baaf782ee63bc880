"""A websocket echo server: the front's own websocket reader, without the chat."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from gischat.front.limits.admission import Admission
from gischat.front.limits.rejection_log import RejectionLog
from gischat.front.transport.frames import text_frame
from gischat.front.transport.read_scheduler import ReadScheduler
from gischat.front.transport.upload_watch import UploadWatch
from gischat.front.transport.websocket_protocol import BufferedWebSocketProtocol, NullCounter
from tests.support.settings import settings

MAX_MESSAGE = 2**24
BINARY = 0x82


class Echo:
    """An endpoint without limits."""

    def __init__(self, handler: WebSocketHandler, stream: IOStream) -> None:
        self.last_received_at = 0.0
        self.read_pause = 0.0
        self._handler = handler
        self._stream = stream

    def write(self, data: bytes) -> None:
        if not self._stream.closed():
            self._stream.write(data)

    def stop_writing(self) -> None:
        """Its messages are answered at once."""

    def receive(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self.write(text_frame(frame.encode()))
        else:
            self.write(bytes([BINARY]) + text_frame(frame)[1:])

    def on_control_frame(self, *, answer: bool = False) -> bool:
        return True

    def receive_dropped(self, size: int, most: int | None = None) -> None:
        raise AssertionError(f"{size} bytes in a message")

    def close_oversized(self, size: int, most: int) -> None:
        raise AssertionError(f"{size} bytes announced")

    def close_slow_upload(self) -> None:
        raise AssertionError("a slow upload")

    def close_for_memory(self) -> None:
        raise AssertionError("too much is held")

    def fail(self, code: int, reason: str) -> None:
        self._handler.close(code, reason)


class EchoSocket(WebSocketHandler):
    def initialize(self, admission: Admission, turns: ReadScheduler, uploads: UploadWatch) -> None:
        self._shared: dict[str, Any] = {"admission": admission, "turns": turns, "uploads": uploads}

    def check_origin(self, origin: str) -> bool:
        return True

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain = super().get_websocket_protocol()
        assert isinstance(plain, WebSocketProtocol13)
        self._reading = BufferedWebSocketProtocol(
            self, plain.params, address_key="", received=NullCounter(), **self._shared
        )
        return self._reading

    def open(self, *_: str, **__: str) -> None:
        self.set_nodelay(True)
        self._reading.endpoint = Echo(self, self._reading.stream)


@contextlib.contextmanager
def echo_server() -> Iterator[str]:
    """Serve in the running loop; yields the URL."""
    admission = Admission(settings(), RejectionLog())
    shared = {"admission": admission, "turns": ReadScheduler(), "uploads": UploadWatch()}
    application = Application([(r"/.*", EchoSocket, shared)], websocket_max_message_size=MAX_MESSAGE)
    server = HTTPServer(application)
    (listening,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listening)
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.stop()
