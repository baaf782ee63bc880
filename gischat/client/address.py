"""URLs of channels' websockets, and the coordinate reference systems of messages."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class Crs(NamedTuple):
    """A coordinate reference system. QGIS reads `wkt`, QField `authid`; both must be right."""

    authid: str
    wkt: str


# As QGIS writes it
WGS84 = Crs(
    "EPSG:4326",
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,'
    'AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]',
)


def websocket_url(instance: str, channel: str, *, after: str | None = None, types: Sequence[str] = ()) -> str:
    """The URL of a channel's websocket.

    Args:
        instance: the instance's address, as in QGIS: with or without a path or a slash at its end.
        after: the id of the last message that the client has.
        types: optional message types that the client asks for.

    Raises:
        ValueError: `instance` is not a URL.
    """
    parts = urlsplit(instance.strip())
    if parts.scheme not in WEBSOCKET_SCHEMES or not parts.hostname:
        raise ValueError(f"{instance!r} is no address of an instance: one looks like https://host or http://host:8000")
    path = f"{parts.path.rstrip('/')}/channel/{quote(channel, safe='')}/ws"
    given = {"after": after, "types": ",".join(types)}
    query = urlencode({name: value for name, value in given.items() if value}, safe=",")
    scheme = WEBSOCKET_SCHEMES[parts.scheme]
    return f"{scheme}://{parts.netloc}{path}" + (f"?{query}" if query else "")
