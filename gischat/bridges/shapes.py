"""Typed access to JSON from elsewhere, whose shape is unknown. Pure."""

from typing import Any


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def as_integer(value: Any) -> int:
    """The value if it is an integer; otherwise 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
