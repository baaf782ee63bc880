"""The settings of bridges to other chats."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gischat import hook_settings
from gischat.environment import Environment, Invalid, like, within

T = TypeVar("T")

_SERVER = "Like https://matrix.example.org, without a path."
TOKEN = like(r"[!-~]*\Z", "An access token has neither blanks nor other letters than ASCII.")
_ROOM = re.compile(r"[!#][^\s:,=]+(:[^\s,=]+)?\Z")
PING_ROOM = like(rf"({_ROOM.pattern})?\Z", "Like !room:example.org.")
_PAIRS = "Like QGIS=!room:example.org, comma-separated: each a channel of CHANNELS, = and a room's id or alias."
BOT_TOKEN = like(r"([0-9]+:[A-Za-z0-9_-]+)?\Z", "Like 123456:ABC-DEF, as BotFather says it.")
_GROUP = re.compile(r"(-[1-9][0-9]{0,15})(?:/([0-9]{1,10}))?\Z")
_GROUPS = (
    "Like QGIS=-1001234 or QGIS=-1001234/5, comma-separated: a channel of CHANNELS, = and a group's id, / a topic's."
)


@dataclass(frozen=True, slots=True)
class TelegramChat:
    """A group, or a topic of one."""

    id: int
    topic: int  # 0 outside of topics


def read(env: Environment, channels: Sequence[str], ping_room: str | None) -> dict[str, Any]:
    """The values of the settings that depend on others, by their fields."""
    matrix = _bridges(env, "MATRIX_BRIDGES", channels, _room, _PAIRS, "room")
    telegram = _bridges(env, "TELEGRAM_BRIDGES", channels, _chat, _GROUPS, "group or topic")
    outgoing = hook_settings.outgoing_hooks(env, tuple(channels))
    return {
        "matrix_bridges": matrix,
        "telegram_bridges": telegram,
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


def address(env: Environment, name: str, default: str = "") -> Any:
    """Without a scheme, HTTPS is meant."""

    def whole(given: str) -> str:
        return (given if "://" in given else f"https://{given}").rstrip("/")

    def check(given: str) -> None:
        parts = re.fullmatch(r"\w+://[^/?#]+", whole(given))
        if given and not (parts and hook_settings.is_url(whole(given))):
            raise Invalid(_SERVER)

    given = env.text(name, default, check)
    return whole(given) if given else given


def _bridges(
    env: Environment, name: str, channels: Sequence[str], parse: Callable[[str], T | None], form: str, noun: str
) -> tuple[tuple[str, T | None], ...] | None:
    """Parse pairs of a channel and a room or group; `parse` returns None for what is none."""

    def pairs(words: Sequence[str]) -> list[tuple[str, T | None]]:
        parts = [word.rpartition("=") for word in words]  # rooms hold no =, channels may
        return [(channel.strip(), parse(room.strip())) for channel, _, room in parts]

    def check(words: list[str]) -> None:
        found = pairs(words)
        if channels and not all(channel in channels and room is not None for channel, room in found):
            raise Invalid(form)
        for ends in zip(*found, strict=True):
            if len(set(ends)) < len(ends):
                raise Invalid(f"Each channel and each {noun} may be in it only once.")

    words = env.words(name, [], check)
    return None if words is None else tuple(pairs(words))


def _room(text: str) -> str | None:
    return text if _ROOM.match(text) else None


def _chat(text: str) -> TelegramChat | None:
    found = _GROUP.match(text)
    if found is None:
        return None
    topic = int(found[2] or 0)
    return TelegramChat(int(found[1]), topic if topic > 1 else 0)  # the topic General is the group without one
