"""A process with Qt's event loop, a QWebSocket and a QNetworkAccessManager: `python -m tests.clients.qt_process`.

It takes JSON lines on stdin and tells in JSON lines on stdout what happens; `qt.py` speaks with it. It needs no
display, and of Qt only what needs none: no GL, no EGL.
"""

import json
import os
import sys
import time
from typing import Any

from PySide6.QtCore import QCoreApplication, QSocketNotifier, QUrl, qVersion
from PySide6.QtNetwork import QNetworkAccessManager, QNetworkReply, QNetworkRequest
from PySide6.QtWebSockets import QWebSocket


def tell(**event: Any) -> None:
    """One line to whoever started us."""
    os.write(1, json.dumps(event).encode() + b"\n")


class Client:
    """Does what it is told; all of it in Qt's event loop."""

    def __init__(self) -> None:
        self._rest = b""
        self._network = QNetworkAccessManager()
        self._network.finished.connect(self._finished)
        self._socket = QWebSocket()
        self._socket.connected.connect(lambda: tell(event="connected", url=self._socket.requestUrl().toString()))
        self._socket.textMessageReceived.connect(lambda text: tell(event="text", text=text))
        self._socket.disconnected.connect(self._disconnected)
        self._socket.errorOccurred.connect(lambda _: tell(event="error", text=self._socket.errorString()))
        self._notifier = QSocketNotifier(0, QSocketNotifier.Type.Read)
        self._notifier.activated.connect(self._read)

    def open(self, url: str) -> None:
        self._socket.open(QUrl(url))

    def send(self, text: str) -> None:
        self._socket.sendTextMessage(text)

    def close(self) -> None:
        self._socket.close()

    def hold(self, seconds: float) -> None:
        """The event loop does something else."""
        time.sleep(seconds)
        tell(event="released")

    def get(self, url: str, headers: dict[str, str]) -> None:
        request = QNetworkRequest(QUrl(url))
        for name, value in headers.items():
            request.setRawHeader(name.encode(), value.encode())
        self._network.get(request)

    def end(self) -> None:
        self._socket.abort()
        QCoreApplication.quit()

    def _read(self) -> None:
        data = os.read(0, 1 << 20)
        if not data:  # whoever started us has gone
            self.end()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            verb, arguments = json.loads(line)
            getattr(self, verb)(**arguments)

    def _disconnected(self) -> None:
        code = self._socket.closeCode()
        tell(event="disconnected", code=getattr(code, "value", code), reason=self._socket.closeReason())

    def _finished(self, reply: QNetworkReply) -> None:
        tell(
            event="reply",
            status=reply.attribute(QNetworkRequest.Attribute.HttpStatusCodeAttribute),
            content_type=reply.rawHeader("Content-Type").data().decode(),
            body=reply.readAll().data().decode(),
            error=reply.errorString() if reply.error() != QNetworkReply.NetworkError.NoError else "",
        )
        reply.deleteLater()


if __name__ == "__main__":
    application = QCoreApplication(sys.argv)
    client = Client()
    tell(event="ready", version=qVersion())
    application.exec()
