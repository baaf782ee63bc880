"""The wire contract of a strict client: the keys of every type, and one valid message of each.

The QGIS plugin builds a strict dataclass from each message, so `check` fails for a missing key as well as for an extra
one.
"""

import uuid
from typing import Any

from tests.support.layers import feature, layer, point
from tests.support.pictures import TINY_PNG

Message = dict[str, Any]

# Contained in all texts that tests send, and in nothing else: it must not appear in a log.
CANARY = "kanarienvogel"

KEYS: dict[str, set[str]] = {
    "text": {"author", "avatar", "text"},
    "image": {"author", "avatar", "image_data"},
    "geojson": {"author", "avatar", "layer_name", "crs_wkt", "crs_authid", "geojson", "style"},
    "crs": {"author", "avatar", "crs_wkt", "crs_authid"},
    "bbox": {"author", "avatar", "crs_wkt", "crs_authid", "xmin", "xmax", "ymin", "ymax"},
    "position": {"author", "avatar", "crs_wkt", "crs_authid", "x", "y"},
    "model": {"author", "avatar", "model_name", "model_group", "raw_xml"},
    "script": {"author", "avatar", "name", "raw_pycode"},
    "live_position": {"author", "x", "y", "accuracy", "until"},
    "newcomer": {"newcomer"},
    "exiter": {"exiter"},
    "like": {"liker_author", "liked_author", "message"},
    "nb_users": {"nb_users"},
    "uncompliant": {"reason"},
}

BROADCAST = ("text", "image", "geojson", "crs", "bbox", "position", "model", "script")
REPLYABLE = ("text", "image", "geojson", "crs", "bbox", "position")
OPTIONAL = {"avatar", "style", "model_group"}
NICKNAMES = {"author", "newcomer", "exiter", "liker_author", "liked_author"}
NUMBERS = {"xmin", "xmax", "ymin", "ymax", "x", "y", "accuracy"}

_LAMBERT = {"crs_wkt": f'PROJCS["{CANARY}"]', "crs_authid": "EPSG:2154"}

_SAMPLES: dict[str, Message] = {
    "text": {"author": "jane", "text": f"{CANARY}: hello"},
    "image": {"author": "jane", "image_data": TINY_PNG},
    "geojson": {
        "author": "jane",
        "layer_name": f"{CANARY} wells",
        **_LAMBERT,
        "geojson": layer([feature(point(2.5, 48.5))]),
    },
    "crs": {"author": "jane", **_LAMBERT},
    "bbox": {"author": "jane", **_LAMBERT, "xmin": 0.1, "xmax": 652000.25, "ymin": -3, "ymax": 6862000},
    "position": {"author": "jane", **_LAMBERT, "x": 652000.25, "y": -0.1},
    "model": {"author": "jane", "model_name": "buffers", "raw_xml": f"<!DOCTYPE model><{CANARY}/>"},
    "script": {"author": "jane", "name": "hello.py", "raw_pycode": f"print('{CANARY}')\n"},
    "live_position": {"author": "jane", "x": 2.35, "y": -48.5, "accuracy": 12, "until": 1_700_000_900},
    "newcomer": {"newcomer": "jane"},
    "exiter": {"exiter": "jane"},
    "like": {"liker_author": "jane", "liked_author": "john", "message": f"{CANARY}: well said"},
}


def sample(type_: str, **changes: Any) -> Message:
    """A valid message of the type, without its optional keys; `changes` replace or add keys."""
    return {"type": type_, **_SAMPLES[type_], **changes}


def required(type_: str) -> list[str]:
    """The keys of the type that a client must give."""
    return sorted(KEYS[type_] - OPTIONAL)


def words() -> str:
    """A unique text that contains the canary."""
    return f"{CANARY} {uuid.uuid4()}"


def check(message: Message) -> None:
    """Raise AssertionError unless a strict client can build its dataclass from the message."""
    type_ = message.get("type")
    assert type_ in KEYS, f"a client received an unknown type: {message!r:.300}"
    keys = set(message) - {"type", "id", "timestamp"}
    if type_ in REPLYABLE:
        keys.discard("in_reply_to_id")
    assert keys == KEYS[type_], f"missing {KEYS[type_] - keys}, extra {keys - KEYS[type_]}: {message!r:.300}"
    assert str(uuid.UUID(message["id"])) == message["id"]
    assert type(message["timestamp"]) is int
    for key in keys:
        expected = _expected_type(key)
        allowed = expected if key not in OPTIONAL else (*expected, type(None))
        assert type(message[key]) in allowed, f"{type_}.{key} is {message[key]!r:.100}"


def _expected_type(key: str) -> tuple[type, ...]:
    if key in NUMBERS:
        return (int, float)
    return {"geojson": (dict,), "nb_users": (int,), "until": (int,)}.get(key, (str,))
