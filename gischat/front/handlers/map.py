"""What the page's map asks the server: where its code is, and whether the operator has tiles for it."""

import re

from gischat.front.handlers.base import WEB
from gischat.front.handlers.rest import PublicHandler
from gischat.settings import Settings

BUNDLE = "built/map.js"


class Map(PublicHandler):
    """`GET /map`. Without a bundle, `code` is null: it is built at set-up, and the chat runs without it, too."""

    async def get(self) -> None:
        settings = self.settings_
        code = f"{settings.base_path}/web/{BUNDLE}" if (WEB / BUNDLE).is_file() else None
        self.answer({"code": code, "tiles": settings.map_tiles_url or None, "attribution": settings.map_attribution})


def image_source(settings: Settings) -> str:
    """Where the page loads tiles from, as a host-source of a content security policy; "" for its own server.

    An address may name hosts by a range of letters, https://{a-c}.tiles.example.org/…: then it is all of them.
    """
    found = re.match(r"(https?://)(\{[^}]*\}\.)?([^/{}]+)/", settings.map_tiles_url)
    return f"{found[1]}{'*.' if found[2] else ''}{found[3]}" if found else ""
