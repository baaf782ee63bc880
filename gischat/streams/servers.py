"""Connections to what `REDIS_URL` names: one server, the Sentinels' master, or a cluster (see `gischat.redis_url`)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gischat.redis_url import Kind, Node, RedisUrl, parse
from gischat.streams.answers import MasterNotFoundError, RedisError
from gischat.streams.complaint import described
from gischat.streams.connection import Connection, opened
from gischat.streams.multiplexer import Multiplexer, Redis
from gischat.timings import Timings

DOWN = {"s_down", "o_down"}  # flags of a master that one Sentinel does not reach, that they agree is away


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
        from gischat.streams.cluster import Cluster  # which most do without

        dial_node = node_dialer(where, name, timings)
        return Cluster(
            where.nodes, dial_node, name=name, resends=resends, answer_seconds=answer_seconds, timings=timings
        )
    dial = dialer(where, name, timings)
    return Multiplexer(dial, name=name, resends=resends, answer_seconds=answer_seconds, timings=timings)


def reading_groups(url: str, channels: Sequence[str]) -> list[Sequence[str]]:
    """The channels whose streams can be read by one command: in a cluster, each is in a slot of its own."""
    return [[channel] for channel in channels] if parse(url).kind is Kind.CLUSTER else [channels]


def dialer(where: RedisUrl, name: str, timings: Timings = Timings()) -> Callable[[], Awaitable[Connection]]:
    """Makes connections, not connected yet, to the one server or to the Sentinels' master of the moment."""
    if where.kind is Kind.SENTINEL:
        return _master_dialer(where, name, timings)

    async def dial() -> Connection:
        return _connection(where, where.nodes[0] if where.nodes else None, name, timings)

    return dial


def node_dialer(where: RedisUrl, name: str, timings: Timings = Timings()) -> Callable[[Node], Awaitable[Connection]]:
    """Makes connections, not connected yet, to nodes of a cluster."""

    async def dial(node: Node) -> Connection:
        return _connection(where, node, name, timings)

    return dial


def sentinel(where: RedisUrl, node: Node, name: str, timings: Timings = Timings()) -> Connection:
    """A connection, not made yet, to one of the Sentinels."""
    has_tls = bool(where.sentinel_options.get("ssl"))
    return Connection(node, where.sentinel_options, name=name, has_tls=has_tls, seconds=timings.redis_connect / 2)


def _master_dialer(where: RedisUrl, name: str, timings: Timings) -> Callable[[], Awaitable[Connection]]:
    async def dial() -> Connection:
        """Asks anew each time: after a failover another server is the master."""
        return _connection(where, await _find_master(where, name, timings), name, timings)

    return dial


async def _find_master(where: RedisUrl, name: str, timings: Timings) -> Node:
    """The master, as the first Sentinel that knows one says.

    Raises:
        MasterNotFoundError: none does.
    """
    reasons = []
    for node in where.nodes:
        try:
            asked = sentinel(where, node, name, timings)
            async with asyncio.timeout(timings.redis_connect / 2), opened(asked) as connection:
                answer = await connection.ask("SENTINEL", "MASTER", where.service)
        except (RedisError, OSError, TimeoutError) as error:
            reasons.append(f"{node}: {described(error)}")
            continue
        master = {key.decode(): value.decode() for key, value in zip(answer[::2], answer[1::2], strict=True)}
        if not DOWN & set(master["flags"].split(",")):
            return Node(master["ip"], int(master["port"]))
        reasons.append(f"{node}: {where.service} is down")
    raise MasterNotFoundError("; ".join(reasons))


def _connection(where: RedisUrl, node: Node | None, name: str, timings: Timings) -> Connection:
    seconds = timings.redis_connect
    return Connection(node or where.path, where.options, name=name, has_tls=where.has_tls, seconds=seconds)
