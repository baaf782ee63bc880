"""A chat: one channel, with automatic reconnection."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from tornado.websocket import WebSocketClientConnection

from gischat.client.address import WGS84, Crs, websocket_url
from gischat.client.connection import Connection
from gischat.client.errors import ChatError, Refused, Unconfirmed
from gischat.client.inbox import CUT_OFF, MISSED, Inbox
from gischat.client.messages import (
    Authored,
    BboxMessage,
    CrsMessage,
    GeojsonMessage,
    ImageMessage,
    Message,
    ModelMessage,
    PositionMessage,
    Received,
    ScriptMessage,
    TextMessage,
    UncompliantMessage,
)
from gischat.client.outbox import Outbox
from gischat.client.websocket import open_websocket
from gischat.protocol.identifiers import new_id

MAX_UNREAD_BYTES = 2**25
MAX_MESSAGE_BYTES = 2**26

NO_NICKNAME = "Sending messages requires a nickname: connect(…, nickname=…)"
YIELDED = "Your nickname '"  # the beginning of the server's message that somebody else has the nickname for a while

T = TypeVar("T", bound=Authored)


def connect(
    instance: str,
    channel: str,
    *,
    nickname: str | None = None,
    avatar: str | None = None,
    token: str | None = None,
    after: str | None = None,
    history: bool = True,
    types: Sequence[str] = (),
    ssl: SSLContext | None = None,
    max_unread_bytes: int = MAX_UNREAD_BYTES,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> "Chat":
    """Create a chat; entering it connects: `async with connect(…) as chat`.

    Args:
        instance: the instance's address, as in QGIS.
        nickname: required to send messages; without one, the program can only read.
        avatar: the name of an icon of QGIS.
        token: of a private channel.
        after: the `position` of an earlier chat, to continue from there. If the server does not have the later messages
            any more, a `Gap` says so.
        history: also read the channel's stored messages.
        types: optional message types to receive.
        ssl: how to verify the server's certificate, if not by the default settings.
        max_unread_bytes: approximate maximum of unread messages in memory. The server keeps later ones, which are
            fetched when those are read.
        max_message_bytes: maximum per message; at least the server's `MAX_FRAME_SIZE`.

    Raises:
        ValueError: the address is not a URL.
    """
    inbox = Inbox(max_unread_bytes, after, with_history=history)
    websocket_url(instance, channel)  # raises here rather than on connecting

    def opening() -> Awaitable[WebSocketClientConnection]:
        url = websocket_url(instance, channel, after=inbox.after, types=types)
        return open_websocket(url, token=token, ssl=ssl, max_message_bytes=max_message_bytes)

    return Chat(channel, nickname, avatar, inbox, Connection(opening))


class Chat:
    """A channel that the program has joined; made by `connect`.

    Sending returns the message as published to everyone, and raises `Refused`, with the server's reason, or
    `Unconfirmed`. Messages are sent one after the other, in the order of the calls. While there is no connection, they
    wait; use `asyncio.timeout` to limit that. A cancelled call may have sent its message.

    Iterating (`async for message in chat`) yields all received messages once and in order, including the program's own,
    and a `Gap` where some may be missing. It raises `Refused` if the server does not admit the program any more.
    """

    def __init__(
        self, channel: str, nickname: str | None, avatar: str | None, inbox: Inbox, connection: Connection
    ) -> None:
        self.channel = channel
        self.nickname = nickname
        self._avatar = avatar
        self._inbox = inbox
        self._connection = connection
        self._outbox = Outbox(connection.write, connection.restart)
        self._writing: asyncio.Future[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._registration: str | None = None  # the id of an unanswered newcomer

    async def __aenter__(self) -> Self:
        """Connect, and register the nickname.

        Raises:
            Refused: the channel does not exist, the nickname is taken, or another reason of the server's.
            Unreachable: the server cannot be reached.
        """
        self._opened = asyncio.get_running_loop().create_future()
        self._connection.start(self)
        try:
            await self._opened
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the channel; the server publishes an `exiter`."""
        self._inbox.end(None)
        self._outbox.end(ChatError("The chat is closed."))
        if self._returning is not None:
            self._returning.cancel()
        await self._connection.close()

    @property
    def position(self) -> str | None:
        """The id of the last message read, of those sent to everyone: the argument `after` for another process."""
        return self._inbox.position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._inbox.is_drained and (self._returning is None or self._returning.done()):
            self._returning = asyncio.create_task(self._fetch_rest())
        return await self._inbox.get()

    async def _fetch_rest(self) -> None:
        async with self._outbox.idle():
            if self._inbox.is_drained:  # no reconnection has happened meanwhile
                self._connection.restart()

    # Sending

    async def send(self, type: str, **content: Any) -> Received:
        """Send a message of any type that the server echoes, with these keys."""
        echo = await self._send(type, content)
        assert echo is not None
        return echo

    async def _send(self, type: str, content: Mapping[str, Any], *, has_echo: bool = True) -> Received | None:
        id = new_id()
        return await self._outbox.send(id, _json({"type": type, "id": id, **content}), has_echo=has_echo)

    async def _send_authored(self, kind: type[T], content: Mapping[str, Any], reply_to: str | None = None) -> T:
        keys = {"author": self._author(), "avatar": self._avatar, **content}
        if reply_to is not None:
            keys["in_reply_to_id"] = reply_to
        echo = await self._send(str(kind.__struct_config__.tag), keys)
        if not isinstance(echo, kind):
            raise Unconfirmed("The server has answered with another message than was sent.")
        return echo

    def _author(self) -> str:
        if self.nickname is None:
            raise ValueError(NO_NICKNAME)
        return self.nickname

    async def send_text(self, text: str, *, reply_to: str | None = None) -> TextMessage:
        return await self._send_authored(TextMessage, {"text": text}, reply_to)

    async def send_image(self, picture: bytes | Path, *, reply_to: str | None = None) -> ImageMessage:
        """Send a picture: the bytes of a file, or its path."""
        data = picture if isinstance(picture, bytes) else await asyncio.to_thread(picture.read_bytes)
        return await self._send_authored(ImageMessage, {"image_data": base64.b64encode(data).decode()}, reply_to)

    async def send_geojson(
        self,
        layer_name: str,
        geojson: Mapping[str, Any],
        crs: Crs = WGS84,
        *,
        style: str = "",
        reply_to: str | None = None,
    ) -> GeojsonMessage:
        """Send a layer: a FeatureCollection, and its CRS. QGIS cannot load a layer whose style is null."""
        content = {"layer_name": layer_name, **_in(crs), "geojson": geojson, "style": style}
        return await self._send_authored(GeojsonMessage, content, reply_to)

    async def send_crs(self, crs: Crs, *, reply_to: str | None = None) -> CrsMessage:
        return await self._send_authored(CrsMessage, _in(crs), reply_to)

    async def send_bbox(
        self, xmin: float, ymin: float, xmax: float, ymax: float, crs: Crs = WGS84, *, reply_to: str | None = None
    ) -> BboxMessage:
        """Send an extent."""
        sides = {"xmin": xmin, "xmax": xmax, "ymin": ymin, "ymax": ymax}
        return await self._send_authored(BboxMessage, {**_in(crs), **sides}, reply_to)

    async def send_position(
        self, x: float, y: float, crs: Crs = WGS84, *, reply_to: str | None = None
    ) -> PositionMessage:
        """Send a position: x is east, y is north."""
        return await self._send_authored(PositionMessage, {**_in(crs), "x": x, "y": y}, reply_to)

    async def send_live_position(self, x: float, y: float, *, accuracy: float = 0.0, seconds: int = 900) -> None:
        """Share a live position for some seconds, in WGS 84: x is east. Replaces the previous one; 0 seconds end it."""
        until = (at := int(time.time())) + seconds
        content = {"author": self._author(), "x": x, "y": y, "accuracy": accuracy, "timestamp": at, "until": until}
        await self._send("live_position", content, has_echo=False)

    async def send_model(self, model_name: str, raw_xml: str, *, model_group: str | None = None) -> ModelMessage:
        return await self._send_authored(
            ModelMessage, {"model_name": model_name, "model_group": model_group, "raw_xml": raw_xml}
        )

    async def send_script(self, name: str, raw_pycode: str) -> ScriptMessage:
        return await self._send_authored(ScriptMessage, {"name": name, "raw_pycode": raw_pycode})

    async def like(self, author: str, text: str) -> None:
        """Send a like of an author's text to that author; without effect if the author is not registered."""
        content = {"liker_author": self._author(), "liked_author": author, "message": text}
        await self._send("like", content, has_echo=False)

    # Callbacks of the connection

    def on_open(self) -> None:
        """Called after connecting and reconnecting."""
        self._inbox.begin()

    def on_message(self, message: Received, size: int) -> None:
        """Called for a message; `size` is that of its frame."""
        if isinstance(message, UncompliantMessage) and self._is_refusal(message.reason):
            return
        was_caught_up = self._inbox.is_caught_up
        self._inbox.put(message, size, is_answer=self._outbox.may_be_answer(message.id))
        self._outbox.settle(message)
        if self._inbox.is_caught_up and not was_caught_up:
            self._register()
        elif message.id == self._registration:
            self._ready()

    def on_lost(self, reason: str) -> None:
        """Called when a websocket has ended; `reason` is the server's reason if it is about the message in flight."""
        self._registration = None
        self._outbox.pause(reason)

    def on_end(self, error: ChatError) -> None:
        """Called when the connection has ended for good."""
        self._inbox.end(error)
        self._outbox.end(error)
        if not self._opened.done():
            self._opened.set_exception(error)

    def _register(self) -> None:
        """Register after all missed messages have arrived, so that the answers follow them."""
        if self.nickname is None:
            self._ready()
            return
        self._registration = new_id()
        newcomer = {"type": "newcomer", "id": self._registration, "newcomer": self.nickname}
        self._writing = asyncio.ensure_future(self._connection.write(_json(newcomer)))

    def _ready(self) -> None:
        self._registration = None
        self._connection.is_established = True
        self._outbox.resume()
        if not self._opened.done():
            self._opened.set_result(None)

    def _is_refusal(self, reason: str) -> bool:
        """Whether an `uncompliant` is about what was sent; if so, report it to the sender."""
        if reason in (MISSED, CUT_OFF) or reason.startswith(YIELDED):
            return False
        if self._registration is None:
            return self._outbox.refuse(reason)
        if self._connection.is_established:
            # Most likely our own broken connection still has the nickname: the server grants it to us, under the id of
            # our request, as soon as it is free. If somebody else has registered it, the program has to know.
            return False
        self._connection.fail(Refused(reason))
        return True


def _json(content: Mapping[str, Any]) -> str:
    return msgspec.json.encode(content).decode()


def _in(crs: Crs) -> dict[str, str]:
    return {"crs_wkt": crs.wkt, "crs_authid": crs.authid}
