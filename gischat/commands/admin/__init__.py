"""`gischat admin`: moderation from a terminal, through a front's `/admin` API.

Exit status:

    0    done
    1    not done: there is no such message, ban, …, or the server is not able to at the moment
    2    wrong arguments
    69   no server answers (EX_UNAVAILABLE of sysexits.h)
    77   wrong token (EX_NOPERM)
    78   wrong settings, or no token (EX_CONFIG)
"""

import argparse
import asyncio
import contextlib
import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest, HTTPResponse

from gischat.commands import CommandError
from gischat.commands.admin import calls
from gischat.settings import LOOPBACK, WRONG_SETTINGS, Settings, load
from gischat.timings import Timings

NOT_DONE, UNREACHABLE, NOT_PERMITTED = 1, 69, 77

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gischat admin",
        description="Moderates a running instance. The token is ADMIN_TOKEN, from the environment or the .env file.",
    )
    _add_common(parser)
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")

    def command(
        act: Callable[[argparse.Namespace], calls.Call], purpose: str, *, in_one: bool = False
    ) -> argparse.ArgumentParser:
        added = acts.add_parser(act.__name__, help=purpose, description=purpose)
        _add_common(added, default=argparse.SUPPRESS)  # or it would reset options given before the command
        added.set_defaults(call=act)
        if in_one:
            added.add_argument("--channel", metavar="CHANNEL", help="only in this channel (default: all)")
        return added

    command(calls.connections, "Lists the connections to all fronts.", in_one=True)
    command(calls.channels, "Lists the channels, with their numbers of users, and which are frozen.")
    command(calls.messages, "Lists the stored messages of a channel.").add_argument("channel")
    one = command(calls.delete, "Deletes a stored message, or all messages of a channel.")
    one.add_argument("channel")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="the message's id: see messages")
    which.add_argument("--all", action="store_true", help="all messages of the channel")
    one = command(calls.disconnect, "Disconnects the user registered under a nickname.", in_one=True)
    one.add_argument("nickname")
    one.add_argument("--reason", help="shown to the user")
    command(calls.bans, "Lists the bans in force.")
    one = command(
        calls.ban,
        "Bans an address, a network or a nickname for a time, and disconnects its connections.",
        in_one=True,
    )
    one.add_argument("subject", help="203.0.113.7, 203.0.113.0/24, 2001:db8::/64 or a nickname")
    one.add_argument("--for", dest="seconds", type=_duration, default="1d", metavar="TIME", help="30m, 12h, 7d (1d)")
    one.add_argument("--reason", help="shown to the user")
    command(calls.unban, "Lifts a ban.", in_one=True).add_argument("subject", help="as listed by bans")
    _add_keys(command(calls.keys, "The keys that open private channels; with make and revoke, changes them."))
    one = command(calls.announce, "Publishes a text as the instance, in frozen channels, too.", in_one=True)
    one.add_argument("text")
    command(calls.freeze, "Freezes a channel: everybody can read, nobody can write.").add_argument("channel")
    command(calls.thaw, "Lifts a freeze.").add_argument("channel")
    return parser


def _add_keys(parser: argparse.ArgumentParser) -> None:
    """What is done with keys; without any of it they are listed."""
    acts = parser.add_subparsers(metavar="ACT")
    make = acts.add_parser("make", help="makes one, and shows it once")
    make.add_argument("channels", nargs="+", metavar="channel", help="a private channel that it opens")
    make.add_argument("--for", dest="seconds", type=_duration, default="365d", metavar="TIME", help="12h, 90d (365d)")
    make.add_argument("--note", default="", help="who has it, and what for")
    make.set_defaults(call=calls.make_key)
    revoke = acts.add_parser("revoke", help="ends one, and disconnects who came by it")
    revoke.add_argument("id", help="as keys shows it; or the key, or an address with it")
    revoke.set_defaults(call=calls.revoke_key)
    for act in (make, revoke):
        _add_common(act, default=argparse.SUPPRESS)


