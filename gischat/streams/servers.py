"""Connections to what `REDIS_URL` names: one server, the Sentinels' master, or a cluster (see `gischat.redis_url`)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gischat.redis_url import Kind, Node, RedisUrl, parse
from gischat.streams.cluster import Cluster
from gischat.streams.multiplexer import Multiplexer, Redis
from gischat.timings import Timings


def connect(
    url: str,
    *,
    name: str,
    resends: bool = True,
    answer_seconds: float | None = None,
    timings: Timings = Timings(),
) -> Redis:
    """The `Redis` of a URL, to be used as an asynchronous context.

    Args:
        name: what `CLIENT LIST` shows.
        resends, answer_seconds, timings: as a `Multiplexer` takes them.
    """
    where = parse(url)
    if where.kind is Kind.CLUSTER:
        dial_node = node_dialer(where, name, timings)
        return Cluster(
            where.nodes, dial_node, name=name, resends=resends, answer_seconds=answer_seconds, timings=timings
        )
    dial = dialer(where, name, timings)
    return Multiplexer(dial, name=name, resends=resends, answer_seconds=answer_seconds, timings=timings)


def reading_groups(url: str, channels: Sequence[str]) -> list[Sequence[str]]:
    """The channels whose streams can be read by one command: in a cluster, each is in a slot of its own."""
    return [[channel] for channel in channels] if parse(url).kind is Kind.CLUSTER else [channels]


def dialer(where: RedisUrl, name: str, timings: Timings = Timings()) -> Callable[[], Awaitable[AbstractConnection]]:
    """Makes connections, not connected yet, to the one server or to the Sentinels' master of the moment."""
    if where.kind is Kind.SENTINEL:
        return _master_dialer(where, name, timings)

    async def dial() -> AbstractConnection:
        return _connection(where, where.nodes[0] if where.nodes else None, name, timings)

    return dial


def node_dialer(
    where: RedisUrl, name: str, timings: Timings = Timings()
) -> Callable[[Node], Awaitable[AbstractConnection]]:
    """Makes connections, not connected yet, to nodes of a cluster."""

    async def dial(node: Node) -> AbstractConnection:
        return _connection(where, node, name, timings)

    return dial


def sentinels(where: RedisUrl, timings: Timings = Timings()) -> Sentinel:
    """redis-py's clients of the Sentinels; to be closed by whoever asks for them."""
    return Sentinel(  # type: ignore[no-untyped-call]
        where.nodes,
        sentinel_kwargs={
            **where.sentinel_options,
            "socket_timeout": timings.redis_connect / 2,
            "socket_connect_timeout": timings.redis_connect / 2,
            # Each would be asked again and again for seconds, and the next only then.
            "retry": Retry(NoBackoff(), 0),
        },
    )


def _master_dialer(where: RedisUrl, name: str, timings: Timings) -> Callable[[], Awaitable[AbstractConnection]]:
    async def dial() -> AbstractConnection:
        """Asks anew each time: after a failover another server is the master."""
        asked = sentinels(where, timings)
        try:
            host, port = await asked.discover_master(where.service)
        finally:
            for client in asked.sentinels:
                await client.aclose()
        return _connection(where, Node(host, port), name, timings)

    return dial


def _connection(where: RedisUrl, node: Node | None, name: str, timings: Timings) -> AbstractConnection:
    address: dict[str, Any] = {"path": where.path} if node is None else node._asdict()
    kind: Any = UnixDomainSocketConnection if node is None else SSLConnection if where.has_tls else Connection
    made: AbstractConnection = kind(
        **address,
        **where.options,
        client_name=name,
        protocol=2,
        decode_responses=False,
        socket_connect_timeout=timings.redis_connect,
        # A limit per write would put each into a wait_for, which may swallow a cancellation; `_watch` is the limit.
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        driver_info=None,  # one permission less to be given: CLIENT SETINFO
    )
    return made
