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
    """Converts frames to events; the same frames, sent to many readers in one turn of the loop, are converted once."""

    def __init__(self) -> None:
        self._encoded: dict[int, tuple[bytes, bytes]] = {}  # by frames' identity: frames, which so stay, and events

    def encode(self, frames: bytes) -> bytes:
        """Convert whole frames; returns the same object for the same frames."""
        if id(frames) not in self._encoded:
            if not self._encoded:  # dropped after the turn, because they may be large
                asyncio.get_running_loop().call_soon(self._encoded.clear)
            self._encoded[id(frames)] = frames, b"".join(map(event, text_payloads(frames)))
        return self._encoded[id(frames)][1]
