"""Connections to what `REDIS_URL` names: one server, the Sentinels' master or a cluster (see `gischat.redis_url`)."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence

from gischat.broker.client import Redis
from gischat.broker.connection import Connection
from gischat.broker.multiplexer import Multiplexer
from gischat.broker.resp_errors import MasterNotFoundError
from gischat.redis_url import Kind, Node, RedisUrl, parse
from gischat.timings import Timings


def connect(
    url: str,
    *,
    name: str,
    resends: bool = True,
    answer_seconds: float | None = None,
    timings: Timings = Timings(),
) -> Redis:
    """The client of a URL, to be used as an asynchronous context.

    Args:
        name: its name in `CLIENT LIST`.
        resends, answer_seconds, timings: as for `Multiplexer`.
    """
    where = parse(url)
    if where.kind is Kind.CLUSTER:
        from gischat.broker.cluster import Cluster  # imported here, since most instances have no cluster

        dial_node = node_dialer(where, name, timings)
        return Cluster(
            where.nodes, dial_node, name=name, resends=resends, answer_seconds=answer_seconds, timings=timings
        )
    dial = dialer(where, name, timings)
    return Multiplexer(dial, name=name, resends=resends, answer_seconds=answer_seconds, timings=timings)


def reading_groups(url: str, channels: Sequence[str]) -> list[Sequence[str]]:
    """Group channels whose streams one command can read: in a cluster, each channel alone, for its slot differs."""
    return [[channel] for channel in channels] if parse(url).kind is Kind.CLUSTER else [channels]


def dialer(where: RedisUrl, name: str, timings: Timings = Timings()) -> Callable[[], Awaitable[Connection]]:
    """A function that creates connections, not connected yet, to the server or the Sentinels' current master."""
    if where.kind is Kind.SENTINEL:
        return _master_dialer(where, name, timings)

    async def dial() -> Connection:
        return _connection(where, where.nodes[0] if where.nodes else None, name, timings)

    return dial


def node_dialer(where: RedisUrl, name: str, timings: Timings = Timings()) -> Callable[[Node], Awaitable[Connection]]:
    """A function that creates connections, not connected yet, to nodes of a cluster."""

    async def dial(node: Node) -> Connection:
        return _connection(where, node, name, timings)

    return dial


def sentinel(where: RedisUrl, node: Node, name: str, timings: Timings = Timings()) -> Connection:
    """A connection to one of the Sentinels, not connected yet."""
    has_tls = bool(where.sentinel_options.get("ssl"))
    return Connection(node, where.sentinel_options, name=name, has_tls=has_tls, seconds=timings.redis_connect / 2)


def _master_dialer(where: RedisUrl, name: str, timings: Timings) -> Callable[[], Awaitable[Connection]]:
    async def dial() -> Connection:
        """Ask for the master each time, because a failover changes it."""
        return _connection(where, await _find_master(where, timings), name, timings)

    return dial


async def _find_master(where: RedisUrl, timings: Timings) -> Node:
    """Ask the Sentinels, one after the other, for the master.

    Raises:
        MasterNotFoundError: none of them names one.
    """
    # Imported here, because it takes a fifth of a process' start and 6 MB of its memory.
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError as Failure

    seconds = timings.redis_connect / 2
    # No retries: redis-py would ask a Sentinel that is down for seconds before it asks the next one.
    options = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    asked = Sentinel(where.nodes, sentinel_kwargs={**where.sentinel_options, **options})  # type: ignore[no-untyped-call]
    try:
        host, port = await asked.discover_master(where.service)
    except Failure as error:  # no master, or an error: the server may be no Sentinel, or refuse the user
        raise MasterNotFoundError(str(error)) from error
    finally:
        for client in asked.sentinels:
            with contextlib.suppress(Failure):  # a TLS connection that is slow to close has given its answer
                await client.aclose()
    return Node(host, port)


def _connection(where: RedisUrl, node: Node | None, name: str, timings: Timings) -> Connection:
    seconds = timings.redis_connect
    return Connection(node or where.path, where.options, name=name, has_tls=where.has_tls, seconds=seconds)
