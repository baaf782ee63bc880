"""Access to JSON of unknown shape: missing and unexpected values become empty."""

from itertools import islice
from typing import Any

MAX_FIELD = 20_000  # maximum characters per field


def text(content: Any, *path: str) -> str:
    """The text or number at a path of keys."""
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    if isinstance(content, bool):
        return ""
    return str(content)[:MAX_FIELD].strip() if isinstance(content, str | int | float) else ""


def objects(content: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the list of that name."""
    listed = content.get(name) if isinstance(content, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def pairs(content: Any, name: str, most: int) -> list[str]:
    """The texts and numbers in the object of that name, as `name: value`; at most `most`."""
    found = content.get(name) if isinstance(content, dict) else None
    members = found if isinstance(found, dict) else {}
    told = (f"{key[:100]}: {value}" for key in members if (value := text(members, key)))
    return list(islice(told, most))
