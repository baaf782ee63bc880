"""What `REDIS_URL` says, read and checked; no connection is made here.

    redis://user:password@host:port/db            one server; rediss:// with TLS, unix:///path?db=0 by a socket
    redis+sentinel://host:port,host:port/service  the master that the Sentinels name; with TLS rediss+sentinel://
    redis+cluster://host:port,host:port           a cluster, found through these nodes; with TLS rediss+cluster://

What has a meaning in a URL is percent-encoded in user and password (RFC 3986 §2.1). Options follow as a query, see
`OPTIONS`: `?ssl_ca_certs=/etc/ssl/redis.pem`. With TLS, the Sentinels are spoken to by TLS as well, unless
`sentinel_ssl=no`; `sentinel_username` and `sentinel_password` are for them.
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
    """`str()` says why, without repeating a part of the URL in which a password may be."""


class Kind(StrEnum):
    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Node(NamedTuple):
    """Where a server is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where Redis is and how to speak with it."""

    kind: Kind
    has_tls: bool
    nodes: tuple[Node, ...]  # the server, the Sentinels, or some nodes of the cluster; none behind a unix socket
    path: str  # of the unix socket
    service: str  # that the Sentinels know the master by
    options: Mapping[str, Any] = field(repr=False)  # username, password, db, ssl_*
    sentinel_options: Mapping[str, Any] = field(repr=False)  # the same, for the Sentinels

    def __str__(self) -> str:
        """Where it is, for people to read; without secrets."""
        return self.path or ", ".join(map(str, self.nodes))


def parse(url: str) -> RedisUrl:
    """Reads a URL.

    Raises:
        WrongUrl: it is wrong. That the files it names are good, `check_files` finds out.
    """
    scheme = SCHEME.match(url)
    if scheme is None or not url.isprintable():
        raise WrongUrl("Starts with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.")
    kind, has_tls = Kind(scheme["kind"] or "server"), bool(scheme["tls"])
    # Taken off first: to the standard library, several hosts with an address in brackets among them are no URL's.
    location = HOSTS.match(url, scheme.end())
    assert location is not None
    parts = urlsplit("//" + url[location.end() :])
    if parts.fragment:
        raise WrongUrl(f"Has a #. {ENCODE}")
    credentials, _, hosts = location[0].rpartition("@")
    options = _options(parts.query, kind, has_tls)
    sentinel_options = {name.removeprefix("sentinel_"): options.pop(name) for name in SENTINEL & options.keys()}
    path = unquote(parts.path).strip("/")
    service, _, database = path.partition("/") if kind is Kind.SENTINEL else ("", "", path)
    if kind is Kind.SENTINEL and not service:
        raise WrongUrl("Names no service: redis+sentinel://host:port,host:port/service.")
    if scheme["unix"]:
        nodes, database = [], ""
    else:
        nodes = [_node(host, SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT) for host in hosts.split(",")]
    if kind is Kind.SERVER and len(nodes) > 1:
        raise WrongUrl("Several hosts need redis+sentinel:// or redis+cluster://.")
    if database:
        options.setdefault("db", _number(database))
    if kind is Kind.CLUSTER and options.get("db"):
        raise WrongUrl("A cluster has no databases but 0.")
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
    """Tries the files that TLS needs.

    Raises:
        WrongUrl: one is missing or cannot be used.
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
        raise WrongUrl("ssl_ca_certs, ssl_ca_path: hold no certificates in PEM form.") from None
    try:
        tls_context(options)
    except OSError:
        raise WrongUrl(
            "ssl_certfile, ssl_keyfile: are no certificate and its key in PEM form, or ssl_password is not the key's."
        ) from None


def tls_context(options: Mapping[str, Any]) -> "ssl.SSLContext":
    """How TLS is spoken, as the options have it.

    Raises:
        OSError: a file is missing or cannot be used.
    """
    import ssl  # only who needs it pays for it

    context = ssl.create_default_context()
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = options.get("ssl_check_hostname", True)
    if "ssl_certfile" in options:
        # With a password, if an empty one: OpenSSL would ask the terminal for it.
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
        raise WrongUrl(f"A host:port in it has no port from 1 to 65535. {ENCODE}")
    return Node(unquote(match[1]).strip("[]") or "localhost", port)


def _credentials(written: str) -> dict[str, Any]:
    username, _, password = written.partition(":")
    given = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _number(written: str) -> int:
    if not re.fullmatch(r"\d{1,6}", written, re.ASCII):
        raise WrongUrl(f"Its database is no number. {ENCODE}")
    return int(written)


def _switch(written: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if written.lower() not in known:
        raise WrongUrl("Is yes or no.")
    return known[written.lower()]


def _requirement(written: str) -> str:
    if written not in ("required", "none"):
        raise WrongUrl("Is required or none.")
    return written


# What the query may say: how it is read. Those of TLS are the names that redis-py has for them.
OPTIONS: dict[str, Callable[[str], Any]] = {
    "username": str,
    "password": str,
    "db": _number,
    "ssl_ca_certs": str,  # file of the certificates that are trusted
    "ssl_ca_path": str,  # or directory of them, as `openssl rehash` makes it
    "ssl_certfile": str,  # our own certificate, where the server asks for one
    "ssl_keyfile": str,
    "ssl_password": str,  # of that key
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
            raise WrongUrl(f"Has an unknown option; known are {', '.join(OPTIONS)}. {ENCODE}")
        if name.startswith("ssl_") and not has_tls:
            raise WrongUrl(f"{name}: there is no TLS without rediss://.")
        if name in SENTINEL and kind is not Kind.SENTINEL:
            raise WrongUrl(f"{name}: there are no Sentinels without redis+sentinel://.")
        try:
            options[name] = OPTIONS[name](written)
        except WrongUrl as error:
            raise WrongUrl(f"{name}: {error}") from None
    return options


def _for_sentinels(options: Mapping[str, Any], own: dict[str, Any], has_tls: bool) -> dict[str, Any]:
    if not own.pop("ssl", has_tls):
        return own
    return own | {"ssl": True, **{name: value for name, value in options.items() if name.startswith("ssl_")}}
