"""A real Prometheus, with the example's configuration, watches what `make run` starts. Run by `make check-alerts`."""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml
from tornado.ioloop import IOLoop

from tests.deploy.deployment import HOST, Deployment
from tests.support.client import Client
from tests.support.processes import free_port

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/gischat.json").read_text("utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def chat() -> Iterator[Deployment]:
    """Two fronts, two light workers, a heavy one."""
    with tempfile.TemporaryDirectory(prefix="gischat-") as directory:
        deployment = Deployment(Path(directory), FRONTS="2", LIGHT_WORKERS="2", METRICS_TOKEN=TOKEN)
        try:
            deployment.start()
            deployment.wait_until(deployment.announced)
            yield deployment
        finally:
            deployment.clean_up()


@pytest.fixture(scope="module")
def ask(chat: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Asks the Prometheus that scrapes the chat every second: `ask("query", query="up")`."""
    directory = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(ROOT / "deploy/prometheus/alerts.yml")]
    configuration["scrape_configs"][0]["static_configs"][0]["targets"] = [f"{HOST}:{chat.port}"]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    ]

    def ask(path: str, **parameters: str) -> Any:
        with urlopen(f"http://{HOST}:{port}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def is_ready() -> bool:
        try:
            return bool(ask("query", query="up == 1")["result"])
        except OSError:
            return False

    with (directory / "log").open("wb") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            chat.wait_until(is_ready)
            yield ask
        finally:
            prometheus.terminate()
            prometheus.wait(30)


async def test_prometheus_sees_who_is_there_and_what_they_say(
    io_loop: IOLoop, chat: Deployment, ask: Callable[..., Any]
) -> None:
    # Given three people who talk
    people = [await Client.connect(f"http://{HOST}:{chat.port}", "QGIS") for _ in range(3)]
    for person in people:
        text = await person.say()
        for listener in people:
            await listener.until(text=text)

    def answers(query: str, expected: float) -> Callable[[], bool]:
        return lambda: [float(one["value"][1]) for one in ask("query", query=query)["result"]] == [expected]

    # When Prometheus is asked, then it knows, whichever front it has scraped
    chat.wait_until(answers('sum(gischat_clients{channel="QGIS"})', 3))
    chat.wait_until(answers('sum(gischat_messages_total{type="text", outcome="published"})', 3))
    chat.wait_until(answers("count(gischat_build_info)", 5))
    chat.wait_until(answers("min(gischat_ready)", 1))
    for person in people:
        await person.leave()
    chat.wait_until(answers('sum(gischat_clients{channel="QGIS"})', 0))


def test_prometheus_has_taken_the_rules_and_none_fires(ask: Callable[..., Any]) -> None:
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == EXAMPLE.with_name("alerts.yml").read_text("utf-8").count("- alert:")
    assert {rule["name"]: rule["state"] for rule in rules if rule["state"] != "inactive"} == {}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_prometheus_understands_what_the_dashboard_asks(ask: Callable[..., Any], expression: str) -> None:
    query = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
    assert not re.search(r"\$", query)
    assert ask("query", query=query)["resultType"] == "vector"


@pytest.mark.parametrize(
    "accept", ["text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"], ids=["text", "OpenMetrics"]
)
def test_promtool_finds_nothing_to_criticise(chat: Deployment, accept: str) -> None:
    headers = {"Accept": accept, "Authorization": f"Bearer {TOKEN}"}
    with urlopen(Request(f"http://{HOST}:{chat.port}/metrics", headers=headers), timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith(accept.partition(";")[0])
        text = answer.read()
    if accept.startswith("text/plain"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    else:
        assert text.endswith(b"# EOF\n")
