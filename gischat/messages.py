"""The messages of the contract: what a client may send, checked and completed.

JSON is read strictly (see `protocol.strict_json`), and its fields by the table of `protocol.schemas`. A large document
inside a message (a GeoJSON layer) is only scanned here, not built: that is a worker's job.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
from marshmallow import ValidationError

from gischat.errors import Uncompliant
from gischat.protocol.schemas import LAST_SECOND, Identifier, new_id, now, schemas
from gischat.protocol.strict_json import ObjectDecoder
from gischat.protocol.words import MISSING, beginning, excerpt, quoting, sentence
from gischat.settings import Settings

__all__ = [
    "HEAVY_TYPES",
    "LAST_SECOND",
    "Identifier",
    "Lane",
    "Message",
    "Messages",
    "author_of",
    "content_digest",
    "excerpt",
    "exiter_message",
    "folded",
    "id_of",
    "new_id",
    "newcomer_message",
    "nickname_of",
    "now",
    "quoting",
    "schemas",
    "server_message",
    "uncompliant",
]


class Lane(StrEnum):
    """Where a job waits: quick ones must never wait behind a picture."""

    LIGHT = "light"
    HEAVY = "heavy"


HEAVY_TYPES = frozenset({"image", "geojson"})
SERVER_TYPES = frozenset({"nb_users", "uncompliant"})

# A null in these fields means what leaving them out means: clients that fill a class with all of its fields send it.
NULL_IS_ABSENT = frozenset({"id", "timestamp", "in_reply_to_id"})


@dataclass(frozen=True, slots=True)
class Message:
    """A message that keeps the contract. `body` is the whole JSON object: what receivers get if no worker alters it.

    `author` is who it says has written or liked something; empty where nobody has.
    """

    type: str
    id: str
    body: bytes
    author: str = ""

    @property
    def lane(self) -> Lane:
        return Lane.HEAVY if self.type in HEAVY_TYPES else Lane.LIGHT

    def refused(self, reason: str) -> str:
        """A reason why this message is not published, for its sender: of a text, with its beginning."""
        return quoting(reason, self.body) if self.type == "text" else reason


class Messages:
    """Reads and checks what clients send."""

    def __init__(self, settings: Settings) -> None:
        self.schemas = schemas(settings)
        # By type, the fields' names and what takes each out of JSON.
        self._readers = {
            type: [(name, field.value_of) for name, field in schema.fields.items() if name != "type"]  # type: ignore[attr-defined]
            for type, schema in self.schemas.items()
        }
        self._types = {f'"{type}"'.encode(): type for type in self.schemas}
        self._object = ObjectDecoder({name for schema in self.schemas.values() for name in schema.fields})

    def read(self, frame: str | bytes, *, type: str | None = None) -> Message:
        """Checks one JSON object and completes it with `id`, `timestamp` and empty optional fields.

        Args:
            frame: the text of a websocket frame or of a request's body.
            type: the only type allowed, taken for granted when the object does not name it.

        Raises:
            Uncompliant: with a reason for its sender, and `fields` when single fields are at fault.
        """
        try:
            members = self._object.decode(frame)
        except Uncompliant as error:
            raise Uncompliant(quoting(error.reason, frame), error.fields) from None
        type = self._type_of(members.type, type)
        try:
            content: dict[str, Any] = self.schemas[type].load(self._given(members, type))
        except ValidationError as error:
            raise _uncompliant(error, frame if type == "text" else "") from None
        author = content.get("author") or content.get("liker_author", "")
        return Message(content["type"], content["id"], msgspec.json.encode(content), author)

    def _type_of(self, written: msgspec.Raw | None, only: str | None) -> str:
        if written is None:
            if only is None:
                raise Uncompliant("The message has no type.", {"type": MISSING})
            return only
        value = memoryview(written)
        named = self._types.get(bytes(value[:100])) or beginning(value[1:])
        if value[0] != ord('"'):
            reason = "The type must be a text."
        elif only is not None and named != only:
            reason = f"The type must be '{only}'."
        elif named in SERVER_TYPES:
            reason = f"Messages of type '{named}' come from the server only."
        elif named not in self.schemas:
            reason = f"Unknown message type {excerpt(named)}."
        else:
            return named
        raise Uncompliant(reason, {"type": reason})

    def _given(self, members: Any, type: str) -> dict[str, Any]:
        """The values of the type's fields; what else a client sends is dropped unread."""
        given: dict[str, Any] = {}
        for name, value_of in self._readers[type]:
            raw = getattr(members, name)
            if raw is not None:
                value = value_of(raw)
                if value is not None or name not in NULL_IS_ABSENT:
                    given[name] = value
        return given


def _uncompliant(error: ValidationError, text: str | bytes) -> Uncompliant:
    messages = error.messages
    by_field = messages if isinstance(messages, dict) else {"message": messages}
    broken = {
        str(name): " ".join(map(str, faults)) if isinstance(faults, list) else str(faults)
        for name, faults in by_field.items()
    }
    sentences = dict.fromkeys(sentence(name, fault) for name, fault in broken.items())
    return Uncompliant(quoting(" ".join(sentences), text), broken)


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
    nickname: str = msgspec.json.decode(message.body)[message.type]
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
