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
from pathlib import Path
from typing import Any

import pytest
import yaml

from gischat.__main__ import COMMANDS
from gischat.settings import variables
from tests.deploy.deployment import ROOT, persistence
from tests.deploy.nginx import ELSEWHERE, Nginx
from tests.deploy.test_locked import PYTHONS
from tests.support.client import Client
from tests.support.processes import HOST, Port, Stack
from tests.support.settings import settings

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("front", "light", "heavy", "bridge")
PROXY = (ROOT / "deploy/docker/nginx.conf.template").read_text("utf-8")

OF_THE_LAUNCHER = {"LOG_FILE", "STATE_DIR"}  # its settings


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


# --- the image


def test_all_that_setup_py_packages_is_copied_into_the_image_and_not_ignored() -> None:
    copied = [path for copy in instructions("COPY") if "--from" not in copy for path in copy.split()[:-1]]
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    files = {source: [path.relative_to(ROOT) for path in ROOT.glob(source)] for source in copied}
    for source in copied:
        assert files[source], source
        assert source.split("/")[0] in sent, source
    needed = ("gischat", "worker", "setup.py", "supervisord.conf", ".env.example", "deploy", "README.md", "LICENSE")
    assert {Path(name) for name in needed} <= set().union(*files.values())


def test_the_image_runs_existing_commands_without_being_root() -> None:
    for instruction in ("CMD", "HEALTHCHECK"):
        program, command = json.loads(re.search(r"\[.*\]$", instructions(instruction)[0])[0])  # type: ignore[index]
        assert program == "gischat"
        assert command in COMMANDS
    (user,) = instructions("USER")
    assert user == "10001"
    assert f"--uid {user} " in DOCKERFILE


def test_the_images_python_is_one_with_locked_versions() -> None:
    (tag,) = {line.split()[0] for line in instructions("FROM")}
    assert tag.removeprefix("python:").removesuffix("-slim-trixie") in {python.rpartition(".")[0] for python in PYTHONS}


# --- compose


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_existing_commands_with_existing_settings_and_can_be_scaled(name: str) -> None:
    python, flag, module, *arguments = SERVICES[name]["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(f"{module}.__main__")
    assert arguments == {"front": [], "bridge": ["bridge"]}.get(name, ["--lane", name])
    assert SERVICES[name]["environment"].keys() <= set(variables()) | OF_THE_LAUNCHER
    assert not {"container_name", "ports", "volumes"} & SERVICES[name].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined_bounded_and_restarted(name: str) -> None:
    service = SERVICES[name]
    confined = (service["read_only"], service["cap_drop"], service["security_opt"], service["init"])
    assert confined == (True, ["ALL"], ["no-new-privileges:true"], True)
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["logging"]["options"]["max-size"]


def test_a_heavy_worker_has_the_time_and_memory_of_a_job() -> None:
    heavy, defaults = SERVICES["heavy"], settings()
    assert int(heavy["stop_grace_period"].removesuffix("s")) >= defaults.job_seconds + 10
    assert int(heavy["deploy"]["resources"]["limits"]["memory"].removesuffix("G")) * 2**30 > defaults.job_memory


def test_redis_is_durable_and_evicts_nothing() -> None:
    redis = SERVICES["redis"]
    command = shlex.join(redis["command"])
    assert [setting for setting in persistence() if setting not in command] == []
    assert redis["volumes"] == ["redis:/data"]
    assert redis["healthcheck"]["test"][1:] == ["valkey-cli", "-e", "ping"]
    assert "redis" in COMPOSE["volumes"]


def test_the_proxy_accepts_what_a_front_accepts_and_is_trusted() -> None:
    assert "client_max_body_size 2m;" in PROXY
    assert settings().max_body_size <= 2 * 2**20
    (network,) = COMPOSE["networks"]["edge"]["ipam"]["config"]
    assert SERVICES["front"]["environment"]["TRUSTED_PROXIES"] == network["subnet"]
    assert SERVICES["proxy"]["networks"] == ["edge"]
    for volume in SERVICES["proxy"]["volumes"]:
        assert (ROOT / volume.split(":")[0]).is_file()


def names_of(*addresses: str) -> str:
    """The address of a name server for one name, as container engines have for each service."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((HOST, 0))

    def serve() -> None:
        while True:
            question, client = server.recvfrom(512)
            found = addresses if question[-4:-2] == b"\0\1" else ()  # type A; there are no IPv6 addresses
            header = question[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, len(found), 0, 0)
            answers = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in found]
            server.sendto(b"".join([header, question[12:], *answers]), client)

    threading.Thread(target=serve, daemon=True).start()
    return f"{HOST}:{server.getsockname()[1]}"


async def test_the_proxy_resolves_fronts_and_tolerates_missing_ones(stack: Stack, tmp_path: Path) -> None:
    # Given a name with the addresses of a front, and of one that was just removed by scaling
    port, template = Port(), PROXY
    filled = {
        "listen 8080;": f"listen {HOST}:{port.number};",
        "front:8000": f"front:{stack.fronts[0].port}",
        "${NGINX_LOCAL_RESOLVERS}": f"{names_of('127.0.0.8', HOST)} ipv6=off",
        "/dev/stdout": f"{tmp_path}/log",
        "include locations.conf": f"include {ROOT}/deploy/nginx/locations.conf",
    }
    for written, meant in filled.items():
        assert written in template
        template = template.replace(written, meant)
    with Nginx(tmp_path, template, port) as nginx:
        # When many clients connect through the proxy, then each is served, and known by its own address
        for _ in range(10):
            client = await Client.connect(nginx.url, "QGIS", local_addr=(ELSEWHERE, 0))
            await client.until(text=await client.say())
            await client.leave()
    assert stack.fronts[0].new_log().count(ELSEWHERE) >= 10
