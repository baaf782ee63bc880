"""Parser and checks of `REDIS_URL`; makes no connection.

    redis://user:password@host:port/db            one server; rediss:// with TLS, unix:///path?db=0 by a socket
    redis+sentinel://host:port,host:port/service  the master that the Sentinels name; with TLS rediss+sentinel://
    redis+cluster://host:port,host:port           a cluster, found through these nodes; with TLS rediss+cluster://

Reserved characters in user and password are percent-encoded (RFC 3986 §2.1). Options follow as a query, see `OPTIONS`:
`?ssl_ca_certs=/etc/ssl/redis.pem`. With TLS, connections to the Sentinels use TLS as well, unless `sentinel_ssl=no`;
`sentinel_username` and `sentinel_password` authenticate to them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    import ssl

SCHEME = re.compile(r"(?:(?P<unix>unix)|redis(?P<tls>s)?(?:\+(?P<kind>sentinel|cluster))?)://(?=.)")
HOSTS = re.compile(r"[^/?#]*")  # with user and password
REDIS_PORT, SENTINEL_PORT = 6379, 26379


class WrongUrl(ValueError):
    """The URL is invalid; `str()` says why without quoting any part that may contain a password."""


class Kind(StrEnum):
    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Node(NamedTuple):
    """A server's host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed `REDIS_URL`: the addresses of Redis and the options of its connections."""

    kind: Kind
    has_tls: bool
    nodes: tuple[Node, ...]  # the server, the Sentinels, or some nodes of the cluster; empty for a unix socket
    path: str  # of the unix socket
    service: str  # name of the master, for the Sentinels
    options: Mapping[str, Any] = field(repr=False)  # username, password, db, ssl_*
    sentinel_options: Mapping[str, Any] = field(repr=False)  # the same, for the Sentinels

    def __str__(self) -> str:
        """The address for people to read, without secrets."""
        return self.path or ", ".join(map(str, self.nodes))


def parse(url: str) -> RedisUrl:
    """Parse a URL.

    Raises:
        WrongUrl: the URL is invalid. Files that it names are checked by `check_files`.
    """
    scheme = SCHEME.match(url)
    if scheme is None or not url.isprintable():
        raise WrongUrl("Must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.")
    kind, has_tls = Kind(scheme["kind"] or "server"), bool(scheme["tls"])
    # Split off first: urlsplit rejects several hosts when one of them is an address in brackets.
    location = HOSTS.match(url, scheme.end())
    assert location is not None
    parts = urlsplit("//" + url[location.end() :])
    if parts.fragment:
        raise WrongUrl(f"Must not contain a #. {ENCODE}")
    credentials, _, hosts = location[0].rpartition("@")
    options = _options(parts.query, kind, has_tls)
    sentinel_options = {name.removeprefix("sentinel_"): options.pop(name) for name in SENTINEL & options.keys()}
    path = unquote(parts.path).strip("/")
    service, _, database = path.partition("/") if kind is Kind.SENTINEL else ("", "", path)
    if kind is Kind.SENTINEL and not service:
        raise WrongUrl("Must name a service: redis+sentinel://host:port,host:port/service.")
    if scheme["unix"]:
        nodes, database = [], ""
    else:
        nodes = [_node(host, SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT) for host in hosts.split(",")]
    if kind is Kind.SERVER and len(nodes) > 1:
        raise WrongUrl("Several hosts need redis+sentinel:// or redis+cluster://.")
    if database:
        options.setdefault("db", _number(database))
    if kind is Kind.CLUSTER and options.get("db"):
        raise WrongUrl("A cluster has only database 0.")
    return RedisUrl(
        kind=kind,
        has_tls=has_tls,
        nodes=tuple(nodes),
        path=unquote(parts.path) if scheme["unix"] else "",
        service=service,
        options=_credentials(credentials) | options,
        sentinel_options=_for_sentinels(options, sentinel_options, has_tls and kind is Kind.SENTINEL),
    )


