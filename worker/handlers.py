"""The handlers of jobs, by their types. Pure: no Redis, no clock.

LIGHT   type -> function of the job, which runs at once
HEAVY   type -> function of the body, which runs in the sandbox: it may take long or much memory, also on purpose
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gischat.broker.entries import ANNOUNCEMENT, COUNT, HEARTBEAT, LEAVE, RESTORE, Job
from gischat.errors import Uncompliant
from gischat.protocol.types import TYPES, types_of
from gischat.settings import Settings
from worker.effects import Acknowledge, Count, Effect, Exit, Leave, Like, Publish, Register, Restore
from worker.fairness import estimated_seconds
from worker.image_costs import TakesLonger

# Texts that make QChat do something funny: shown, never stored.
CHEAT_CODES = frozenset(
    {
        "givemesomecheese",
        "lookattheflickofqgis",
        "iamarobot",
        "its10oclock",
        "qgisprolicense",
        "wizz",
        "spaceandtime",
    }
)


def text(job: Job) -> Effect:
    return Publish(job.body, stored=_content(job.body)["text"] not in CHEAT_CODES)


def passthrough(job: Job) -> Effect:
    """Publish a message unchanged; the handler of types without a special one."""
    return Publish(job.body, stored=TYPES[job.type].stored)


def announcement(job: Job) -> Effect:
    return Publish(job.body)


def newcomer(job: Job) -> Effect:
    return Register(_content(job.body)["newcomer"])


def restore(job: Job) -> Effect:
    return Restore(_content(job.body)[RESTORE])


def exiter(job: Job) -> Effect:
    return Exit(_content(job.body)["exiter"])


def like(job: Job) -> Effect:
    return Like(_content(job.body)["liked_author"])


def count(job: Job) -> Effect:
    return Count(_content(job.body)["connections"])


LIGHT: Mapping[str, Callable[[Job], Effect]] = {
    **dict.fromkeys(types_of(lambda lane: not lane.is_sandboxed), passthrough),
    "text": text,
    "newcomer": newcomer,
    "exiter": exiter,
    "like": like,
    ANNOUNCEMENT: announcement,
    COUNT: count,
    LEAVE: lambda job: Leave(),
    RESTORE: restore,
    HEARTBEAT: lambda job: Acknowledge(),
}


def as_it_is(body: bytes, settings: Settings, most_seconds: float = math.inf, *, is_placed: bool = False) -> Publish:
    """Publish a message unchanged, in the sandbox."""
    return Publish(body)


def image(body: bytes, settings: Settings, most_seconds: float = math.inf, *, is_placed: bool = False) -> Publish:
    """Publish a message with its picture scaled to fit.

    Raises:
        Uncompliant: the picture is invalid, or of an unsupported format.
        TakesLonger: it is predicted to take longer than `most_seconds`.
    """
    from worker import images  # imported here: the sandbox's child has loaded it, while its parent needs no Pillow

    content = _content(body)
    content["image_data"] = images.fit(
        content["image_data"],
        max_size=settings.max_image_size,
        max_pixels=settings.max_image_pixels,
        most_seconds=most_seconds,
    )
    return Publish(msgspec.json.encode(content))


def layer(body: bytes, settings: Settings, most_seconds: float = math.inf, *, is_placed: bool = False) -> Publish:
    """Publish a message with its GeoJSON checked, repaired and encoded again: without duplicate keys, and without
    numbers that readers cannot represent; with its place, if `is_placed`.

    Raises:
        Uncompliant: the layer is no FeatureCollection, too large, or contains what no reader can show.
        TakesLonger: see `image`.
    """
    from worker import geojson

    if (seconds := estimated_seconds(len(body))) > most_seconds:
        raise TakesLonger(seconds)
    content = _layer_content(body)
    geojson.check(content["geojson"], max_features=settings.max_geojson_features)
    if not is_placed:
        return Publish(msgspec.json.encode(content))
    from worker import crs, places  # loads PROJ

    if not content["crs_wkt"].strip():  # browsers know only the code, from a file, while QGIS reads only the WKT
        content["crs_wkt"] = crs.definition(content["crs_authid"])
    published = msgspec.json.encode(content)
    try:
        return Publish(published, place=places.of_layer(content))
    except MemoryError:
        raise
    except Exception as error:
        return Publish(published, unplaced=repr(error))


HEAVY: Mapping[str, Callable[..., Publish]] = {
    **dict.fromkeys(types_of(lambda lane: lane.is_sandboxed), as_it_is),
    "image": image,
    "geojson": layer,
}


def _content(body: bytes) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode(body)
    return content


_infinities = msgspec.json.Decoder(float_hook=float)


def _layer_content(body: bytes) -> dict[str, Any]:
    """Decode a layer. The front has checked its syntax, but not the size of numbers and the depth of nesting."""
    try:
        return _content(body)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        content: dict[str, Any] = _infinities.decode(body)  # slower; accepts 1e999, so that its feature can be named
    except (msgspec.DecodeError, RecursionError):
        raise Uncompliant(
            "The layer holds a number of thousands of digits, or is nested too deeply."
            " Change or remove that value and send the layer again."
        ) from None
    return content
