"""A client of gischat for Python programs: bots, bridges, tests.

    async with gischat.client.connect("https://host/", "QGIS", nickname="builder") as chat:
        await chat.send_text("Hello")
        async for message in chat:
            print(message)

`docs/python-client.md` is its reference.
"""

from gischat.client.address import WGS84, Crs
from gischat.client.chat import Chat, connect
from gischat.client.errors import ChatError, Refused, Unconfirmed, Unreachable
from gischat.client.messages import (
    BboxMessage,
    CrsMessage,
    ExiterMessage,
    Gap,
    GeojsonMessage,
    ImageMessage,
    LikeMessage,
    LivePositionMessage,
    Message,
    ModelMessage,
    NbUsersMessage,
    NewcomerMessage,
    OtherMessage,
    PositionMessage,
    ScriptMessage,
    TextMessage,
    UncompliantMessage,
)

__all__ = [
    "WGS84",
    "BboxMessage",
    "Chat",
    "ChatError",
    "Crs",
    "CrsMessage",
    "ExiterMessage",
    "Gap",
    "GeojsonMessage",
    "ImageMessage",
    "LikeMessage",
    "LivePositionMessage",
    "Message",
    "ModelMessage",
    "NbUsersMessage",
    "NewcomerMessage",
    "OtherMessage",
    "PositionMessage",
    "Refused",
    "ScriptMessage",
    "TextMessage",
    "UncompliantMessage",
    "Unconfirmed",
    "Unreachable",
    "connect",
]
