"""`/metrics` for Prometheus: the counters of this host's processes, and the backlogs in Redis."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gischat.broker.inbox import Backlog, Inbox
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.handlers.rest import JsonHandler
from gischat.observability import scraping

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class MetricsHandler(JsonHandler):
    """`/metrics`"""

    async def get(self) -> None:
        if not scraping.is_allowed(self.request, self.settings_.metrics_token):
            self.answer({"detail": scraping.FORBIDDEN}, 403)
            return
        await scraping.write_metrics(
            self, self.settings_, await _ask_redis(self.front.broker.inbox, self.front.timings.scrape)
        )


async def _ask_redis(inbox: Inbox, seconds: float) -> Callable[[], Iterable["Metric"]]:
    """Read the backlogs; if Redis does not answer, the metrics say that it is down."""
    try:
        async with asyncio.timeout(seconds):
            return partial(families, await inbox.backlogs())
    except (TimeoutError, ConnectionError, Unavailable, RedisError):
        return lambda: [_redis_up(False)]


def _redis_up(is_up: bool) -> "Metric":
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily("gischat_redis_up", "1 when Redis answered at this scrape, else 0.", is_up)


def families(backlogs: Sequence[Backlog]) -> Sequence["Metric"]:
    """Backlogs as families of metrics."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    where = ("channel", "lane")
    jobs = GaugeMetricFamily("gischat_backlog_jobs", "Jobs of a lane that have not ended.", labels=where)
    size = GaugeMetricFamily("gischat_backlog_bytes", "Bytes of the jobs of a lane that have not ended.", labels=where)
    age = GaugeMetricFamily(
        "gischat_backlog_age_seconds", "How long the oldest job of a lane has waited.", labels=where
    )
    dead = GaugeMetricFamily("gischat_dead_letters", "Jobs that could not be done, kept to be seen.", labels=where[:1])
    for backlog in backlogs:
        place = (backlog.channel, backlog.lane)
        jobs.add_metric(place, backlog.jobs)
        size.add_metric(place, backlog.size)
        age.add_metric(place, backlog.age)
    for channel, number in {backlog.channel: backlog.dead_letters for backlog in backlogs}.items():
        dead.add_metric([channel], number)
    return _redis_up(True), jobs, size, age, dead
