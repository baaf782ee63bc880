"""Encodes server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) from websocket frames.

A room sends frames, which are encoded once for all websockets. They are converted once more, for all readers of event
streams together.
"""

import asyncio

from gischat.front.transport.frames import text_payloads
from gischat.protocol.messages import id_of

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b":\n\n"  # a comment, which browsers ignore

# Messages without an id in the stream: clients could not continue after them, as they are not among the recent ones.
WITHOUT_ID = frozenset({b"nb_users", b"uncompliant"})

_TYPE_AT = len(b'{"type":"')


def retry(milliseconds: int) -> bytes:
    """Encode the time that a browser waits before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


def event(body: bytes) -> bytes:
    """Encode a message as an event of its type and id; its data is the JSON."""
    type = body[_TYPE_AT : body.index(b'"', _TYPE_AT)]
    if b"\n" in body or b"\r" in body:
        # JSON has line breaks only as white space between tokens; in an event they would end the data.
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    id = b"" if type in WITHOUT_ID else b"id: %b\n" % id_of(body)
    return b"%bevent: %b\ndata: %b\n\n" % (id, type, body)


class EventEncoder:
    """Converts frames to events, once for all readers in one turn of the loop, or consecutive ones (see `Fanout`)."""

    def __init__(self) -> None:
        # By frames' identity: frames, which so stay, and events. Dropped soon, because they may be large.
        self._used: dict[int, tuple[bytes, bytes]] = {}  # in this turn
        self._used_before: dict[int, tuple[bytes, bytes]] = {}  # in the turn before

    def encode(self, frames: bytes) -> bytes:
        """Convert whole frames; returns the same object for the same frames."""
        if not self._used and not self._used_before:
            asyncio.get_running_loop().call_soon(self._end_turn)
        key = id(frames)
        if key not in self._used:
            events = self._used_before.get(key) or (frames, b"".join(map(event, text_payloads(frames))))
            self._used[key] = events
        return self._used[key][1]

    def _end_turn(self) -> None:
        self._used_before, self._used = self._used, {}
        if self._used_before:
            asyncio.get_running_loop().call_soon(self._end_turn)
