"""The table of message types and the table of lanes, from which everything else about them derives.

A type that is only passed on is one row here. A type with special work also has a function in `worker.handlers`. A lane
is one row here and one program in supervisord.conf.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

SIDES = ("xmin", "xmax", "ymin", "ymax")
MAX_LIVE_SECONDS = 8 * 3600  # maximum duration of a live position
EMPTY_EXTENT = "The extent is empty: add a layer first."

Row = dict[str, Any]  # marshmallow's fields; workers use this table, but do not load marshmallow


class Lane(StrEnum):
    """The table of lanes: inboxes with workers of their own.

    Lanes for slow jobs are sandboxed: their jobs run one at a time in a process with limits, fairly by client; they
    have a rate limit of their own, and go to Redis in chunks. Fast jobs must never wait behind them.
    """

    is_sandboxed: bool

    def __new__(cls, name: str, is_sandboxed: bool = False) -> Self:
        lane = str.__new__(cls, name)
        lane._value_ = name
        lane.is_sandboxed = is_sandboxed
        return lane

    LIGHT = "light"
    HEAVY = "heavy", True

    @property
    def setting(self) -> str:
        """The environment variable with the number of its workers."""
        return f"{self.upper()}_WORKERS"


LANES = tuple(Lane)


def _extent_fault(content: Mapping[str, Any]) -> tuple[str, str] | None:
    """Check an extent. One without width or height is valid: QGIS pans to that place."""
    xmin, xmax, ymin, ymax = (content[side] for side in SIDES)
    # QGIS' extent without layers is from the largest number to the smallest, or all zeros (QgsRectangle::isNull).
    if xmin > xmax or ymin > ymax or not (xmin or xmax or ymin or ymax):
        return ("xmin" if xmin > xmax else "ymin"), EMPTY_EXTENT
    return None


@dataclass(frozen=True, slots=True)
class MessageType:
    """One row of the table."""

    name: str
    description: str  # for the API's documentation
    fields: Callable[[Any], Row]  # of a `schemas.Palette`, its own fields, in the order in which they are sent
    lane: Lane = Lane.LIGHT
    stored: bool = True
    passes_freeze: bool = False  # a frozen channel accepts it, too
    has_place: bool = False  # workers determine its place on the map
    from_server_only: bool = False
    is_live: bool = False
    """It takes no job: fronts exchange the newest of each sender, and send it to clients that ask for the type
    (`?types=`)."""
    fault: Callable[[Mapping[str, Any]], tuple[str, str] | None] | None = None
    """Checks fields against each other; returns the name of a field and a reason for the sender, or None."""


TYPES: Mapping[str, MessageType] = {
    row.name: row
    for row in (
        MessageType(
            "text",
            "Broadcast and stored.",
            lambda of: of.signed | {"text": of.visible_text(of.limits.max_message_length)} | of.reply,
        ),
        MessageType(
            "image",
            "Scaled to fit the size that the server allows, broadcast as JPEG or PNG, stored.",
            lambda of: of.signed | {"image_data": of.base64(of.limits.max_image_raw_length)} | of.reply,
            lane=Lane.HEAVY,
        ),
        MessageType(
            "geojson",
            "A layer, repaired where QGIS could not read it; broadcast, stored. In the layer's own CRS.",
            lambda of: (
                of.signed
                | {"layer_name": of.file_name(255)}
                | of.crs
                | {"geojson": of.document(), "style": of.long_text(None, optional=True)}
                | of.reply
            ),
            lane=Lane.HEAVY,
            has_place=True,
        ),
        MessageType(
            "crs",
            "A coordinate reference system; broadcast and stored.",
            lambda of: of.signed | of.crs | of.reply,
            has_place=True,
        ),
        MessageType(
            "bbox",
            "An extent, not empty (`xmin` ≤ `xmax`, `ymin` ≤ `ymax`); broadcast and stored.",
            lambda of: of.signed | of.crs | {side: of.number() for side in SIDES} | of.reply,
            has_place=True,
            fault=_extent_fault,
        ),
        MessageType(
            "position",
            "A place; broadcast and stored.",
            lambda of: of.signed | of.crs | {"x": of.number(), "y": of.number()} | of.reply,
            has_place=True,
        ),
        MessageType(
            "model",
            "A QGIS processing model; broadcast and stored.",
            lambda of: (
                of.signed
                | {
                    "model_name": of.file_name(128),
                    "model_group": of.file_name(128, optional=True),
                    "raw_xml": of.long_text(of.limits.max_model_raw_length),
                }
            ),
        ),
        MessageType(
            "script",
            "A QGIS Python script; broadcast and stored.",
            lambda of: (
                of.signed | {"name": of.file_name(128), "raw_pycode": of.long_text(of.limits.max_script_raw_length)}
            ),
        ),
        MessageType(
            "live_position",
            "Where somebody is until that time, in WGS 84, with the accuracy in metres; under the connection's "
            "registered nickname. The newest takes the place of all before; others get it at most once a second. Never "
            "stored. Goes to connections that asked for it: `?types=live_position`. One whose `until` is not after its "
            "`timestamp` ends it; so does the connection's end.",
            lambda of: {
                "author": of.nickname,
                "x": of.number(-180, 180, "it is a longitude in WGS 84"),
                "y": of.number(-90, 90, "it is a latitude in WGS 84"),
                "accuracy": of.number(0, 1e7, "it is in metres"),
                "until": of.timestamp(required=True),
            },
            stored=False,
            passes_freeze=True,
            is_live=True,
        ),
        MessageType(
            "newcomer",
            "Registers the connection's nickname in the channel, as soon as it is free; broadcast. To write, few "
            "instances need it.",
            lambda of: {"newcomer": of.nickname},
            stored=False,
            passes_freeze=True,
        ),
        MessageType(
            "exiter",
            "Gives the nickname up; broadcast, also when a registered connection ends.",
            lambda of: {"exiter": of.nickname},
            stored=False,
            passes_freeze=True,
        ),
        MessageType(
            "like",
            "Goes to the liked author alone, if registered.",
            lambda of: {
                "liker_author": of.nickname,
                "liked_author": of.nickname,
                "message": of.text(of.limits.max_message_length),
            },
            stored=False,
        ),
        MessageType(
            "nb_users",
            "How many connections the channel has; sent when that changes, in full rooms at most every 3 to 30 s.",
            lambda of: {"nb_users": of.integer()},
            stored=False,
            from_server_only=True,
        ),
        MessageType(
            "uncompliant",
            "Why a message was refused, in words for its user; goes to its sender alone.",
            lambda of: {"reason": of.string()},
            stored=False,
            from_server_only=True,
        ),
    )
}

SERVER_TYPES = frozenset(row.name for row in TYPES.values() if row.from_server_only)
LIVE_TYPES = frozenset(row.name for row in TYPES.values() if row.is_live)
PLACED_TYPES = tuple(row.name for row in TYPES.values() if row.has_place)


def types_of(lanes: Callable[[Lane], bool]) -> list[str]:
    """What clients may send that goes to such lanes."""
    return [row.name for row in TYPES.values() if not (row.from_server_only or row.is_live) and lanes(row.lane)]
