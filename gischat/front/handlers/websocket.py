"""The websocket of a channel: opened, spoken to, closed. What it means is the connection's business."""

from asyncio import Future
from http import HTTPStatus
from typing import Any

import msgspec
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from gischat import metrics
from gischat.front.channel.closing import STOPPING, CloseStatus, private_channel, unknown_channel
from gischat.front.channel.connection import Connection
from gischat.front.door.admission import Entry
from gischat.front.door.origins import FOREIGN
from gischat.front.door.rates import Pace
from gischat.front.front import Front
from gischat.front.handlers.answers import JSON, Handler
from gischat.front.handlers.requests import log_ended, log_opened
from gischat.front.handlers.rest import refuse
from gischat.front.sockets.frames import text_frame
from gischat.front.sockets.reading import ReadAhead, Unheard
from gischat.front.sockets.server import unbound_header_lines
from gischat.messages import uncompliant
from gischat.metrics import Unwelcome


class ChannelSocket(Handler, WebSocketHandler):
    """`/channel/{channel}/ws`"""

    # Tornado's handlers have nearly as many attributes as Python shares the names of; more would cost a kilobyte.
    __slots__ = ("_connection", "_entry", "_front", "_reading")

    # Sentry's integration replaces this method of all handlers, and would hold a scope of seven kilobytes, and measure
    # one transaction, for as long as a client stays. Faults are reported where they are logged.
    _execute = WebSocketHandler._execute

    def initialize(self, front: Front) -> None:
        self._front = front
        self._connection: Connection | None = None
        self._entry: Entry | None = None
        self._reading: ReadAhead | None = None

    def prepare(self) -> None:
        refusal = self._front.admission.refusal(self.address)
        if refusal is not None:
            refuse(self, refusal)
            return
        # Not in `check_origin`: before Tornado asks that, it takes the origin for a URL, which may fail, and what bears
        # our host for ours, whatever its scheme.
        if not self._front.origins.admit(self.request):
            self._front.drops.count(Unwelcome.ORIGIN, "%s", self._front.origins.advice(self.request))
            self.answer({"detail": FOREIGN}, 403)
            return
        room = self._front.rooms.get(self.path_args[0])
        ban = room.bans.of_address(self.address) if room is not None else None
        if ban is not None:
            metrics.CONNECTIONS_REFUSED.labels(Unwelcome.BANNED).inc()
            self.answer({"detail": ban.words}, 403)

    def finish(self, chunk: Any = None) -> "Future[None]":
        if self.get_status() >= 400 and not isinstance(chunk, bytes):  # Tornado's own words about a handshake
            chunk = msgspec.json.encode({"detail": chunk or HTTPStatus(self.get_status()).phrase})
            self.set_header("Content-Type", JSON)
        return super().finish(chunk)

    def check_origin(self, origin: str) -> bool:
        return True  # or it would not have come so far

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain = super().get_websocket_protocol()
        if not isinstance(plain, WebSocketProtocol13):
            return plain
        room = self._front.rooms.get(self.path_args[0])
        self._reading = ReadAhead(
            self,
            plain.params,
            address_key=self._front.admission.key_of(self.address),
            # Who asks for a channel that does not exist is told so, and may send as much meanwhile as all others.
            received=room.received_bytes if room is not None else Unheard(),
            memory=self._front.memory,
            turns=self._front.turns,
            uploads=self._front.uploads,
            timings=self._front.timings,
        )
        return self._reading

    def open(self, *args: Any, **kwargs: Any) -> None:
        # Nothing has been awaited since `prepare`: the place that was free then is free.
        self._entry = self._front.admission.enter(self.address)
        try:
            self._enter(args[0], self._entry.pace)
        except BaseException:
            self.on_close()  # Tornado does not tell of the end of what never was open
            raise

    def _enter(self, channel: str, pace: Pace) -> None:
        room = self._front.rooms.get(channel)
        stream = self.ws_connection.stream if self.ws_connection is not None else None
        if stream is None or stream.closed():
            return  # gone before the handshake was through
        if room is None:
            metrics.CONNECTIONS_REFUSED.labels(Unwelcome.UNKNOWN_CHANNEL).inc()
            self._close(unknown_channel(channel))
        elif denial := self._front.access.denial(channel, self.request):
            metrics.CONNECTIONS_REFUSED.labels(Unwelcome.TOKEN).inc()
            # Like an unknown channel, not by a status: clients show their users an `uncompliant`.
            self._close(private_channel(denial.reason))
        elif self._front.is_draining:
            self._close(STOPPING)
        else:
            self.set_nodelay(True)
            self._connection = self._front.connect(room, stream, self.close, pace, self._after(), self.address)
            if self._reading is not None:
                self._reading.endpoint = self._connection
            log_opened(self.request, channel, self._connection.number)
        self._forget_handshake()

    def _close(self, status: CloseStatus) -> None:
        """Closes what never became a connection to a channel; its user is told why, as any other."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            self.ws_connection.stream.write(text_frame(uncompliant(status.told)))
        self.close(status.code, status.reason)

    def on_close(self) -> None:
        if self._entry is not None:
            self._entry.leave()
        if self._connection is not None:
            self._connection.ended()
            self._log_ended(self._connection)

    def _log_ended(self, connection: Connection) -> None:
        log_ended(
            self.request,
            connection.room.channel,
            connection.number,
            goodbye=connection.goodbye,
            client_code=self.close_code,
            messages=connection.received,
            bytes_in=self._reading.bytes_in if self._reading is not None else 0,
        )

    def _forget_handshake(self) -> None:
        """What a browser says of itself would be kept as long as it stays, some kilobytes for each; and a token."""
        if self.ws_connection is not None and self.ws_connection.stream is not None:
            unbound_header_lines(self.ws_connection.stream)
        self.request.headers.clear()
        self.request.uri, self.request.query = self.request.path, ""
        self.request.arguments = self.request.query_arguments = {}
        self._headers.clear()
        self.ui.clear()  # what templates would call

    def _after(self) -> str | None:
        """The id of the last message that a client has which comes back; one that cannot be read is unknown."""
        try:
            return self.get_query_argument("after", None)
        except HTTPError:
            return ""
