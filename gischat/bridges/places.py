"""Places in WGS 84, for other chats. Pure."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from gischat.protocol.places import WGS_84_WKT, Box

DEGREES = ("EPSG:4326", "OGC:CRS84")  # with QGIS' axis order: x is the longitude
DEGREE_METRES = 111_320  # along a meridian

WGS_84 = {"crs_wkt": WGS_84_WKT, "crs_authid": "EPSG:4326"}


class Centre(NamedTuple):
    """The centre of a box, and half its diagonal in metres."""

    latitude: float
    longitude: float
    radius: float


def centre(place: Box) -> Centre:
    west, south, east, north = place
    if east < west:  # across the antimeridian
        east += 360
    longitude, latitude = (west + east) / 2, (south + north) / 2
    if longitude > 180:
        longitude -= 360
    across = (east - west) * math.cos(math.radians(latitude))
    return Centre(latitude, longitude, math.hypot(across, north - south) / 2 * DEGREE_METRES)


def place_in_degrees(message: Mapping[str, Any]) -> Box | None:
    """The place of a message with coordinates in WGS 84, which needs no worker; None for others."""
    if message["crs_authid"] not in DEGREES or message["type"] not in ("position", "bbox"):
        return None
    west, south = message.get("x", message.get("xmin")), message.get("y", message.get("ymin"))
    east, north = message.get("x", message.get("xmax")), message.get("y", message.get("ymax"))
    is_on_earth = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
    return (west, south, east, north) if is_on_earth else None


def position_message(latitude: float, longitude: float) -> dict[str, Any] | None:
    """A `position` message; None if the coordinates are not on earth."""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return {"type": "position", **WGS_84, "x": longitude, "y": latitude}
