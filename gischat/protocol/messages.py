"""The messages of the contract, as fronts and workers hand them on, and those that the server makes itself."""

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
    """A message that keeps the contract. `body` is the whole JSON object: what receivers get if no worker alters it.

    `author` is who it says has written or liked something; empty where nobody has.
    """

    type: str
    id: str
    body: bytes | Pieces  # in pieces: a photo
    author: str = ""

    @property
    def lane(self) -> Lane:
        row = TYPES.get(self.type)
        return row.lane if row else Lane.LIGHT

    def refused(self, reason: str) -> str:
        """A reason why this message is not published, for its sender: of a text, with its beginning."""
        return quoting(reason, bytes(self.body)) if self.type == "text" else reason


def id_of(body: bytes) -> bytes:
    """The id of a message as it is published: every one begins with its type and its id."""
    start = body.index(b'"id":"') + len(b'"id":"')
    return body[start : body.index(b'"', start)]


def content_digest(body: bytes) -> str:
    """What a message says, in sixteen characters: all of it but the time at which it was sent.

    A client that sends a message again, for it did not hear of the first, may not know what time that bore.
    """
    found = _TIMESTAMP.search(body, 0, _HEAD_BYTES)
    start, end = found.span() if found else (0, 0)
    whole = memoryview(body)
    digest = hashlib.blake2b(whole[:start], digest_size=12)
    digest.update(whole[end:])
    return base64.urlsafe_b64encode(digest.digest()).decode()


_TIMESTAMP = re.compile(rb'"timestamp":\d+')
_HEAD_BYTES = 128  # in which a message's type, id and timestamp stand, in this order


def nickname_of(message: Message) -> str:
    """The nickname in a `newcomer` or `exiter`, where the key is named as the type is."""
    nickname: str = msgspec.json.decode(bytes(message.body))[message.type]
    return nickname


def folded(nickname: str) -> str:
    """By which nicknames are compared: those that differ in case alone are one."""
    return nickname.casefold()


def author_of(body: bytes) -> str:
    """Who says to have written a message, or to like one; empty where nobody does."""
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
    """The message that tells a sender what is wrong."""
    return server_message("uncompliant", reason=reason)


def server_message(type: str, **content: Any) -> bytes:
    """A message of the server's own making, as JSON."""
    return msgspec.json.encode({"type": type, "id": new_id(), "timestamp": now()} | content)
