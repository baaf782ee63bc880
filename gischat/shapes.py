"""Access to JSON from elsewhere, of unknown shape: missing and unexpected values become empty. Pure."""

from itertools import islice
from typing import Any

MAX_FIELD = 20_000  # maximum characters of a `text`


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def as_integer(value: Any) -> int:
    """The value if it is an integer; otherwise 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def text(content: Any, *path: str) -> str:
    """The text or number at a path of keys."""
    for name in path:
        content = as_object(content).get(name)
    if isinstance(content, bool) or not isinstance(content, str | int | float):
        return ""
    return str(content)[:MAX_FIELD].strip()


def objects(content: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the list of that name."""
    return [one for one in as_list(as_object(content).get(name)) if isinstance(one, dict)]


def pairs(content: Any, name: str, most: int) -> list[str]:
    """The texts and numbers in the object of that name, as `name: value`; at most `most`."""
    members = as_object(as_object(content).get(name))
    told = (f"{key[:100]}: {value}" for key in members if (value := text(members, key)))
    return list(islice(told, most))
