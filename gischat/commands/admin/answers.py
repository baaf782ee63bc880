"""The answers of the admin API as text for a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

SHOWN_FRONT = 8  # characters of a front's id: enough to tell fronts apart
SHOWN_TEXT = 60


def connections(answer: Any) -> str:
    hosts = {front["front"]: f"{front['host']}/{front['pid']}" for front in answer["fronts"]}
    rows = [
        (
            f"{one['front'][:SHOWN_FRONT]}/{one['number']}",
            one["channel"],
            one["nickname"] or "-",
            one["address"],
            _time(one["since"]),
            hosts[one["front"]],
        )
        for one in answer["connections"]
    ]
    lines = [_table(("CONNECTION", "CHANNEL", "NICKNAME", "ADDRESS", "SINCE (UTC)", "FRONT"), rows)]
    lines.append(f"{len(rows)} connections on {len(hosts)} fronts")
    lines += [
        f"Front {front[:SHOWN_FRONT]} has not answered: its connections are missing." for front in answer["missing"]
    ]
    return "\n".join(lines)


def channels(answer: Any) -> str:
    rows = [
        (
            one["name"],
            str(one["nb_connected_users"]),
            f"since {_time(one['frozen_since'])} by {one['frozen_by'] or '?'}" if one["frozen"] else "no",
        )
        for one in answer
    ]
    return _table(("CHANNEL", "CONNECTIONS", "FROZEN"), rows)


def messages(answer: Any) -> str:
    rows = [
        (one["id"], _time(one["timestamp"]), one["type"], one.get("author") or "-", _excerpt(one.get("text", "")))
        for one in answer
    ]
    return _table(("ID", "TIME (UTC)", "TYPE", "AUTHOR", "TEXT"), rows)


def bans(answer: Any) -> str:
    rows = [
        (one["subject"], one["channel"] or "(all)", _time(one["until"]), one["by"] or "-", one["reason"] or "-")
        for one in answer
    ]
    return _table(("BANNED", "CHANNEL", "UNTIL (UTC)", "BY", "REASON"), rows)


def keys(answer: Any) -> str:
    rows = [
        (one["id"], ", ".join(one["channels"]), _time(one["until"]), one["by"] or "-", one["note"] or "-")
        for one in answer
    ]
    return _table(("KEY", "CHANNELS", "UNTIL (UTC)", "BY", "NOTE"), rows)


def made_key(answer: Any) -> str:
    return (
        f"Key {answer['id']} opens {', '.join(answer['channels'])} until {_time(answer['until'])} UTC.\n"
        f"Give people this behind the instance's address, as https://chat.example.org{answer['path']}\n"
        "It is shown this once: the server keeps no copy."
    )


def deleted(answer: Any) -> str:
    return f"{answer['deleted']} deleted."


def banned(answer: Any) -> str:
    return f"Banned: {answer['subject']}, {answer['channel'] or 'in all channels'}, until {_time(answer['until'])} UTC."


def announced(answer: Any) -> str:
    return f"Announced in {', '.join(one['channel'] for one in answer['published'])}."


def frozen(answer: Any) -> str:
    state = "frozen" if answer["frozen"] else "not frozen"
    return f"{answer['channel']} is {state}{'' if answer['changed'] else ', as it was before'}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns; unprintable characters are replaced, so that no text can control the terminal."""
    lines = [head, *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "�" for sign in text)


def _excerpt(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 1] + "…"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
