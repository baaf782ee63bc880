"""The settings of the page's map: the URLs of its script and of the operator's tiles."""

import re

from gischat.front.handlers.base import WEB
from gischat.front.handlers.rest import PublicHandler
from gischat.settings import Settings

BUNDLE = "built/map.js"


class Map(PublicHandler):
    """`GET /map`. `code` is null without a bundle: the bundle is built at set-up, and the chat works without it."""

    async def get(self) -> None:
        settings = self.settings_
        code = f"{settings.base_path}/web/{BUNDLE}" if (WEB / BUNDLE).is_file() else None
        self.answer({"code": code, "tiles": settings.map_tiles_url or None, "attribution": settings.map_attribution})


def image_source(settings: Settings) -> str:
    """The host of the map's tiles, as a host-source of a content security policy; "" for the page's own server.

    A URL may name several hosts by a range of letters, https://{a-c}.tiles.example.org/…, which becomes a wildcard.
    """
    found = re.match(r"(https?://)(\{[^}]*\}\.)?([^/{}]+)/", settings.map_tiles_url)
    return f"{found[1]}{'*.' if found[2] else ''}{found[3]}" if found else ""
