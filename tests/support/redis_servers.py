"""Real Redis servers on the loopback: with an append-only file, under Sentinels, and as a cluster."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.support.processes import HOST, START_WITHIN, Port, Valkey

CLUSTER_SLOTS = 16384
PATIENT = "60000"  # milliseconds until servers consider each other dead: more than on any busy machine


class Server(Valkey):
    """A Valkey with an append-only file, which can lose its end."""

    def __init__(self, directory: Path, *, appendfsync: str = "always", **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory)
        own = {"appendonly": "yes", "appendfsync": appendfsync, "save": "", "loglevel": "warning", **settings}
        self.client = redis.Redis(
            host=HOST, port=self.port, socket_timeout=10, socket_connect_timeout=10, retry=Retry(NoBackoff(), 0)
        )
        self._data = directory
        for name, value in own.items():
            self._command += [f"--{name.replace('_', '-')}", value]

    def kill(self) -> None:
        super().kill()
        self.client.connection_pool.disconnect()  # else the next command would meet the end of its connection

    def forget(self) -> None:
        """Delete the data; the server must not be running."""
        shutil.rmtree(self._data / "appendonlydir", ignore_errors=True)
        (self._data / "dump.rdb").unlink(missing_ok=True)

    def written(self) -> int:
        """The size of the append-only file in bytes, for `lose_after`."""
        return self._log().stat().st_size

    def lose_after(self, size: int) -> None:
        """Truncate the append-only file, as after a power failure; the server must not be running."""
        os.truncate(self._log(), size)

    def _log(self) -> Path:
        return max((self._data / "appendonlydir").glob("*.incr.aof"))


class Sentinels:
    """A master with a replica, and three Sentinels."""

    SERVICE = "chat"

    def __init__(self, directory: Path) -> None:
        self.master = Server(directory / "master")
        self.replica = Server(
            directory / "replica", replicaof=f"{HOST} {self.master.port}", repl_diskless_sync_delay="0"
        )
        self._directory = directory
        self._sentinels: list[Valkey] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{hosts}/{self.SERVICE}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._kill)
            self.master.start()
            self.replica.start()
            until(lambda: _follows(self.replica), "the replica to follow")
            self._sentinels = [Valkey(self._directory) for _ in range(3)]
            for sentinel in self._sentinels:
                self._set_up(sentinel)
                sentinel.start()
            until(lambda: all(self._knows_all(sentinel) for sentinel in self._sentinels), "the Sentinels to meet")
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def kill_first(self) -> None:
        """Kill the first Sentinel of the URL; the two others are still a quorum."""
        self._sentinels[0].kill()

    def promote(self) -> None:
        """Make the last Sentinel promote the replica.

        With timeouts for an automatic failover, a busy machine would cause failovers although no server has died.
        """
        with redis.Redis(host=HOST, port=self._sentinels[-1].port) as client:
            until(lambda: client.execute_command("SENTINEL", "FAILOVER", self.SERVICE), "a failover to begin")
        # A promotion ends the clients' connections.
        until(lambda: self.replica.client.role()[0] == b"master", "the replica to be promoted")

    def _set_up(self, sentinel: Valkey) -> None:
        """Write a Sentinel's configuration, with the others in it, whom it would discover only after seconds."""
        others = [other for other in self._sentinels if other is not sentinel]
        lines = (
            f"port {sentinel.port}",
            f"bind {HOST}",
            f"sentinel myid {_name(sentinel)}",
            f"sentinel monitor {self.SERVICE} {HOST} {self.master.port} 2",
            f"sentinel down-after-milliseconds {self.SERVICE} {PATIENT}",
            f"sentinel failover-timeout {self.SERVICE} {PATIENT}",
            f"sentinel known-replica {self.SERVICE} {HOST} {self.replica.port}",
            *(f"sentinel known-sentinel {self.SERVICE} {HOST} {other.port} {_name(other)}" for other in others),
        )
        settings = self._directory / f"sentinel-{sentinel.port}.conf"
        settings.write_text("\n".join(lines) + "\n")
        sentinel._command = [sentinel._command[0], str(settings), "--sentinel"]

    def _knows_all(self, sentinel: Valkey) -> bool:
        with redis.Redis(host=HOST, port=sentinel.port) as client:
            state: Any = client.sentinel_master(self.SERVICE)
            return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 and state["flags"] == "master")

    def _kill(self) -> None:
        for process in (*self._sentinels, self.replica, self.master):
            if process.running:
                process.kill()


class Cluster:
    """Three masters, each with a replica."""

    def __init__(self, directory: Path) -> None:
        self._buses: list[Port] = []  # the nodes' bus ports, in the order of their creation
        self.masters = [self._node(directory / f"master-{number}") for number in range(3)]
        self.replicas = [self._node(directory / f"replica-{number}") for number in range(3)]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{HOST}:{node.port}' for node in self.masters[:2])}"

    @property
    def nodes(self) -> list[Server]:
        return [*self.masters, *self.replicas]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._kill)
            for node, bus in zip(self.nodes, self._buses, strict=True):
                bus.release()
                node.start()
            self._share_slots()
            self._meet()
            self._replicate()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def master_of(self, key: str) -> int:
        """The number of the master that has the key."""
        slot = self.masters[0].client.execute_command("CLUSTER", "KEYSLOT", key)
        return next(number for number, slots in enumerate(_shares()) if slot in slots)

    def promote(self, number: int) -> None:
        """Promote a master's replica, as would happen automatically after some time."""
        self.replicas[number].client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        until(lambda: self.replicas[number].client.role()[0] == b"master", "the replica to be promoted")

    def _node(self, directory: Path) -> Server:
        bus = Port()
        self._buses.append(bus)
        return Server(
            directory,
            cluster_enabled="yes",
            cluster_port=str(bus.number),
            cluster_node_timeout=PATIENT,
            repl_diskless_sync_delay="0",
        )

    def _share_slots(self) -> None:
        for node, slots in zip(self.masters, _shares(), strict=True):
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
        for epoch, node in enumerate(self.nodes, start=1):
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", epoch)

    def _meet(self) -> None:
        for node in self.nodes[1:]:
            node.client.execute_command("CLUSTER", "MEET", HOST, self.nodes[0].port, self._buses[0].number)
        until(lambda: all(map(_knows_cluster, self.nodes)), "all nodes to meet")

    def _replicate(self) -> None:
        for master, replica in zip(self.masters, self.replicas, strict=True):
            name = master.client.execute_command("CLUSTER", "MYID")
            replica.client.execute_command("CLUSTER", "REPLICATE", name)
        until(lambda: all(map(_follows, self.replicas)), "replicas to follow")

    def _kill(self) -> None:
        for node in self.nodes:
            if node.running:
                node.kill()


def _shares() -> Sequence[range]:
    third = CLUSTER_SLOTS // 3
    return (range(third), range(third, 2 * third), range(2 * third, CLUSTER_SLOTS))


def _name(sentinel: Valkey) -> str:
    return f"{sentinel.port:040x}"


def _follows(replica: Server) -> bool:
    return bool(replica.client.info("replication")["master_link_status"] == "up")


def _knows_cluster(node: Server) -> bool:
    state: Any = node.client.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == 6)


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until a condition of the servers holds."""
    deadline = time.monotonic() + START_WITHIN
    while True:
        with contextlib.suppress(RedisError, KeyError):
            if holds():
                return
        assert time.monotonic() < deadline, f"waited {START_WITHIN} s for {what}"
        time.sleep(0.05)