def check_files(url: RedisUrl) -> None:
    """Check that the files that TLS needs can be read and used.

    Raises:
        WrongUrl: a file is missing or unusable.
    """
    options = url.options
    for name in FILES & options.keys():
        try:
            with open(options[name], "rb"):
                pass
        except OSError as error:
            raise WrongUrl(f"{name}: {options[name]}: {error.strerror}.") from None
    if not url.has_tls:
        return
    try:
        tls_context({name: options[name] for name in options.keys() & {"ssl_ca_certs", "ssl_ca_path"}})
    except OSError:
        raise WrongUrl("ssl_ca_certs, ssl_ca_path: contain no certificates in PEM format.") from None
    try:
        tls_context(options)
    except OSError:
        raise WrongUrl(
            "ssl_certfile, ssl_keyfile: no certificate with its key in PEM format, or ssl_password is wrong."
        ) from None


def tls_context(options: Mapping[str, Any]) -> "ssl.SSLContext":
    """The TLS context for a URL's options.

    Raises:
        OSError: a file is missing or unusable.
    """
    import ssl  # slow to import, and needed only with TLS

    context = ssl.create_default_context()
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = options.get("ssl_check_hostname", True)
    if "ssl_certfile" in options:
        # Never None: without a password OpenSSL would prompt for one on the terminal.
        password = options.get("ssl_password", "")
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), password)
    if "ssl_ca_certs" in options or "ssl_ca_path" in options:
        context.load_verify_locations(options.get("ssl_ca_certs"), options.get("ssl_ca_path"))
    return context


ENCODE = "In user and password, write %2F for /, %3F for ?, %23 for #, %40 for @, %25 for %."


def _node(address: str, default_port: int) -> Node:
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]*)(?::(\d+))?", address)
    port = int(match[2] or default_port) if match else 0
    if match is None or not 0 < port < 65536:
        raise WrongUrl(f"A port must be from 1 to 65535, after host and colon. {ENCODE}")
    return Node(unquote(match[1]).strip("[]") or "localhost", port)


def _credentials(written: str) -> dict[str, Any]:
    username, _, password = written.partition(":")
    given = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _number(written: str) -> int:
    if not re.fullmatch(r"\d{1,6}", written, re.ASCII):
        raise WrongUrl(f"The database must be a number. {ENCODE}")
    return int(written)


def _switch(written: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if written.lower() not in known:
        raise WrongUrl("Must be yes or no.")
    return known[written.lower()]


def _requirement(written: str) -> str:
    if written not in ("required", "none"):
        raise WrongUrl("Must be required or none.")
    return written


# Option of the query -> its parser. The TLS options are named as in redis-py.
OPTIONS: dict[str, Callable[[str], Any]] = {
    "username": str,
    "password": str,
    "db": _number,
    "ssl_ca_certs": str,  # file of trusted CA certificates
    "ssl_ca_path": str,  # or a directory of them, as made by `openssl rehash`
    "ssl_certfile": str,  # client certificate, if the server asks for one
    "ssl_keyfile": str,
    "ssl_password": str,  # of ssl_keyfile
    "ssl_check_hostname": _switch,
    "ssl_cert_reqs": _requirement,
    "sentinel_username": str,
    "sentinel_password": str,
    "sentinel_ssl": _switch,
}
FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
SENTINEL = {name for name in OPTIONS if name.startswith("sentinel_")}


def _options(query: str, kind: Kind, has_tls: bool) -> dict[str, Any]:
    options = {}
    for name, written in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise WrongUrl(f"Contains an unknown option; known options are {', '.join(OPTIONS)}. {ENCODE}")
        if name.startswith("ssl_") and not has_tls:
            raise WrongUrl(f"{name}: only with rediss:// (TLS).")
        if name in SENTINEL and kind is not Kind.SENTINEL:
            raise WrongUrl(f"{name}: only with redis+sentinel://.")
        try:
            options[name] = OPTIONS[name](written)
        except WrongUrl as error:
            raise WrongUrl(f"{name}: {error}") from None
    return options


def _for_sentinels(options: Mapping[str, Any], own: dict[str, Any], has_tls: bool) -> dict[str, Any]:
    if not own.pop("ssl", has_tls):
        return own
    return own | {"ssl": True, **{name: value for name, value in options.items() if name.startswith("ssl_")}}
