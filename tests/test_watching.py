"""What operators watch with is what the server tells: dashboard, alerts and documentation name its metrics."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from gischat.broker.entries import JOB_OUTCOMES
from gischat.broker.inbox import Backlog
from gischat.errors import RefusalReason
from gischat.front.handlers.metrics import families
from gischat.observability import metrics
from gischat.observability.exposition import Exposition
from gischat.observability.metrics import CloseReason, RejectReason
from gischat.protocol.messages import Lane
from worker.effects import FailureReason

ROOT = Path(__file__).parents[1]
DASHBOARD = json.loads((ROOT / "deploy/grafana/gischat.json").read_text("utf-8"))
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
RUNBOOK = (ROOT / "docs/alerts.md").read_text("utf-8")
METRICS = (ROOT / "docs/metrics.md").read_text("utf-8")
UNIT_TESTS = (ROOT / "tests/prometheus/alerts_test.yml").read_text("utf-8")

OF_PROMETHEUS = {"instance", "job"}  # labels that it adds


class Family(NamedTuple):
    """A metric as it is documented."""

    name: str
    labels: set[str]
    is_histogram: bool

    @classmethod
    def of(cls, metric: Metric, labels: Iterable[str]) -> Self:
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        return cls(name, set(labels), metric.type == "histogram")

    def samples(self) -> dict[str, set[str]]:
        """The labels of its samples, by the names that a query gives them."""
        if not self.is_histogram:
            return {self.name: self.labels}
        sums = {f"{self.name}_{end}": self.labels for end in ("sum", "count")}
        return sums | {f"{self.name}_bucket": self.labels | {"le"}}


FAMILIES = [
    Family.of(told, metric.label_names) for told, metric in zip(Exposition("").collect(), metrics.METRICS, strict=True)
]
FAMILIES += [
    Family.of(metric, metric.samples[0].labels) for metric in families([Backlog("QGIS", Lane.LIGHT, 1, 1, 1.0, 1, 0.0)])
]
TOLD = {name: labels for family in FAMILIES for name, labels in family.samples().items()}


def faults_of(expression: str) -> Iterator[str]:
    """Metrics that the server does not tell, and labels, of a selection or a grouping, that they do not have."""
    names = re.findall(r"\bgischat_\w+|\bup\b", expression)
    if not names:
        yield f"no metric in {expression}"
    yield from (f"there is no {name}" for name in names if name != "up" and name not in TOLD)
    selections = re.findall(r"\{(.*?)\}", expression)
    groupings = re.findall(r"by \((.*?)\)", expression)
    labels = {label for selection in selections for label in re.findall(r"(\w+)\s*[=!]~?\s*\"", selection)}
    labels |= {label.strip() for grouping in groupings for label in grouping.split(",")}
    known = OF_PROMETHEUS.union(*(TOLD.get(name, set()) for name in names))
    yield from (f"{label} is no label in {expression}" for label in labels - known)


# The dashboard

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_what_the_server_tells(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert list(faults_of(target["expr"])) == []
        assert 'instance=~"$instance"' in target["expr"]
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert {family.name for family in FAMILIES if family.name not in shown} == set()


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Nothing in it is of the Grafana that it was made in; data source and machine are chosen there."""
    assert DASHBOARD.get("id") is None
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["instance"]["multi"] is variables["instance"]["includeAll"] is True
    assert variables["instance"]["definition"] == "label_values(gischat_build_info, instance)"


def test_no_panel_covers_another() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


# The alerts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_watches_what_the_server_tells_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert list(faults_of(rule["expr"])) == []
    severity, annotations = rule["labels"]["severity"], rule["annotations"]
    assert severity in ("critical", "warning")
    assert annotations.keys() == {"summary", "description", "runbook"}
    assert annotations["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
    assert re.search(rf"^## {rule['alert']}\n\n\*{severity}\.\*", RUNBOOK, re.MULTILINE), "the runbook has no section"


def test_the_runbook_is_of_these_alerts_and_each_is_tested() -> None:
    names = [rule["alert"] for rule in RULES]
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == names
    assert set(re.findall(r'alertname="(\w+)"', UNIT_TESTS)) == set(names)


# The documentation


def test_what_texts_name_exists() -> None:
    known = TOLD.keys() | {family.name for family in FAMILIES}
    for text in (METRICS, RUNBOOK, UNIT_TESTS):
        assert set(re.findall(r"\bgischat_\w+", text)) - known == set()


def test_the_documentation_has_a_row_for_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(gischat_\w+)`[ ¹]*\|([\w, ]*)\|", METRICS, re.MULTILINE)
    documented = {name: set(re.findall(r"\w+", labels)) for name, labels in rows}
    assert documented == {family.name: family.labels for family in FAMILIES}


@pytest.mark.parametrize(
    "reasons",
    [RefusalReason, CloseReason, RejectReason, JOB_OUTCOMES, FailureReason],
    ids=lambda reasons: type(next(iter(reasons))).__name__,
)
def test_the_documentation_names_every_reason(reasons: Any) -> None:
    assert {str(reason) for reason in reasons if f"`{reason}`" not in METRICS} == set()
