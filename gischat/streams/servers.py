"""Where Redis is: what `REDIS_URL` says, made into connections.

    redis://user:password@host:port/db            one server; rediss:// with TLS, unix:///path by a socket
    redis+sentinel://host:port,host:port/service  the master that the Sentinels name; TLS: rediss+sentinel://
    redis+cluster://host:port,host:port           a cluster, found through these nodes; TLS: rediss+cluster://

Options of redis-py's connections follow as a query: `?ssl_ca_certs=/etc/ssl/redis.pem`. `sentinel_username` and
`sentinel_password` are for the Sentinels themselves.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gischat.streams.cluster import Cluster, Node
from gischat.streams.multiplexer import ANSWER_SECONDS, CONNECT_SECONDS, Multiplexer, Redis

SCHEMES = re.compile(r"(?:unix|(?P<tls>rediss?)(?:\+(?P<kind>sentinel|cluster))?)://.+")
SENTINEL_PORT, CLUSTER_PORT = 26379, 6379


def connect(url: str, *, name: str, resends: bool = True, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """The `Redis` of a URL, to be used as an asynchronous context.

    Args:
        name: what `CLIENT LIST` shows.
        resends, answer_seconds: as a `Multiplexer` takes them.
    """
    kind = _kind(url)
    if kind == "cluster":
        servers = _Servers.parse(url, CLUSTER_PORT)

        async def dial_node(node: Node) -> AbstractConnection:
            return _connection(servers.options | {"host": node.host, "port": node.port}, name)

        return Cluster(servers.nodes, dial_node, name=name, resends=resends, answer_seconds=answer_seconds)
    dial = _dial_master(url, name) if kind == "sentinel" else _dial_server(url, name)
    return Multiplexer(dial, name=name, resends=resends, answer_seconds=answer_seconds)


def reading_groups(url: str, channels: Sequence[str]) -> list[Sequence[str]]:
    """The channels whose streams can be read by one command: in a cluster, each is in a slot of its own."""
    return [[channel] for channel in channels] if _kind(url) == "cluster" else [channels]


def _kind(url: str) -> str | None:
    match = SCHEMES.fullmatch(url)
    assert match is not None, "the settings were checked"
    return match["kind"]


class _Servers(NamedTuple):
    """A URL of many servers: where they are, and how to connect to each."""

    nodes: list[Node]
    service: str
    options: dict[str, Any]
    sentinel_options: dict[str, str]

    @classmethod
    def parse(cls, url: str, default_port: int) -> "_Servers":
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        service, _, database = parts.path.strip("/").partition("/")
        query = dict(parse_qsl(parts.query))
        sentinel = {key: query.pop(f"sentinel_{key}") for key in ("username", "password") if f"sentinel_{key}" in query}
        scheme = parts.scheme.partition("+")[0]
        one = f"{scheme}://{credentials}{'@' if credentials else ''}host/{database}?{urlencode(query)}"
        return cls([_node(host, default_port) for host in hosts.split(",")], service, dict(parse_url(one)), sentinel)


def _node(address: str, default_port: int) -> Node:
    host, _, port = address.rpartition(":") if re.search(r":\d+\Z", address) else (address, "", "")
    return Node(host.strip("[]"), int(port or default_port))


def _dial_server(url: str, name: str) -> Any:
    options = dict(parse_url(url))

    async def dial() -> AbstractConnection:
        return _connection(options, name)

    return dial


def _dial_master(url: str, name: str) -> Any:
    servers = _Servers.parse(url, SENTINEL_PORT)

    async def dial() -> AbstractConnection:
        """Asks anew each time: after a failover another server is the master."""
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            servers.nodes,
            sentinel_kwargs={
                **servers.sentinel_options,
                "socket_timeout": CONNECT_SECONDS / 2,
                "socket_connect_timeout": CONNECT_SECONDS / 2,
            },
        )
        try:
            host, port = await sentinel.discover_master(servers.service)
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return _connection(servers.options | {"host": host, "port": port}, name)

    return dial


def _connection(options: dict[str, Any], name: str) -> AbstractConnection:
    kind = options.get("connection_class", Connection)
    made: AbstractConnection = kind(
        **{key: value for key, value in options.items() if key != "connection_class"},
        client_name=name,
        protocol=2,
        decode_responses=False,
        socket_connect_timeout=CONNECT_SECONDS,
        # A limit per write would put each into a wait_for, which may swallow a cancellation; `_watch` is the limit.
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return made
