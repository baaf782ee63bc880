"""Redis servers with mutual TLS only: Debian's Redis, as the embedded Valkey has no TLS."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from tests.support.certificates import Certificates
from tests.support.processes import HOST, Port, Valkey
from tests.support.redis_servers import CLUSTER_SLOTS, until

PASSWORD = "secret"


class TlsRedis(Valkey):
    """A Redis that accepts only TLS with a client certificate, in a directory of its own."""

    def __init__(self, directory: Path, certificates: Certificates, *options: str) -> None:
        directory.mkdir()
        super().__init__(directory)
        tls = {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(certificates.certificate),
            "tls-key-file": str(certificates.key),
            "tls-ca-cert-file": str(certificates.authority),
            "tls-replication": "yes",
            "tls-cluster": "yes",
        }
        (directory / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in tls.items()))
        kept_nothing = ["--bind", HOST, "--dir", str(directory), "--save", "", "--requirepass", PASSWORD]
        self._command = [_program(directory), str(directory / "redis.conf"), *kept_nothing, *options]
        self.client: Any = redis.Redis(
            host=HOST,
            port=self.port,
            password=PASSWORD,
            ssl=True,
            ssl_ca_certs=str(certificates.authority),
            ssl_certfile=str(certificates.certificate),
            ssl_keyfile=str(certificates.key),
            retry=Retry(NoBackoff(), 0),
        )

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except AuthenticationError:
            return True
        except RedisError:
            return False


def _program(directory: Path) -> str:
    """The path of redis-server; in Debian's redis-tools the binary has another name, and acts by how it is called."""
    found = shutil.which("redis-server")
    if found is None:
        (directory / "redis-server").symlink_to(shutil.which("redis-check-rdb") or "missing: see tests/install-tools")
        found = str(directory / "redis-server")
    return found


@contextlib.contextmanager
def one_server(directory: Path, certificates: Certificates) -> Iterator[str]:
    with TlsRedis(directory / "redis", certificates) as server:
        yield f"rediss://:{PASSWORD}@{HOST}:{server.port}/1?{query(certificates)}"


@contextlib.contextmanager
def sentinel(directory: Path, certificates: Certificates) -> Iterator[str]:
    """A master, and a Sentinel with its own password."""
    with TlsRedis(directory / "redis", certificates) as master:
        watch = TlsRedis(directory / "sentinel", certificates, "--sentinel")
        lines = (
            f"sentinel monitor chat {HOST} {master.port} 1",
            f"sentinel auth-pass chat {PASSWORD}",
        )
        with (directory / "sentinel" / "redis.conf").open("a") as settings:
            settings.write("\n".join(lines) + "\n")
        with watch:
            yield (
                f"rediss+sentinel://:{PASSWORD}@{HOST}:{watch.port}/chat/1"
                f"?sentinel_password={PASSWORD}&{query(certificates)}"
            )


@contextlib.contextmanager
def cluster(directory: Path, certificates: Certificates) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        nodes, buses = [], [Port() for _ in range(3)]
        for number, bus in enumerate(buses):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(bus.number))
            node = TlsRedis(directory / f"node-{number}", certificates, *options)
            bus.release()
            nodes.append(stack.enter_context(node))
        third = CLUSTER_SLOTS // 3
        for number, node in enumerate(nodes):
            last = CLUSTER_SLOTS if node is nodes[-1] else (number + 1) * third
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * third, last - 1)
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.client.execute_command("CLUSTER", "MEET", HOST, nodes[0].port, buses[0].number)
        until(lambda: all(map(_is_whole, nodes)), "the nodes to meet")
        hosts = ",".join(f"{HOST}:{node.port}" for node in nodes[:2])
        yield f"rediss+cluster://:{PASSWORD}@{hosts}?{query(certificates)}"


def _is_whole(node: TlsRedis) -> bool:
    state: Any = node.client.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == 3)


def query(certificates: Certificates, names: Sequence[str] = ("authority", "certificate", "key")) -> str:
    """The query of a URL with the options for these files."""
    options = {"authority": "ssl_ca_certs", "certificate": "ssl_certfile", "key": "ssl_keyfile"}
    return "&".join(f"{options[name]}={getattr(certificates, name)}" for name in names)
