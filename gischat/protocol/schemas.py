"""The schemas of messages, of the table of types (`protocol.types`)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from gischat.protocol.fields import (
    Base64,
    Document,
    FileName,
    IconName,
    Identifier,
    LongText,
    Nickname,
    Number,
    Text,
    Timestamp,
    VisibleText,
)
from gischat.protocol.identifiers import new_id, now
from gischat.protocol.lazy_patterns import compiled_when_used
from gischat.protocol.types import TYPES, MessageType
from gischat.settings import Settings

with compiled_when_used():
    from marshmallow import EXCLUDE, Schema, ValidationError, fields, validates_schema

Row = dict[str, fields.Field[Any]]  # a type's own fields, in the order in which they are sent


@functools.lru_cache(maxsize=1)
def schemas(settings: Settings) -> dict[str, Schema]:
    """The schemas of what a client may send, by type."""
    return _schemas(settings, from_server=False)


def server_schemas(settings: Settings) -> dict[str, Schema]:
    """The schemas of what only the server sends, by type."""
    return _schemas(settings, from_server=True)


def _schemas(settings: Settings, *, from_server: bool) -> dict[str, Schema]:
    palette = Palette(settings)
    rows = [row for row in TYPES.values() if row.from_server_only is from_server]
    return {row.name: _schema(row, row.fields(palette)) for row in rows}


def _schema(type: MessageType, row: Row) -> Schema:
    head: Row = {
        "type": fields.Constant(type.name),
        "id": Identifier(load_default=new_id),
        "timestamp": Timestamp(load_default=now),
    }
    base = _checking(type.fault) if type.fault else Schema
    return base.from_dict(head | row, name=f"{type.name.capitalize()}Message")(unknown=EXCLUDE)


def _checking(fault: Callable[[Mapping[str, Any]], tuple[str, str] | None]) -> type[Schema]:
    class Checking(Schema):
        @validates_schema
        def _check_all(self, data: Mapping[str, Any], **_: Any) -> None:
            if found := fault(data):
                name, reason = found
                raise ValidationError(reason, name)

    return Checking


class Palette:
    """The fields that the table of types uses, and groups of fields that several types have."""

    text, visible_text, long_text, base64, file_name = Text, VisibleText, LongText, Base64, FileName
    number, timestamp, document = Number, Timestamp, Document
    integer, string = fields.Integer, fields.String  # of what only the server sends

    def __init__(self, limits: Settings) -> None:
        self.limits = limits
        self.nickname = Nickname(limits)
        self.signed: Row = {"author": self.nickname, "avatar": IconName(255, optional=True)}
        self.crs: Row = {"crs_wkt": Text(10_000), "crs_authid": Text(50)}
        self.reply: Row = {"in_reply_to_id": Identifier()}
