"""Checks of one Redis server: its version, role, memory, persistence, clock, and our user's permissions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from gischat.broker.commands import CLUSTER_ONLY, COMMANDS, KEY, acl_name
from gischat.broker.connection import Connection, opened
from gischat.broker.keys import ChannelKeys
from gischat.broker.resp_errors import NoPermissionError, ResponseError
from gischat.diagnostics.capacity import total_bytes
from gischat.diagnostics.findings import Finding, ok, problem, size, undetermined, warning
from gischat.diagnostics.redis_errors import FAILURES, explained
from gischat.redis_url import Kind, RedisUrl
from gischat.settings import Settings
from gischat.timings import Timings

MIN_REDIS, MIN_VALKEY = (6, 2), (8, 0)
MAX_ROUND_TRIP = 0.05  # seconds; each message takes several
MAX_CLOCK_SKEW = 2.0  # seconds
FULL = 0.9  # of a limit

Dial = Callable[[], Awaitable[Connection]]


class Server:
    """A connection with one command at a time."""

    def __init__(self, connection: Connection, answer_seconds: float) -> None:
        self._connection = connection
        self._answer_seconds = answer_seconds

    async def ask(self, *command: str) -> Any:
        async with asyncio.timeout(self._answer_seconds):
            return await self._connection.ask(*command)

    async def look(self, *command: str) -> Any:
        """Like `ask`, but None if the command is refused: managed services forbid or lack some commands."""
        try:
            return await self.ask(*command)
        except ResponseError:
            return None


async def check_server(
    settings: Settings, timings: Timings, subject: str, where: RedisUrl, dial: Dial
) -> AsyncIterator[Finding]:
    try:
        async with opened(await dial()) as connection:
            server = Server(connection, timings.redis_answer)
            await server.ask("PING")
            yield await _round_trip(subject, server)
            info = _fields(await server.look("INFO") or b"")
            for finding in _read_info(settings, subject, where, info):
                yield finding
            async for finding in _check_persistence(subject, server, info):
                yield finding
            yield await _check_clock(subject, server)
            yield await _check_permissions(settings, subject, where, server)
    except FAILURES as error:
        yield explained(subject, where, error)


async def _round_trip(subject: str, server: Server) -> Finding:
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        await server.ask("PING")
        taken.append(time.perf_counter() - begun)
    says = f"answers in {min(taken) * 1000:.1f} ms"
    if min(taken) <= MAX_ROUND_TRIP:
        return ok(subject, says)
    return warning(subject, f"{says}; each message takes several round trips", "a Redis closer to fronts and workers")


def _fields(info: bytes) -> dict[str, str]:
    """Parse the answer to INFO: lines of name:value."""
    lines = info.decode(errors="replace").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines) if value}


def _read_info(settings: Settings, subject: str, where: RedisUrl, info: Mapping[str, str]) -> Iterator[Finding]:
    if "redis_version" not in info:
        yield undetermined(
            subject,
            "does not allow INFO: version, role, memory and persistence are not known",
            "look at its console, or allow +info (deploy/redis/users.acl)",
        )
        return
    yield _read_version(subject, info)
    yield from _read_role(subject, where, info)
    yield _read_eviction(subject, info)
    yield _read_memory(settings, subject, info)
    yield from _read_clients(subject, info)


def _read_version(subject: str, info: Mapping[str, str]) -> Finding:
    # Valkey's redis_version is the Redis version that it is compatible with.
    name, least = ("Valkey", MIN_VALKEY) if "valkey_version" in info else ("Redis", MIN_REDIS)
    version = info.get("valkey_version") or info["redis_version"]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < least:
        needed = ".".join(map(str, least))
        return problem(subject, f"is {name} {version}, too old", f"{name} {needed} or newer")
    return ok(subject, f"is {name} {version}")


def _read_role(subject: str, where: RedisUrl, info: Mapping[str, str]) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield problem(subject, "is a replica, which accepts no messages", "the master's address, or redis+sentinel://")
    if info.get("cluster_enabled") == "1" and where.kind is not Kind.CLUSTER:
        yield problem(subject, "is a node of a cluster", "redis+cluster:// in REDIS_URL")
    if where.kind is not Kind.SERVER and info.get("connected_slaves") == "0":
        yield warning(subject, "has no replica: when it fails, there is no failover", "add a replica")


def _read_eviction(subject: str, info: Mapping[str, str]) -> Finding:
    policy, limit = info.get("maxmemory_policy", ""), int(info.get("maxmemory", 0))
    remedy = "maxmemory-policy noeviction, in its configuration and by CONFIG SET"
    if policy == "noeviction":
        return ok(subject, "never evicts data (noeviction)")
    if not policy:
        return undetermined(subject, "does not say whether it evicts data when its memory is full", remedy)
    if policy.startswith("volatile-"):
        return warning(subject, f"evicts keys with a time to live when its memory is full ({policy})", remedy)
    if not limit:
        return warning(subject, f"would evict messages if it had a maxmemory ({policy})", remedy)
    return problem(subject, f"evicts messages when its memory is full ({policy})", remedy)


def _read_memory(settings: Settings, subject: str, info: Mapping[str, str]) -> Finding:
    limit = int(info.get("maxmemory", 0))
    room, what = (limit, "its maxmemory is") if limit else (int(info.get("total_system_memory", 0)), "its machine has")
    used, needed = int(info.get("used_memory", 0)), total_bytes(settings)
    if not room:
        return undetermined(subject, "does not say how much memory it may use")
    if limit and used > FULL * limit:
        return warning(
            subject,
            f"has {size(used)} of {size(limit)} in use; when it is full, messages are refused",
            "a higher maxmemory, or lower MAX_INBOX_BYTES and MAX_OUTBOX_BYTES",
        )
    if needed > room:
        return warning(
            subject,
            f"full streams of {len(settings.channels)} channels may take {size(needed)}, {what} {size(room)}",
            "more memory, or lower MAX_INBOX_BYTES and MAX_OUTBOX_BYTES, which are for each channel",
        )
    return ok(subject, f"full streams may take {size(needed)}, {what} {size(room)}")


def _read_clients(subject: str, info: Mapping[str, str]) -> Iterator[Finding]:
    clients, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    if most and clients > FULL * most:
        yield warning(subject, f"has {clients} clients of at most {most}", "a higher maxclients")


async def _check_persistence(subject: str, server: Server, info: Mapping[str, str]) -> AsyncIterator[Finding]:
    if "aof_enabled" not in info:
        return
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if info.get(name, "ok") != "ok":
            remedy = "its log says why: a full disk, no memory to fork (vm.overcommit_memory=1)"
            yield problem(subject, f"could not write its data to the disk ({name})", remedy)
    appendfsync = await _configured(server, "appendfsync")
    remedy = "appendonly yes and appendfsync everysec, in its configuration and by CONFIG SET"
    if info["aof_enabled"] == "0":
        snapshots = await _configured(server, "save")
        kept = "" if snapshots is None else "; it keeps snapshots only" if snapshots else "; it keeps nothing"
        yield warning(subject, f"has no append-only file: what is on its way is lost when it stops{kept}", remedy)
    elif appendfsync == "no":
        yield warning(subject, "lets the system decide when to write its file: half a minute may be lost", remedy)
    else:
        yield ok(subject, f"has an append-only file (appendfsync {appendfsync or 'unknown'})")


async def _configured(server: Server, name: str) -> str | None:
    """A value of its configuration; None if CONFIG is not allowed."""
    answer = await server.look("CONFIG", "GET", name)
    return answer[1].decode() if answer else None


async def _check_clock(subject: str, server: Server) -> Finding:
    """Compare Redis' clock, which leases, ids and ages use, with this machine's, which messages' times use."""
    before = time.time()
    seconds, microseconds = await server.ask("TIME")
    ours = (before + time.time()) / 2
    difference = int(seconds) + int(microseconds) / 1e6 - ours
    if abs(difference) <= MAX_CLOCK_SKEW:
        return ok(subject, "has the same time as this machine")
    direction = "ahead of" if difference > 0 else "behind"
    return warning(
        subject,
        f"is {abs(difference):.0f} s {direction} this machine; the times that people see are this machine's",
        "a time service (chrony, systemd-timesyncd) on both",
    )


