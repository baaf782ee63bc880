"""A small bot: joins a channel, sends one message of each type, prints what comes back.

    pip install gischat
    python examples/bot.py http://localhost:8000 QGIS
    GISCHAT_TOKEN=s3cret python examples/bot.py http://localhost:8000 "a private channel"

Take it as a beginning for your own; docs/python-client.md says what the client does for it.
"""

import argparse
import asyncio
import json
import os
import struct
import sys
import zlib

import msgspec

from gischat.client import WGS84, Chat, ChatError, ExiterMessage, connect


def picture() -> bytes:
    """A PNG of 64 × 64 pixels. Any PNG, JPEG, WebP, GIF, BMP or TIFF will do; a file is sent by its `Path`."""
    rows = b"".join(b"\0" + b"".join(bytes((4 * x, 4 * y, 128)) for x in range(64)) for y in range(64))
    header = struct.pack("!IIBBBBB", 64, 64, 8, 2, 0, 0, 0)  # width, height, 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data)) for name, data in chunks
    )


# A layer of one point, as RFC 7946 has it
TOWNS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": "Lyon"},
            "geometry": {"type": "Point", "coordinates": [4.8357, 45.764]},
        }
    ],
}


async def send_each_type(chat: Chat) -> None:
    hello = await chat.send_text("Hello from a bot")
    await chat.send_image(picture(), reply_to=hello.id)
    await chat.send_geojson("towns", TOWNS)
    await chat.send_crs(WGS84)
    await chat.send_bbox(4.7, 45.7, 4.9, 45.8)
    await chat.send_position(4.8357, 45.764)
    await chat.send_model("buffer", "<Option/>", model_group="examples")
    await chat.send_script("hello.py", "print('hello')\n")
    await chat.like(str(chat.nickname), "Hello from a bot")
    await chat.send("exiter", exiter=chat.nickname)


async def main(server: str, channel: str, nickname: str) -> None:
    async with connect(server, channel, nickname=nickname, token=os.environ.get("GISCHAT_TOKEN")) as chat:
        await send_each_type(chat)
        async for message in chat:
            text = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
            print(text if len(text) <= 160 else text[:159] + "…")
            if isinstance(message, ExiterMessage) and message.exiter == nickname:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sends one message of each type and prints what comes back.")
    parser.add_argument("server", nargs="?", default="http://localhost:8000")
    parser.add_argument("channel", nargs="?", default="QGIS")
    parser.add_argument("--nickname", default="example-bot")
    given = parser.parse_args()
    try:
        asyncio.run(main(given.server, given.channel, given.nickname))
    except ChatError as error:
        sys.exit(str(error))
