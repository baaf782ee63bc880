"""Received messages: a frozen class for each type, with the keys of `docs/protocol.md`.

Unknown keys are ignored, and a message of an unknown type becomes an `OtherMessage`, so that newer servers break no
program.
"""

from typing import Any

import msgspec


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    timestamp: int  # seconds since the epoch

    @property
    def type(self) -> str:
        """The type's name in the protocol."""
        return str(self.__struct_config__.tag)


class Authored(_Head, frozen=True, kw_only=True):
    """A message with an author."""

    author: str
    avatar: str | None = None


class _Replyable(Authored, frozen=True, kw_only=True):
    in_reply_to_id: str | None = None


class _Located(_Replyable, frozen=True, kw_only=True):
    crs_wkt: str
    crs_authid: str


class TextMessage(_Replyable, frozen=True, kw_only=True, tag="text"):
    text: str


class ImageMessage(_Replyable, frozen=True, kw_only=True, tag="image"):
    image_data: str  # a PNG or JPEG, as base64


class GeojsonMessage(_Located, frozen=True, kw_only=True, tag="geojson"):
    layer_name: str
    geojson: dict[str, Any]
    style: str | None = None  # QML


class CrsMessage(_Located, frozen=True, kw_only=True, tag="crs"):
    pass


class BboxMessage(_Located, frozen=True, kw_only=True, tag="bbox"):
    xmin: float
    xmax: float
    ymin: float
    ymax: float


class PositionMessage(_Located, frozen=True, kw_only=True, tag="position"):
    x: float
    y: float


class ModelMessage(Authored, frozen=True, kw_only=True, tag="model"):
    model_name: str
    model_group: str | None = None
    raw_xml: str


class ScriptMessage(Authored, frozen=True, kw_only=True, tag="script"):
    name: str
    raw_pycode: str


class NewcomerMessage(_Head, frozen=True, kw_only=True, tag="newcomer"):
    newcomer: str


class ExiterMessage(_Head, frozen=True, kw_only=True, tag="exiter"):
    exiter: str


class LikeMessage(_Head, frozen=True, kw_only=True, tag="like"):
    liker_author: str
    liked_author: str
    message: str


class LivePositionMessage(_Head, frozen=True, kw_only=True, tag="live_position"):
    """The current position of a person, which replaces earlier ones; sent for `types=["live_position"]` only."""

    author: str
    x: float  # longitude in WGS 84
    y: float  # latitude
    accuracy: float  # metres
    until: int  # seconds since the epoch; if not after `timestamp`, sharing has ended


class NbUsersMessage(_Head, frozen=True, kw_only=True, tag="nb_users"):
    nb_users: int


class UncompliantMessage(_Head, frozen=True, kw_only=True, tag="uncompliant"):
    """A message of the server that is not about a message of ours (`Refused` is raised for those)."""

    reason: str


class OtherMessage(_Head, frozen=True, kw_only=True):
    """A message of a type that this version does not know."""

    type: str
    content: dict[str, Any]  # all keys


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Some messages may be missing here, because the server does not have them any more; `reason` is its text."""

    reason: str


_Known = (
    TextMessage
    | ImageMessage
    | GeojsonMessage
    | CrsMessage
    | BboxMessage
    | PositionMessage
    | ModelMessage
    | ScriptMessage
    | NewcomerMessage
    | ExiterMessage
    | LikeMessage
    | LivePositionMessage
    | NbUsersMessage
    | UncompliantMessage
)
Received = _Known | OtherMessage
Message = Received | Gap

# Types sent to single connections: the server cannot continue after their ids. That may apply to an `OtherMessage`,
# too.
PRIVATE = (LikeMessage, LivePositionMessage, NbUsersMessage, UncompliantMessage, OtherMessage)

_decoder: msgspec.json.Decoder[_Known] = msgspec.json.Decoder(_Known)
_any = msgspec.json.Decoder(dict[str, Any])


def parse(frame: str | bytes) -> Received:
    """Decode a frame.

    Raises:
        msgspec.DecodeError: it is not a message.
    """
    try:
        return _decoder.decode(frame)
    except msgspec.ValidationError:
        content = _any.decode(frame)
        return msgspec.convert({**content, "content": content}, OtherMessage)
