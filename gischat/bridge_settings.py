"""The settings of bridges to other chats."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gischat import hook_settings
from gischat.environment import Environment, Invalid, like, within

_SERVER = "Like https://matrix.example.org, without a path."
_TOKEN = like(r"[!-~]*\Z", "An access token has neither blanks nor other letters than ASCII.")
_ROOM = re.compile(r"[!#][^\s:,=]+(:[^\s,=]+)?\Z")
_PAIRS = "Like QGIS=!room:example.org, comma-separated: each a channel of CHANNELS, = and a room's id or alias."
_BOT_TOKEN = like(r"([0-9]+:[A-Za-z0-9_-]+)?\Z", "Like 123456:ABC-DEF, as BotFather says it.")
_GROUP = re.compile(r"(-[1-9][0-9]{0,15})(?:/([0-9]{1,10}))?\Z")
_GROUPS = (
    "Like QGIS=-1001234 or QGIS=-1001234/5, comma-separated: a channel of CHANNELS, = and a group's id, / a topic's."
)


@dataclass(frozen=True, slots=True)
class TelegramChat:
    """A group, or a topic of one."""

    id: int
    topic: int  # 0 outside of topics


def read(env: Environment, channels: Sequence[str]) -> dict[str, Any]:
    """The values of the settings, by their fields."""
    matrix = _matrix_bridges(env, channels)
    telegram = _telegram_bridges(env, channels)
    outgoing = hook_settings.outgoing_hooks(env, tuple(channels))
    ping_room = env.text("MATRIX_PING_ROOMID", "", like(rf"({_ROOM.pattern})?\Z", "Like !room:example.org."))
    return {
        "matrix_bridges": matrix,
        "matrix_homeserver": _address(env, "MATRIX_HOMESERVER"),
        "matrix_token": env.text("MATRIX_TOKEN", "", _TOKEN),
        "matrix_notices": env.switch("MATRIX_NOTICES", False),
        "matrix_ping_message_prefix": env.text("MATRIX_PING_MESSAGE_PREFIX", ""),
        "matrix_ping_homeserver": _address(env, "MATRIX_PING_HOMESERVER"),
        "matrix_ping_roomid": ping_room,
        "matrix_ping_token": env.text("MATRIX_PING_TOKEN", "", _TOKEN),
        "telegram_bridges": telegram,
        "telegram_token": env.text("TELEGRAM_TOKEN", "", _BOT_TOKEN),
        "telegram_api": _address(env, "TELEGRAM_API", "https://api.telegram.org"),
        "telegram_notices": env.switch("TELEGRAM_NOTICES", False),
        "outgoing_hooks": outgoing,  # posted by a bridge's process
        "bridges": env.integer("BRIDGES", int(bool(matrix or telegram or ping_room or outgoing)), within(0, 1)),
    }


def contradictions(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """What is missing to the settings that are there."""
    needs = {
        "matrix_bridges": ("matrix_homeserver", "matrix_token"),
        "telegram_bridges": ("telegram_token", "telegram_api"),
        "matrix_ping_roomid": ("matrix_ping_message_prefix", "matrix_ping_homeserver", "matrix_ping_token"),
    }
    return {
        needed.upper(): f"Missing: {name.upper()} needs it."
        for name, all_needed in needs.items()
        for needed in all_needed
        if values[name] and not values[needed] and needed.upper() not in wrong
    }


def _address(env: Environment, name: str, default: str = "") -> Any:
    """Without a scheme, HTTPS is meant."""

    def whole(given: str) -> str:
        return (given if "://" in given else f"https://{given}").rstrip("/")

    def check(given: str) -> None:
        parts = re.fullmatch(r"\w+://[^/?#]+", whole(given))
        if given and not (parts and hook_settings.is_url(whole(given))):
            raise Invalid(_SERVER)

    given = env.text(name, default, check)
    return whole(given) if given else given


def _matrix_bridges(env: Environment, channels: Sequence[str]) -> Any:
    def check(words: list[str]) -> None:
        pairs = _pairs(words)
        if not all(channel in channels and _ROOM.match(room) for channel, room in pairs) and channels:
            raise Invalid(_PAIRS)
        for ends in zip(*pairs, strict=True):
            if len(set(ends)) < len(ends):
                raise Invalid("Each channel and each room may be in it only once.")

    words = env.words("MATRIX_BRIDGES", [], check)
    return words if words is None else tuple(_pairs(words))


def _telegram_bridges(env: Environment, channels: Sequence[str]) -> Any:
    def check(words: list[str]) -> None:
        pairs = _pairs(words)
        if not all(channel in channels and _GROUP.match(group) for channel, group in pairs) and channels:
            raise Invalid(_GROUPS)
        for ends in zip(*((channel, _chat(group)) for channel, group in pairs), strict=True):
            if len(set(ends)) < len(ends):
                raise Invalid("Each channel and each group or topic may be in it only once.")

    words = env.words("TELEGRAM_BRIDGES", [], check)
    return words if words is None else tuple((channel, _chat(group)) for channel, group in _pairs(words))


def _chat(group: str) -> TelegramChat | None:
    """None where it is none, which `check` has refused or will."""
    found = _GROUP.match(group)
    if found is None:
        return None
    topic = int(found[2] or 0)
    return TelegramChat(int(found[1]), topic if topic > 1 else 0)  # the topic General is the group without one


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Rooms hold no =, channels may."""
    parts = [word.rpartition("=") for word in words]
    return [(channel.strip(), room.strip()) for channel, _, room in parts]
