"""What comes: one frozen value for each message, named after its type, with the keys of `docs/protocol.md`.

A key that this version does not know is left out, and a type that it does not know comes as an `OtherMessage`: a newer
server breaks no program.
"""

from typing import Any

import msgspec


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    timestamp: int  # seconds since the epoch

    @property
    def type(self) -> str:
        """The message's type, as it is on the wire."""
        return str(self.__struct_config__.tag)


class Said(_Head, frozen=True, kw_only=True):
    """What somebody has written."""

    author: str
    avatar: str | None = None


class _Replyable(Said, frozen=True, kw_only=True):
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


class ModelMessage(Said, frozen=True, kw_only=True, tag="model"):
    model_name: str
    model_group: str | None = None
    raw_xml: str


class ScriptMessage(Said, frozen=True, kw_only=True, tag="script"):
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
    """Where somebody is, in place of all before: for those alone who ask for `types=["live_position"]`."""

    author: str
    x: float  # longitude in WGS 84
    y: float  # latitude
    accuracy: float  # metres
    until: int  # seconds since the epoch; not after `timestamp`: it is shared no more


class NbUsersMessage(_Head, frozen=True, kw_only=True, tag="nb_users"):
    nb_users: int


class UncompliantMessage(_Head, frozen=True, kw_only=True, tag="uncompliant"):
    """Words of the server that are about no message of ours: those raise `Refused` where it was sent."""

    reason: str


class OtherMessage(_Head, frozen=True, kw_only=True):
    """A message of a type that this version does not know."""

    type: str
    content: dict[str, Any]  # all of its keys


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Here some messages may be missing: the server no longer has them. Its own words say why."""

    reason: str


_OfTheWire = (
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
Received = _OfTheWire | OtherMessage
Message = Received | Gap

# What goes to single connections: its id tells the server nothing of where a client was. Nor is it known of an
# `OtherMessage`.
PRIVATE = (LikeMessage, LivePositionMessage, NbUsersMessage, UncompliantMessage, OtherMessage)

_decoder: msgspec.json.Decoder[_OfTheWire] = msgspec.json.Decoder(_OfTheWire)
_any = msgspec.json.Decoder(dict[str, Any])


def parse(frame: str | bytes) -> Received:
    """What a frame says.

    Raises:
        msgspec.DecodeError: it is no message.
    """
    try:
        return _decoder.decode(frame)
    except msgspec.ValidationError:
        content = _any.decode(frame)
        return msgspec.convert({**content, "content": content}, OtherMessage)
