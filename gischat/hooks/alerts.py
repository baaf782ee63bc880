"""The webhooks of Grafana and Alertmanager.

https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/
https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from typing import Any

from gischat.hooks.plain_text import joined, linked
from gischat.shapes import objects, pairs, text

MAX_ALERTS = 10
MAX_LABELS = 5
PLACES = ("panelURL", "dashboardURL", "generatorURL")  # pages about an alert, by preference
WORDS = ("summary", "description", "message")  # annotations that describe it, by preference


def lines(content: dict[str, Any]) -> str:
    """A title, and a line for each alert."""
    alerts = objects(content, "alerts")
    status = text(content, "status")
    name = text(content, "groupLabels", "alertname") or text(content, "commonLabels", "alertname")
    title = text(content, "title") or f"[{status.upper() or 'ALERT'}:{len(alerts)}] {name}"
    told = [_alert(one, status) for one in alerts[:MAX_ALERTS]]
    if len(alerts) > MAX_ALERTS:
        told.append(f"… and {len(alerts) - MAX_ALERTS} more")
    return joined(
        [linked(title, text(content, "externalURL")) if not any("http" in line for line in told) else title, *told]
    )


def old_lines(content: dict[str, Any]) -> str:
    """The text for a rule, as sent by Grafana before version 9."""
    title = text(content, "title") or text(content, "ruleName")
    return joined([linked(title, text(content, "ruleUrl")), text(content, "message")])


def _alert(one: dict[str, Any], status: str) -> str:
    said = next(filter(None, (text(one, "annotations", word) for word in WORDS)), "")
    said = said or ", ".join(pairs(one, "labels", MAX_LABELS))
    state = text(one, "status")
    prefix = f"{state}: " if state and state != status else ""
    return f"- {prefix}{linked(said, next(filter(None, (text(one, place) for place in PLACES)), ''))}"
