"""The actions of `gischat admin`: for each the request to the admin API, and the text of its answer."""

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from gischat.broker.access_keys import ID_LENGTH, digest_of
from gischat.commands.admin import answers


class Call(NamedTuple):
    """A request to the admin API, and the function that formats its answer."""

    method: str
    path: str
    show: Callable[[Any], str]
    body: Mapping[str, Any] | None = None


def connections(given: argparse.Namespace) -> Call:
    return Call("GET", "/admin/connections" + _query(channel=given.channel), answers.connections)


def channels(_: argparse.Namespace) -> Call:
    return Call("GET", "/admin/channels", answers.channels)


def messages(given: argparse.Namespace) -> Call:
    return Call("GET", _channel(given, "messages"), answers.messages)


def delete(given: argparse.Namespace) -> Call:
    path = _channel(given, "messages")
    return Call("DELETE", path if given.all else f"{path}/{quote(given.id, safe='')}", answers.deleted)


def disconnect(given: argparse.Namespace) -> Call:
    user = f"users/{quote(given.nickname, safe='')}" + _query(reason=given.reason)
    return Call("DELETE", _channel(given, user), lambda answer: f"Disconnected in {', '.join(answer['disconnected'])}.")


def bans(_: argparse.Namespace) -> Call:
    return Call("GET", "/admin/bans", answers.bans)


def ban(given: argparse.Namespace) -> Call:
    kind = "address" if re.search("[.:]", given.subject) else "nickname"  # which never contains these
    body = {kind: given.subject, "channel": given.channel, "seconds": given.seconds}
    return Call("POST", "/admin/bans", answers.banned, body | {"reason": given.reason or ""})


def unban(given: argparse.Namespace) -> Call:
    id = quote(given.subject.replace("/", "-").casefold(), safe="")
    return Call(
        "DELETE", f"/admin/bans/{id}" + _query(channel=given.channel), lambda answer: f"Lifted: {answer['lifted']}."
    )


def keys(_: argparse.Namespace) -> Call:
    return Call("GET", "/admin/keys", answers.keys)


def make_key(given: argparse.Namespace) -> Call:
    body = {"channels": given.channels, "seconds": given.seconds, "note": given.note}
    return Call("POST", "/admin/keys", answers.made_key, body)


def revoke_key(given: argparse.Namespace) -> Call:
    # The id of a key, where somebody has that or the address: it goes over no wire, and into no log.
    last = given.id.rstrip("/").rpartition("/")[2]
    id = last if len(last) <= ID_LENGTH else digest_of(last)[:ID_LENGTH]
    path = f"/admin/keys/{quote(id, safe='')}"
    return Call("DELETE", path, lambda answer: f"Revoked: {answer['revoked']}. Who came by it is disconnected.")


def announce(given: argparse.Namespace) -> Call:
    return Call("POST", _channel(given, "announcements"), answers.announced, {"text": given.text})


def freeze(given: argparse.Namespace) -> Call:
    return Call("PUT", _channel(given, "freeze"), answers.frozen)


def thaw(given: argparse.Namespace) -> Call:
    return Call("DELETE", _channel(given, "freeze"), answers.frozen)


def _channel(given: argparse.Namespace, end: str) -> str:
    """The path of a resource of one channel, or of all channels."""
    return f"/admin/channels/{quote(given.channel, safe='')}/{end}" if given.channel else f"/admin/{end}"


def _query(**values: str | None) -> str:
    present = {name: value for name, value in values.items() if value}
    return "?" + urlencode(present) if present else ""
