"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), made of websocket frames.

What a room sends are frames, encoded once for all websockets. For the readers of event streams they are encoded once
more, for all of these together.
"""

import asyncio

from gischat.front.transport.frames import text_payloads
from gischat.protocol.messages import id_of

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b":\n\n"  # a comment, which no reader is told of

# Nobody who comes back can say that one of these was the last that came: they are not among the recent messages.
WITHOUT_ID = frozenset({b"nb_users", b"uncompliant"})

_TYPE_AT = len(b'{"type":"')


def retry(milliseconds: int) -> bytes:
    """How long a browser waits before it connects again."""
    return b"retry: %d\n\n" % milliseconds


def event(body: bytes) -> bytes:
    """A message as an event: of its type, with its id, and with itself as the data."""
    type = body[_TYPE_AT : body.index(b'"', _TYPE_AT)]
    if b"\n" in body or b"\r" in body:
        # In JSON they stand between values alone, as any other blank; here they would end the line.
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    id = b"" if type in WITHOUT_ID else b"id: %b\n" % id_of(body)
    return b"%bevent: %b\ndata: %b\n\n" % (id, type, body)


class EventEncoder:
    """Encodes what readers are sent. The same frames, sent to many in one turn of the loop, are encoded once."""

    def __init__(self) -> None:
        self._encoded: dict[int, tuple[bytes, bytes]] = {}  # by frames' identity: frames, which so stay, and events

    def encode(self, frames: bytes) -> bytes:
        """Whole frames as events, the same bytes for the same frames."""
        if id(frames) not in self._encoded:
            if not self._encoded:  # a channel's pictures are kept no longer than they are needed
                asyncio.get_running_loop().call_soon(self._encoded.clear)
            self._encoded[id(frames)] = frames, b"".join(map(event, text_payloads(frames)))
        return self._encoded[id(frames)][1]
