"""What processes count together: names, sums, and what ends with a process. They are real ones, with real locks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from gischat.observability import metrics
from gischat.observability.exposition import Exposition
from tests.support.processes import ROOT
from tests.support.scrape import Scrape

COUNTING = """
import sys
from gischat.observability import metrics
from gischat.observability.multiprocess import multiprocess
directory, kind, name, clients = sys.argv[1:]
with multiprocess(directory, kind, name) as name:
    metrics.CLIENTS.labels("QGIS").set(int(clients))
    metrics.DELIVERIES.labels("QGIS").inc(10)
    metrics.JOB_SECONDS.labels("text").observe(0.02)
    print(name, flush=True)
    sys.stdin.read()
"""


class Counting:
    """A process that counts ten deliveries and one job, has clients, and stays until it is told to go."""

    def __init__(self, directory: Path, kind: str, name: str, clients: int) -> None:
        command = [sys.executable, "-c", COUNTING, str(directory), kind, name, str(clients)]
        self._popen = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._popen.stdout is not None
        self.name = self._popen.stdout.readline().strip()

    def stop(self) -> None:
        self._popen.communicate()

    def kill(self) -> None:
        self._popen.kill()
        self._popen.communicate()


Start = Callable[..., Counting]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Starts a process that counts in the directory; it ends with the test."""
    with ExitStack() as stack:

        def make(kind: str = "front", name: str = "", *, clients: int = 1) -> Counting:
            counting = Counting(directory, kind, name, clients)
            stack.callback(counting.kill)
            return counting

        yield make


def scrape(directory: Path) -> Scrape:
    return Scrape(Exposition(str(directory)).encode("")[0].decode())


@pytest.mark.processes
def test_processes_count_together_each_under_a_name_of_its_own(directory: Path, start: Start) -> None:
    # Given two fronts and a worker
    one, two, worker = start(clients=3), start(clients=4), start("worker", clients=0)
    assert [process.name for process in (one, two, worker)] == ["front-1", "front-2", "worker-1"]
    # Then any process tells of all
    told = scrape(directory)
    assert told.value("gischat_deliveries_total", channel="QGIS") == 30
    assert told.value("gischat_clients", channel="QGIS") == 7
    assert told.value("gischat_job_duration_seconds_count", type="text") == 3
    assert told.value("gischat_job_duration_seconds_sum", type="text") == pytest.approx(0.06)
    assert told.value("gischat_job_duration_seconds_bucket", type="text", le="0.01") == 0
    assert told.value("gischat_job_duration_seconds_bucket", type="text", le="0.025") == 3
    # … in Prometheus' newer format where it asks for it
    body, content_type = Exposition(str(directory)).encode("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    types = {family.name: family.type for family in parse_openmetrics(body.decode())}
    assert (types["gischat_deliveries"], types["gischat_job_duration_seconds"]) == ("counter", "histogram")
    # And the files are open to their owner alone
    assert directory.stat().st_mode & 0o077 == 0

    # When processes end, in order or not, then their counts stay and the rest goes
    for end, clients in ((one.stop, 4), (two.kill, 0)):
        end()
        told = scrape(directory)
        assert (told.value("gischat_deliveries_total"), told.value("gischat_clients")) == (30, clients)

    # A process without a name takes the first that is free, and goes on with the counts of its predecessor
    files = sorted(directory.iterdir())
    assert start(clients=0).name == "front-1"
    told = scrape(directory)
    assert (told.value("gischat_deliveries_total"), told.value("gischat_clients")) == (40, 0)
    assert sorted(directory.iterdir()) == files
    # One with a name bears it, unless it is taken
    assert start(name="front-1").name == "front-2"
    assert start(name="the_front/of été").name == "the-front-of--t-"


def test_a_process_alone_tells_of_itself() -> None:
    metrics.CLIENTS.labels("alone").set(3)
    assert scrape(Path()).value("gischat_clients", channel="alone") == 0  # of a directory, where nobody counts
    body, content_type = Exposition("").encode("")
    assert Scrape(body.decode()).value("gischat_clients", channel="alone") == 3
    assert content_type.startswith("text/plain; version=0.0.4")


@pytest.mark.processes
def test_importing_the_metrics_touches_no_file(directory: Path) -> None:
    """As one without a label would, before it is known where the files are."""
    directory.mkdir()
    program = "from gischat.observability import metrics; metrics.CLIENTS.labels('QGIS').set(1)"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)
    assert list(directory.iterdir()) == []


def test_many_that_took_as_long_are_counted_as_one_by_one() -> None:
    for amount in (0.0, 0.001, 0.0011, 30.0, 31.0):
        many, one = (metrics.JOB_SECONDS.labels(f"{how} {amount}") for how in ("together", "one by one"))
        for _ in range(3):
            one.observe(amount)
        many.observe_many(amount, 3)
        assert [bucket.amount for bucket in many.buckets] == [bucket.amount for bucket in one.buckets]
        assert many.sum.amount == pytest.approx(one.sum.amount)


def test_what_is_gathered_is_told_once() -> None:
    told = metrics.DELIVERIES.labels("gathered")
    gathered = metrics.BufferedCounter(told)
    for total in (3, 0, 4):
        gathered.total += total
        metrics.flush_buffered()
    assert told.amount == 7
