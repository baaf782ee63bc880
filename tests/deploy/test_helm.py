"""The rendered Helm chart, checked against Kubernetes' schemas, the image and the settings."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from gischat import __version__
from gischat.__main__ import COMMANDS
from gischat.settings import variables
from tests.deploy.deployment import ROOT, persistence

CHART = ROOT / "deploy/helm/gischat"
OLDEST, NEWEST = "1.25", "1.37"  # of the supported versions of Kubernetes

ALL = {"Deployment": 3, "PodDisruptionBudget": 3, "Service": 2, "StatefulSet": 1, "NetworkPolicy": 4}
ALL |= {"ConfigMap": 1, "Secret": 1, "HorizontalPodAutoscaler": 1}
BRIDGED = {"Deployment": 4, "PodDisruptionBudget": 4, "NetworkPolicy": 5}

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "everything": {
        "ingress": {"host": "chat.example.org"},
        "existingSecret": "mine",
        "secrets": {"ADMIN_TOKEN": "0123456789abcdef"},
        "settings": {"BASE_PATH": "/chat", "MAX_IMAGE_SIZE": 900},
        "redis": {"storageClass": "fast"},
        "light": {"autoscaling": {"min": 2, "max": 6, "backlog": 500}},
        "heavy": {"autoscaling": {"min": 1, "max": 8, "backlog": 4}},
        "bridges": {"replicas": 1},
        "networkPolicy": {"fronts": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]},
    },
    "another Redis": {
        "redis": {"url": "rediss://redis.example.org:6380/0"},
        "fronts": {"autoscaling": None},
        "networkPolicy": {"enabled": False},
    },
}


@cache
def rendered(variant: str) -> list[dict[str, Any]]:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(VARIANTS[variant], name="chat", namespace="maps")
    return [one for text in files.values() for one in yaml.safe_load_all(text) if one]


def of(kind: str, resources: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from (one for one in resources if one["kind"] == kind)


def test_helm_lint_succeeds() -> None:
    report = helm.lint(CHART, strict=True)
    assert [one for one in report["messages"] if one["severity"] > 1] == report["errors"] == []


@pytest.mark.parametrize(("variant", "kubernetes"), [("everything", OLDEST), *((one, NEWEST) for one in VARIANTS)])
def test_it_conforms_to_kubernetes_schemas(variant: str, kubernetes: str) -> None:
    for resource in rendered(variant):
        kubernetes_validate.validate(resource, kubernetes, strict=True)


@pytest.mark.parametrize(
    ("variant", "differs"),
    [
        ("as it is", {}),
        ("everything", {"Ingress": 1, "HorizontalPodAutoscaler": 3} | BRIDGED),
        ("another Redis", {"StatefulSet": 0, "Service": 1, "NetworkPolicy": 0, "HorizontalPodAutoscaler": 0}),
    ],
)
def test_it_renders_what_the_values_ask_for(variant: str, differs: dict[str, int]) -> None:
    kinds = [one["kind"] for one in rendered(variant)]
    assert {kind: kinds.count(kind) for kind in {*ALL, *differs, *kinds}} == ALL | differs


def test_its_commands_and_settings_exist() -> None:
    resources = rendered("everything")
    for deployment in of("Deployment", resources):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        program, command, *_ = container["command"]
        assert program == "gischat"
        assert command in COMMANDS
        assert {one["name"] for one in container["env"]} <= set(variables())
    (settings,), (secret,) = of("ConfigMap", resources), of("Secret", resources)
    assert {*settings["data"], *secret["stringData"]} <= set(variables())
    assert secret["stringData"]["REDIS_URL"] == "redis://chat-gischat-redis:6379/0"
    assert settings["data"]["MAX_IMAGE_SIZE"] == "900"


def test_a_pod_drains_before_it_is_killed() -> None:
    fronts, *workers = sorted(
        of("Deployment", rendered("as it is")), key=lambda one: "fronts" not in one["metadata"]["name"]
    )
    pod = fronts["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert [pod["containers"][0][f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")] == [
        "/livez",
        "/readyz",
    ]
    assert pod["terminationGracePeriodSeconds"] >= 5 + 20  # as in compose.yaml
    assert all(one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 30 for one in workers)


def test_pods_run_as_the_images_user_without_privileges() -> None:
    (user,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    for deployment in of("Deployment", rendered("as it is")):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_redis_is_as_durable_as_the_embedded_one() -> None:
    (redis,) = of("StatefulSet", rendered("as it is"))
    command = shlex.join(redis["spec"]["template"]["spec"]["containers"][0]["args"])
    assert [setting for setting in persistence() if setting not in command] == []


def test_its_version_is_ours() -> None:
    with helm.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == __version__