def _add_common(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the options that are allowed before and after the command."""
    add = functools.partial(parser.add_argument, default=default)
    add("--url", help="a front, or the proxy before it (default: ADMIN_URL, or the front of this machine)")
    add("--env-file", type=Path, metavar="FILE", help="further settings (default: .env, if it exists)")
    add("--token-file", type=Path, metavar="FILE", help="file with the token, instead of ADMIN_TOKEN")
    add("--as", dest="name", help="your name in the server's log (default: your login name)")
    parser.add_argument("--json", action="store_true", default=default or False, help="print the answer as JSON")


def _duration(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration: write 30m, 12h or 7d")
    return int(match[1]) * UNITS[match[2]]


def main(arguments: Sequence[str], timings: Timings) -> int:
    given = _parser().parse_args(arguments)
    print(asyncio.run(_ask(given, *_where_and_token(given), timings)))
    return 0


def _where_and_token(given: argparse.Namespace) -> tuple[str, str]:
    if given.env_file and not given.env_file.exists():
        raise CommandError(f"{given.env_file}: there is no such file", WRONG_SETTINGS)
    settings = load(given.env_file or Path(".env"))
    url = given.url or settings.admin_url or _own_front(settings)
    if urlsplit(url).scheme not in ("http", "https"):
        raise CommandError(f"'{url}' is no address of a server: it begins with https:// or http://", WRONG_SETTINGS)
    return url.rstrip("/"), _token(given.token_file, settings)


def _own_front(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in LOOPBACK else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _token(file: Path | None, settings: Settings) -> str:
    if file is not None:
        try:
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise CommandError(f"the token cannot be read: {error}", WRONG_SETTINGS) from None
    if not settings.admin_token:
        raise CommandError(
            "there is no ADMIN_TOKEN, neither in the environment nor in .env: it has to be the one of the server",
            WRONG_SETTINGS,
        )
    return settings.admin_token


async def _ask(given: argparse.Namespace, url: str, token: str, timings: Timings) -> str:
    call: calls.Call = given.call(given)
    request = HTTPRequest(
        url + call.path,
        method=call.method,
        headers={"Authorization": f"Bearer {token}", "X-Moderator": _name(given)},
        body=None if call.body is None else msgspec.json.encode(call.body),
        allow_nonstandard_methods=True,  # a PUT without a body
        follow_redirects=False,  # the token is for this server alone
        connect_timeout=timings.admin_connect,
        request_timeout=timings.admin_answer,
    )
    client = AsyncHTTPClient(force_instance=True)
    try:
        response = await client.fetch(request, raise_error=False)
    except (HTTPError, OSError, ValueError) as error:
        raise CommandError(f"{url} does not answer: {error}", UNREACHABLE) from None
    finally:
        client.close()
    answer = _answer(response, url)
    return msgspec.json.encode(answer).decode() if given.json else call.show(answer)


def _answer(response: HTTPResponse, url: str) -> Any:
    try:
        answer = msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        raise CommandError(f"{url} answers with {response.code}, but it is no gischat", UNREACHABLE) from None
    if response.code in (200, 201):
        return answer
    raise CommandError(_complaint(response, answer), NOT_PERMITTED if response.code == 401 else NOT_DONE)


def _complaint(response: HTTPResponse, answer: Any) -> str:
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if isinstance(detail, list):
        return "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in detail)
    if response.code == 404 and detail == "Not Found":
        return "the server has no ADMIN_TOKEN: nobody moderates there"
    return str(detail or f"the server answers {response.code}")


def _name(given: argparse.Namespace) -> str:
    """The moderator's name, in ASCII for a header."""
    name = given.name
    if not name:
        with contextlib.suppress(OSError):  # no terminal
            name = os.getlogin()
    return (name or "").encode("ascii", "replace").decode()
