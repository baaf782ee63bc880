"""The nginx site of an instance, with the values that nginx must know filled in from the settings.

They are the maximum size of a request, the idle timeout of a websocket, and the addresses of the fronts.
"""

import argparse
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from string import Template

from gischat.settings import Settings
from gischat.supervision import files

INCLUDE = "    include locations.conf;\n"

MISSED_PINGS = 3  # in a row, until a connection counts as dead
MIN_IDLE_TIMEOUT = 60  # seconds; a front may take a quarter of that to answer a PUT
MAX_IDLE_TIMEOUT = 86_400  # without pings (WS_PING_INTERVAL=0) a live connection may be silent

_HOST_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


class _Site(Template):
    """A template with placeholders @{name}, since $name is nginx's own syntax."""

    delimiter = "@"


def site(settings: Settings, arguments: Sequence[str]) -> str:
    """The site file for a command line; wrong arguments end the process with status 2 and a message."""
    given = _parser().parse_args(arguments)
    template = files.path("deploy/nginx/site.conf").read_text("utf-8")
    locations = files.path("deploy/nginx/locations.conf").read_text("utf-8")
    fronts = given.fronts or [f"127.0.0.1:{settings.port}"]
    values = {
        "name": given.name,
        "servers": "\n    ".join(f"server {front} max_fails=3 fail_timeout=5s;" for front in fronts),
        "http_port": given.http_port,
        "https_port": given.https_port,
        "https_host": given.name if given.https_port == 443 else f"{given.name}:{given.https_port}",
        "certificates": given.certificates or f"/etc/letsencrypt/live/{given.name}",
        "webroot": given.webroot,
        "logs": given.logs,
        "max_body_size": settings.max_body_size,
        "silence": idle_timeout(settings),
    }
    filled = _Site(template[template.index("\n\n") + 2 :]).substitute(values)
    return _HEADER + filled.replace(INCLUDE, textwrap.indent(locations, "    "))


def idle_timeout(settings: Settings) -> int:
    """Seconds without data from a front after which nginx may close a websocket."""
    if not settings.ws_ping_interval:
        return MAX_IDLE_TIMEOUT
    return max(MIN_IDLE_TIMEOUT, math.ceil(settings.ws_ping_interval * MISSED_PINGS))


_HEADER = "# Made by `gischat nginx`; make it anew when fronts move or limits change.\n\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gischat nginx",
        description="Prints an nginx site for this instance: HTTPS and websockets over its fronts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("name", type=_checked(_HOST_NAME, "a host name"), help="what people call it: chat.example.org")
    parser.add_argument(
        "fronts",
        nargs="*",
        metavar="HOST:PORT",
        type=_checked(_ADDRESS, "HOST:PORT"),
        help="one for each host with fronts (without any: this one)",
    )
    parser.add_argument("--http-port", type=int, default=80, help="where requests are sent on to HTTPS")
    parser.add_argument("--https-port", type=int, default=443, help="where it serves")
    parser.add_argument("--certificates", help="directory of fullchain.pem and privkey.pem (without: certbot's)")
    parser.add_argument("--webroot", default="/var/www/html", help="where certbot leaves its answers")
    parser.add_argument("--logs", default="/var/log/nginx", help="directory of its log files")
    return parser


def _checked(pattern: re.Pattern[str], noun: str) -> Callable[[str], str]:
    """An argument type that accepts only `pattern`, since arguments become part of the file."""

    def check(written: str) -> str:
        if not pattern.fullmatch(written):
            raise argparse.ArgumentTypeError(f"{written!r} is not {noun}")
        return written

    return check
