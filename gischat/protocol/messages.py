"""Messages of the protocol, as fronts and workers pass them on; messages that the server makes itself."""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gischat.protocol.identifiers import new_id, now
from gischat.protocol.long_text import Pieces
from gischat.protocol.types import TYPES, Lane
from gischat.protocol.wording import quoting

__all__ = [
    "Lane",
    "Message",
    "author_of",
    "content_digest",
    "exiter_message",
    "folded",
    "id_of",
    "new_id",
    "newcomer_message",
    "nickname_of",
    "now",
    "server_message",
    "uncompliant",
]


@dataclass(frozen=True, slots=True)
class Message:
    """A valid message. `body` is the whole JSON object, which receivers get if no worker changes it.

    `author` is its author or liker; empty if its type has none.
    """

    type: str
    id: str
    body: bytes | Pieces  # pieces for photos and layers
    author: str = ""

    @property
    def lane(self) -> Lane:
        row = TYPES.get(self.type)
        return row.lane if row else Lane.LIGHT

    def refused(self, reason: str) -> str:
        """A reason for refusing this message, for its sender; for a text, with the text's beginning."""
        return quoting(reason, bytes(self.body)) if self.type == "text" else reason


def id_of(body: bytes) -> bytes:
    """The id of a published message; every one begins with its type and id. Empty for what is no message of ours."""
    start = body.find(b'"id":"') + len(b'"id":"')
    return body[start : body.find(b'"', start)] if start >= len(b'"id":"') else b""


def content_digest(body: bytes) -> str:
    """A digest of a message without its timestamp, in sixteen characters.

    A client that resends a message after a lost answer may not know its timestamp any more.
    """
    found = _TIMESTAMP.search(body, 0, _HEAD_BYTES)
    start, end = found.span() if found else (0, 0)
    whole = memoryview(body)
    digest = hashlib.blake2b(whole[:start], digest_size=12)
    digest.update(whole[end:])
    return base64.urlsafe_b64encode(digest.digest()).decode()


_TIMESTAMP = re.compile(rb'"timestamp":\d+')
_HEAD_BYTES = 128  # these contain a message's type, id and timestamp, in this order


def nickname_of(message: Message) -> str:
    """The nickname in a `newcomer` or `exiter`, under the key of the type's name."""
    nickname: str = msgspec.json.decode(bytes(message.body))[message.type]
    return nickname


def folded(nickname: str) -> str:
    """The key by which nicknames are compared: case does not matter."""
    return nickname.casefold()


def author_of(body: bytes) -> str:
    """The author of a message, or the liker of a like; empty if there is none."""
    said = msgspec.json.decode(body, type=_Said)
    return said.author or said.liker_author


class _Said(msgspec.Struct):
    author: str = ""
    liker_author: str = ""


def newcomer_message(nickname: str) -> Message:
    """A `newcomer` that a front sends for one of its connections."""
    return _own_message("newcomer", newcomer=nickname)


def exiter_message(nickname: str) -> Message:
    """An `exiter` that a front sends for one of its connections."""
    return _own_message("exiter", exiter=nickname)


def _own_message(type: str, **content: str) -> Message:
    body = server_message(type, **content)
    return Message(type, id_of(body).decode(), body)


def uncompliant(reason: str) -> bytes:
    """The message that tells a sender why a message was refused."""
    return server_message("uncompliant", reason=reason)


def server_message(type: str, **content: Any) -> bytes:
    """A message of the server, as JSON."""
    return msgspec.json.encode({"type": type, "id": new_id(), "timestamp": now()} | content)
