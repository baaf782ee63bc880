"""A small bot: joins a channel, sends one message of each type, prints what comes back.

    pip install websockets
    python examples/bot.py ws://localhost:8000 QGIS
    GISCHAT_TOKEN=s3cret python examples/bot.py ws://localhost:8000 "a private channel"

Take it as a beginning for your own: `Bot` is all that one needs.
"""

import argparse
import asyncio
import base64
import json
import os
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect

WGS84 = {
    "crs_authid": "EPSG:4326",
    "crs_wkt": 'GEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257223563]],'
    'CS[ellipsoidal,2],AXIS["latitude",north],AXIS["longitude",east],UNIT["degree",0.0174532925199433]]',
}


class Bot:
    """A connection to one channel under a nickname. Use it as `async with Bot(…) as bot`."""

    def __init__(self, server: str, channel: str, nickname: str, token: str = "") -> None:
        # The address as QGIS takes it, http or https, does as well. Channels may hold spaces and letters beyond ASCII
        self._url = f"{server.rstrip('/').replace('http', 'ws', 1)}/channel/{quote(channel, safe='')}/ws"
        self.nickname = nickname
        # Only for a private channel. The library sends each character as a byte, the server takes the bytes for UTF-8
        self._headers = {"Authorization": f"Bearer {token.encode().decode('latin-1')}"} if token else {}

    async def __aenter__(self) -> Self:
        # Pictures and layers are larger than what websockets takes by default
        self._socket: ClientConnection = await connect(self._url, max_size=None, additional_headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def send(self, type: str, **content: Any) -> None:
        """Sends one message; its answer is its echo, or an `uncompliant` that says what is wrong."""
        await self._socket.send(json.dumps({"type": type, **content}))

    async def say(self, type: str, **content: Any) -> None:
        """Sends one message that bears an author: all that are not about nicknames."""
        await self.send(type, author=self.nickname, **content)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """All that the channel says: first its history, then what comes."""
        async for frame in self._socket:
            yield json.loads(frame)


def picture() -> str:
    """A PNG of 64 × 64 pixels, as base64. Any PNG, JPEG, WebP, GIF, BMP or TIFF will do; a file's is
    `base64.b64encode(path.read_bytes()).decode()`.
    """
    rows = b"".join(b"\0" + b"".join(bytes((4 * x, 4 * y, 128)) for x in range(64)) for y in range(64))
    header = struct.pack("!IIBBBBB", 64, 64, 8, 2, 0, 0, 0)  # width, height, 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data)) for name, data in chunks
    )
    return base64.b64encode(png).decode()


def layer() -> dict[str, Any]:
    """A layer of one point, as RFC 7946 has it."""
    place = {"type": "Point", "coordinates": [4.8357, 45.764]}
    return {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"name": "Lyon"}, "geometry": place}],
    }


async def send_each_type(bot: Bot) -> None:
    await bot.send("newcomer", newcomer=bot.nickname)
    await bot.say("text", text="Hello from a bot")
    await bot.say("image", image_data=picture())
    await bot.say("geojson", layer_name="towns", geojson=layer(), style=None, **WGS84)
    await bot.say("crs", **WGS84)
    await bot.say("bbox", xmin=4.7, xmax=4.9, ymin=45.7, ymax=45.8, **WGS84)
    await bot.say("position", x=4.8357, y=45.764, **WGS84)
    await bot.say("model", model_name="buffer", model_group="examples", raw_xml="<Option/>")
    await bot.say("script", name="hello.py", raw_pycode="print('hello')\n")
    await bot.send("like", liker_author=bot.nickname, liked_author=bot.nickname, message="Hello from a bot")
    await bot.send("exiter", exiter=bot.nickname)


async def main(server: str, channel: str, nickname: str) -> int:
    """Returns 1 if the server refused something."""
    refused = 0
    async with Bot(server, channel, nickname, os.environ.get("GISCHAT_TOKEN", "")) as bot:
        await send_each_type(bot)
        async for message in bot.messages():
            text = json.dumps(message, ensure_ascii=False)
            print(text if len(text) <= 160 else text[:159] + "…")
            refused += message["type"] == "uncompliant"
            # What one connection sends is answered in order: the last echo means that all are through
            if message["type"] == "exiter" and message["exiter"] == nickname:
                break
    return min(refused, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sends one message of each type and prints what comes back.")
    parser.add_argument("server", nargs="?", default="ws://localhost:8000")
    parser.add_argument("channel", nargs="?", default="QGIS")
    parser.add_argument("--nickname", default="example-bot")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.server, given.channel, given.nickname)))
