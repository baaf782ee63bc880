"""The Dockerfile and compose.yaml, checked without a container engine.

The files that they name must exist, their environment must be settings, and the proxy's configuration runs in nginx.
"""

import importlib.util
import json
import re
import shlex
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gischat.__main__ import COMMANDS
from gischat.settings import variables
from tests.deploy.deployment import ROOT
from tests.deploy.nginx import Nginx
from tests.deploy.test_locked import PYTHONS
from tests.support.client import Client
from tests.support.processes import HOST, Port, Stack
from tests.support.settings import settings

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("front", "light", "heavy", "bridge")

# What setup.py packages, and the files that it needs
SHIPPED = ("supervisord.conf", ".env.example", "deploy", "README.md", "LICENSE")

# Settings of the launcher
OF_THE_LAUNCHER = {"LOG_FILE", "STATE_DIR"}


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """The project's files that are copied into the image."""
    return [path for copy in instructions("COPY") if "--from" not in copy for path in copy.split()[:-1]]


# --- the image


def test_files_copied_into_the_image_exist_and_are_not_ignored() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    assert copied()
    for source in copied():
        assert list(ROOT.glob(source)), source
        assert source.split("/")[0] in sent, source


def test_all_code_is_copied_into_the_image() -> None:
    files = {path.relative_to(ROOT) for pattern in copied() for path in ROOT.glob(pattern)}
    for needed in ("gischat", "worker", "setup.py", *SHIPPED):
        assert Path(needed) in files


@pytest.mark.parametrize("instruction", ["CMD", "HEALTHCHECK"])
def test_the_image_runs_an_existing_command(instruction: str) -> None:
    program, command = json.loads(re.search(r"\[.*\]$", instructions(instruction)[0])[0])  # type: ignore[index]
    assert program == "gischat"
    assert command in COMMANDS


def test_it_does_not_run_as_root() -> None:
    (user,) = instructions("USER")
    assert user == "10001"
    assert f"--uid {user} " in DOCKERFILE


def test_the_images_python_is_one_with_locked_versions() -> None:
    (tag,) = {line.split()[0] for line in instructions("FROM")}
    assert tag.removeprefix("python:").removesuffix("-slim-trixie") in {python.rpartition(".")[0] for python in PYTHONS}


# --- compose


@pytest.mark.parametrize("name", OURS)
def test_services_run_existing_commands(name: str) -> None:
    python, flag, module, *arguments = SERVICES[name]["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(f"{module}.__main__")
    assert arguments == {"front": [], "bridge": ["bridge"]}.get(name, ["--lane", name])


@pytest.mark.parametrize("name", OURS)
def test_compose_sets_only_existing_settings(name: str) -> None:
    assert SERVICES[name]["environment"].keys() <= set(variables()) | OF_THE_LAUNCHER


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined_bounded_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"]
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", OURS)
def test_each_service_can_be_scaled(name: str) -> None:
    assert not {"container_name", "ports", "volumes"} & SERVICES[name].keys()


def test_a_heavy_worker_has_the_time_and_memory_of_a_job() -> None:
    heavy, defaults = SERVICES["heavy"], settings()
    assert int(heavy["stop_grace_period"].removesuffix("s")) >= defaults.job_seconds + 10
    assert int(heavy["deploy"]["resources"]["limits"]["memory"].removesuffix("G")) * 2**30 > defaults.job_memory


def test_redis_is_durable_and_evicts_nothing() -> None:
    command = shlex.join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]
    assert SERVICES["redis"]["healthcheck"]["test"][1:] == ["valkey-cli", "-e", "ping"]
    assert "redis" in COMPOSE["volumes"]


def test_the_proxy_accepts_what_a_front_accepts_and_is_trusted() -> None:
    proxy = SERVICES["proxy"]
    template = (ROOT / "deploy/docker/nginx.conf.template").read_text("utf-8")
    assert "client_max_body_size 2m;" in template
    assert settings().max_body_size <= 2 * 2**20
    (network,) = COMPOSE["networks"]["edge"]["ipam"]["config"]
    assert SERVICES["front"]["environment"]["TRUSTED_PROXIES"] == network["subnet"]
    assert proxy["networks"] == ["edge"]
    for volume in proxy["volumes"]:
        assert (ROOT / volume.split(":")[0]).is_file()


class Names:
    """A name server for one name, as container engines have for each service."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = [socket.inet_aton(address) for address in addresses]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(512)
            kind = question[-4:-2]
            found = self._addresses if kind == b"\0\1" else []  # type A; there are no IPv6 addresses
            header = question[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, len(found), 0, 0)
            answers = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + address for address in found]
            self._socket.sendto(b"".join([header, question[12:], *answers]), client)


async def test_the_proxy_resolves_fronts_and_tolerates_missing_ones(
    open_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    with open_stack(heavy=0, trusted_proxies=HOST) as stack:
        # Given a name with the addresses of a front, and of one that was just removed by scaling
        port = Port()
        template = (ROOT / "deploy/docker/nginx.conf.template").read_text("utf-8")
        filled = {
            "listen 8080;": f"listen {HOST}:{port.number};",
            "front:8000": f"front:{stack.fronts[0].port}",
            "${NGINX_LOCAL_RESOLVERS}": f"{Names('127.0.0.8', HOST).address} ipv6=off",
            "/dev/stdout": f"{tmp_path}/log",
            "include locations.conf": f"include {ROOT}/deploy/nginx/locations.conf",
        }
        for written, meant in filled.items():
            assert written in template
            template = template.replace(written, meant)
        with Nginx(tmp_path, template, port) as nginx:
            # When many clients connect through the proxy, then each is served, and known by its own address
            for _ in range(10):
                client = await Client.connect(nginx.url, "QGIS", local_addr=("127.0.0.9", 0))
                await client.until(text=await client.say())
                await client.leave()
        assert stack.fronts[0].new_log().count("127.0.0.9") >= 10
