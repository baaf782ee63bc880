"""A process with Qt's event loop, shared by all tests: `python -m tests.clients.qt_process SOCKET`.

Each connection to the socket has a QWebSocket and a QNetworkAccessManager, controlled by JSON lines, and reports events
in JSON lines; `qt.py` is its counterpart. It needs no display, no GL and no EGL.
"""

import json
import os
import socket
import sys
import time
from typing import Any

from PySide6.QtCore import QCoreApplication, QSocketNotifier, QTimer, QUrl, qVersion
from PySide6.QtNetwork import QNetworkAccessManager, QNetworkReply, QNetworkRequest
from PySide6.QtWebSockets import QWebSocket


class Client:
    """Executes commands in Qt's event loop."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""
        self._network = QNetworkAccessManager()
        self._network.finished.connect(self._finished)
        self._socket = QWebSocket()
        self._socket.connected.connect(lambda: self._tell(event="connected", url=self._socket.requestUrl().toString()))
        self._socket.textMessageReceived.connect(lambda text: self._tell(event="text", text=text))
        self._socket.disconnected.connect(self._disconnected)
        self._socket.errorOccurred.connect(lambda _: self._tell(event="error", text=self._socket.errorString()))
        self._notifier = QSocketNotifier(connection.fileno(), QSocketNotifier.Type.Read)
        self._notifier.activated.connect(self._read)
        self._tell(event="ready", version=qVersion())

    def open(self, url: str) -> None:
        self._socket.open(QUrl(url))

    def send(self, text: str) -> None:
        self._socket.sendTextMessage(text)

    def close(self) -> None:
        self._socket.close()

    def hold(self, until: str) -> None:
        """Block the event loop until there is a file."""
        while not os.path.exists(until):
            time.sleep(0.01)

    def get(self, url: str, headers: dict[str, str]) -> None:
        request = QNetworkRequest(QUrl(url))
        for name, value in headers.items():
            request.setRawHeader(name.encode(), value.encode())
        self._network.get(request)

    def _tell(self, **event: Any) -> None:
        self._connection.sendall(json.dumps(event).encode() + b"\n")

    def _read(self) -> None:
        data = self._connection.recv(1 << 20)
        if not data:  # the test has ended
            self._notifier.setEnabled(False)
            self._socket.disconnected.disconnect()
            self._socket.abort()
            self._connection.close()
            QTimer.singleShot(0, lambda: clients.remove(self))  # after Qt has finished with its notifier
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            verb, arguments = json.loads(line)
            getattr(self, verb)(**arguments)

    def _disconnected(self) -> None:
        code = self._socket.closeCode()
        self._tell(event="disconnected", code=getattr(code, "value", code), reason=self._socket.closeReason())

    def _finished(self, reply: QNetworkReply) -> None:
        self._tell(
            event="reply",
            status=reply.attribute(QNetworkRequest.Attribute.HttpStatusCodeAttribute),
            content_type=reply.rawHeader("Content-Type").data().decode(),
            body=reply.readAll().data().decode(),
            error=reply.errorString() if reply.error() != QNetworkReply.NetworkError.NoError else "",
        )
        reply.deleteLater()


if __name__ == "__main__":
    application = QCoreApplication(sys.argv)
    clients: list[Client] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{sys.argv[1]}.new")
        listener.listen()
        os.rename(f"{sys.argv[1]}.new", sys.argv[1])  # it appears once the process listens
        arrivals = QSocketNotifier(listener.fileno(), QSocketNotifier.Type.Read)
        arrivals.activated.connect(lambda: clients.append(Client(listener.accept()[0])))
        application.exec()
