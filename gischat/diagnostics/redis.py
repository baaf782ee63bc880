"""Checks of the Redis server, Sentinels or cluster, over the same kind of connections as fronts and workers use.

They only read, except that they mark damaged channels, as fronts do.
"""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

from gischat.broker.cluster import slots_of
from gischat.broker.connection import opened
from gischat.broker.damage import find_damage, find_damaged_extras
from gischat.broker.discovery import connect, dialer, node_dialer, sentinel
from gischat.broker.keys import SLOTS, ChannelKeys, key_slot
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import AuthenticationError, NoPermissionError, RedisError, ResponseError
from gischat.diagnostics.findings import Finding, Level, ok, problem, undetermined, warning
from gischat.diagnostics.redis_errors import FAILURES, explained
from gischat.diagnostics.redis_server import Server, check_server
from gischat.errors import Unavailable
from gischat.redis_url import Kind, Node, RedisUrl, parse
from gischat.settings import Settings
from gischat.timings import Timings

NAME = "gischat-check"  # in CLIENT LIST


async def check_redis(settings: Settings, timings: Timings = Timings()) -> AsyncIterator[Finding]:
    """Check whatever `REDIS_URL` names."""
    where = parse(settings.redis_url)
    if where.kind is Kind.CLUSTER:
        findings = _check_cluster(settings, timings, where)
    elif where.kind is Kind.SENTINEL:
        findings = _check_sentinels(settings, timings, where)
    else:
        findings = check_server(settings, timings, f"redis {where}", where, dialer(where, NAME, timings))
    is_well = True
    async for finding in findings:
        is_well = is_well and finding.level is not Level.ERROR
        yield finding
    if is_well:
        async for finding in _check_keys(settings, timings):
            yield finding


async def _check_keys(settings: Settings, timings: Timings) -> AsyncIterator[Finding]:
    """Name damaged keys, as `/readyz` does."""
    namespace = Namespace(settings, timings)
    with contextlib.suppress(Unavailable, RedisError):
        async with connect(settings.redis_url, name=NAME, timings=timings) as redis:
            channels = await find_damage(redis, namespace, settings.channels)
            damaged = [
                *(key for keys in channels.values() for key in keys),
                *await find_damaged_extras(redis, namespace),
            ]
        if damaged:
            yield problem("redis", f"has damaged keys: {', '.join(damaged)}", "remove or restore them: docs/faults.md")


# Sentinels


async def _check_sentinels(settings: Settings, timings: Timings, where: RedisUrl) -> AsyncIterator[Finding]:
    masters: set[Node] = set()
    failed: list[Finding] = []
    for node in where.nodes:
        subject = f"sentinel {node}"
        try:
            async with opened(sentinel(where, node, NAME, timings)) as connection:
                server = Server(connection, timings.redis_connect / 2)
                found = await server.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", where.service)
                if found is None:
                    says = f"does not know {where.service}"
                    failed.append(problem(subject, says, "the service in REDIS_URL, behind the last host"))
                    continue
                masters.add(Node(found[0].decode(), int(found[1])))
                yield await _quorum(subject, where, server)
        except AuthenticationError:
            says = "requires a password of its own, or another user and password"
            failed.append(problem(subject, says, "sentinel_password=, and sentinel_username=, in REDIS_URL"))
        except FAILURES as error:
            failed.append(explained(subject, where, error))
    for finding in failed:
        # One that answers is enough for now, so the failures of others are only warnings.
        yield warning(finding.subject, finding.message, finding.remedy) if masters else finding
    if not masters:
        return
    if len(masters) > 1:
        yield problem("sentinels", f"name different masters: {', '.join(map(str, sorted(masters)))}", "SENTINEL RESET")
    dial = dialer(where, NAME, timings)
    async for finding in check_server(settings, timings, f"redis {min(masters)}", where, dial):
        yield finding


async def _quorum(subject: str, where: RedisUrl, server: Server) -> Finding:
    try:
        await server.ask("SENTINEL", "CKQUORUM", where.service)
    except NoPermissionError:
        return undetermined(subject, "does not let us see whether there is a quorum")
    except ResponseError:
        return warning(
            subject,
            "sees too few Sentinels to elect a new master: when the master fails, there is no failover",
            "start the others; SENTINEL CKQUORUM says how many are missing",
        )
    return ok(subject, "answers, and sees a quorum")


# A cluster


async def _check_cluster(settings: Settings, timings: Timings, where: RedisUrl) -> AsyncIterator[Finding]:
    dial = node_dialer(where, NAME, timings)
    slots: list[tuple[range, Node]] = []
    failed: list[Finding] = []
    for node in where.nodes:
        try:
            slots = slots or await slots_of(node, dial, timings)
        except FAILURES as error:
            failed.append(explained(f"redis {node}", where, error))
    for finding in failed:
        yield warning(finding.subject, finding.message, finding.remedy) if slots else finding
    if not slots:
        return
    yield _check_slots(settings, slots)
    for node in sorted({node for _, node in slots}):
        async for finding in check_server(settings, timings, f"redis {node}", where, partial(dial, node)):
            yield finding


def _check_slots(settings: Settings, slots: list[tuple[range, Node]]) -> Finding:
    masters = {node for _, node in slots}
    covered = sum(len(numbers) for numbers, _ in slots)
    if covered == SLOTS:
        return ok("cluster", f"{len(masters)} masters serve all slots")
    unserved = [channel for channel in settings.channels if not _is_served(settings, channel, slots)]
    lost = f"channels {', '.join(unserved)}" if unserved else "none of our channels"
    return problem(
        "cluster",
        f"{SLOTS - covered} slots have no master; of them {lost}",
        "redis-cli --cluster check HOST:PORT, then --cluster fix",
    )


def _is_served(settings: Settings, channel: str, slots: list[tuple[range, Node]]) -> bool:
    slot = key_slot(ChannelKeys(settings.instance_id, channel).outbox)
    return any(slot in numbers for numbers, _ in slots)
