"""Settings of hooks, which are lists. Errors name entries only by their position, because all parts may be secret."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from gischat.environment import Environment, Invalid

T = TypeVar("T")

# Unreserved characters (RFC 3986 §2.3), so that a key need not be escaped in a path.
KEY = re.compile(r"[A-Za-z0-9._~-]{16,200}")
NICKNAME = re.compile(r"[A-Za-z0-9_-]+")


class Hook(NamedTuple):
    """The channel and the nickname of a hook."""

    channel: str
    name: str


def entries(text: str) -> list[str]:
    """Split at commas and line breaks."""
    return [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]


def hooks(env: Environment, channels: tuple[str, ...] | None) -> Any:
    """Parse `channel:key:name` to pairs of a hook and its key."""

    def parse(entry: str) -> tuple[Hook, str] | None:
        channel, _, rest = entry.rpartition(":")[0].rpartition(":")
        name = entry.rpartition(":")[2].strip()
        is_right = KEY.fullmatch(rest.strip()) and NICKNAME.fullmatch(name) and channel.strip() in (channels or ())
        return (Hook(channel.strip(), name), rest.strip()) if is_right else None

    form = (
        "Each is a channel of CHANNELS, a key of at least 16 letters, digits or -._~ and a nickname, as"
        " QGIS:key:grafana, separated by commas or line breaks"
    )
    found = listed(env, "HOOKS", parse, form, channels)
    if found and len({key for _, key in found}) < len(found):
        env.wrong["HOOKS"] = "A key stands there twice: each hook has a key of its own."
        return None
    return found


def outgoing_hooks(env: Environment, channels: tuple[str, ...] | None) -> Any:
    """Parse `channel=https://…` to pairs of a channel and a URL."""

    def parse(entry: str) -> tuple[str, str] | None:
        channel, _, url = entry.partition("=")
        return (channel.strip(), url.strip()) if channel.strip() in (channels or ()) and is_url(url.strip()) else None

    form = "Each is a channel of CHANNELS and an address, as QGIS=https://example.org/path, separated by commas"
    return listed(env, "OUTGOING_HOOKS", parse, form, channels)


def is_url(url: str) -> bool:
    """Whether the text is a URL that can be posted to, with a valid host and port."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # as for resolving it: no label is empty or too long
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return (
        is_whole
        and url.isascii()
        and url.isprintable()
        and " " not in url
        and not ("@" in parts.netloc or parts.fragment)
    )


def listed(
    env: Environment,
    name: str,
    parse: Callable[[str], T | None],
    form: str,
    channels: tuple[str, ...] | None,
    *,
    if_empty: str = "",
) -> tuple[T, ...] | None:
    """Parse a list of entries; `if_empty` is the reason why it must not be empty, if it must not."""

    def check(text: str) -> None:
        if not entries(text) and (text or if_empty):
            raise Invalid(if_empty or "There is none in it. Leave the setting out if there shall be none.")
        wrong = [str(place) for place, entry in enumerate(entries(text), 1) if parse(entry) is None]
        if wrong and channels:  # else it is those that are wrong
            raise Invalid(f"{form}: number {', '.join(wrong)} is not.")

    text = env.text(name, "", check)
    return None if text is None else tuple(filter(None, map(parse, entries(text))))


def contradictions(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """What of the hooks does not agree with other settings."""
    found = {}
    if not wrong.keys() & {"HOOKS", "MIN_AUTHOR_LENGTH", "MAX_AUTHOR_LENGTH"}:
        shortest, longest = values["min_author_length"], values["max_author_length"]
        reserved = values["admin_author"].casefold() if values["admin_token"] else ""
        for hook, _ in values["hooks"]:
            if not shortest <= len(hook.name) <= longest or hook.name.casefold() == reserved:
                found["HOOKS"] = (
                    f"Each name is a nickname of {shortest} to {longest} characters, and not ADMIN_AUTHOR: one is not."
                )
    is_sent = not wrong.keys() & {"OUTGOING_HOOKS", "OUTGOING_HOOKS_SECRET"} and values["outgoing_hooks"]
    if is_sent and not values["outgoing_hooks_secret"]:
        found["OUTGOING_HOOKS_SECRET"] = "Required by OUTGOING_HOOKS: receivers verify posts by it."
    return found