# Checks this user's permissions without executing the commands (Redis 7, Valkey).
_ASK_PERMISSIONS = """
if not redis.acl_check_cmd then return false end
local refused = {}
for index, command in ipairs(cjson.decode(ARGV[1])) do
  local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(command))
  if not (is_known and is_allowed) then table.insert(refused, index) end
end
return refused
"""


async def _check_permissions(settings: Settings, subject: str, where: RedisUrl, server: Server) -> Finding:
    remedy = "let its ACL user have what is in deploy/redis/users.acl"
    commands = [command for command in COMMANDS if where.kind is Kind.CLUSTER or command not in CLUSTER_ONLY]
    keys = [ChannelKeys(settings.instance_id, channel).outbox for channel in settings.channels]
    asked = [
        [word.replace(KEY, key) for word in command.split(" ")]  # a channel's name may contain spaces
        for command in commands
        for key in (keys if KEY in command else keys[:1])  # without a key, once
    ]
    try:
        refused = await server.ask("EVAL", _ASK_PERMISSIONS, "0", json.dumps(asked))
    except NoPermissionError:
        return problem(subject, "does not allow this user to run scripts (EVAL)", remedy)
    if refused is None:
        return undetermined(
            subject, "is too old to report this user's permissions", "start a front: its log says what is refused"
        )
    if refused:
        names = sorted({acl_name(" ".join(asked[index - 1])) for index in refused})
        pattern = f"gischat:{{{settings.instance_id}:*"
        return problem(subject, f"does not allow this user {', '.join(names)} on keys {pattern}", remedy)
    return ok(subject, f"allows this user all that we need on the keys of {len(keys)} channels")
