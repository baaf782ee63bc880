"""`/metrics`: every message is counted once, by its outcome, whichever process of the machine answers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded
from tests.support.processes import HOST, Port, Stack, Valkey
from tests.support.rest import Rest, eventually
from tests.support.scrape import Scrape
from tests.wire.conftest import Join
from tests.worker.pictures import jpeg_of_many_scans

TOKEN = "0123456789abcdef"
CHANNEL = "QGIS"


async def scrape(base_url: str) -> Scrape:
    rest = Rest(base_url)
    try:
        answer = await rest.fetch("/metrics", Authorization=f"Bearer {TOKEN}")
    finally:
        rest.close()
    assert answer.code == 200, answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")
    return Scrape(answer.body.decode())


async def counted(base_url: str, expected: float, name: str, **labels: str) -> None:
    """Wait until the metric has that value."""

    async def ask() -> float:
        return (await scrape(base_url)).value(name, **labels)

    await eventually(ask, expected)


async def waiting(base_url: str) -> Scrape:
    """A scrape that includes Redis' answer; on a busy machine Redis may answer too late."""
    while (told := await scrape(base_url)).value("gischat_redis_up") == 0:
        pass
    return told


@pytest.fixture
def machine(tmp_path: Path, start_stack: StackFactory) -> Callable[..., Stack]:
    """Starts a stack whose processes share their counters, as on one machine."""

    def start(**options: object) -> Stack:
        return start_stack(prometheus_multiproc_dir=tmp_path / "metrics", channels=CHANNEL, **options)

    return start


async def test_each_process_returns_the_metrics_of_all_to_who_has_the_token(machine: Callable[..., Stack]) -> None:
    port = Port()
    stack = machine(fronts=2, light=2, heavy=1, metrics_token=TOKEN, metrics_port=port.number)
    first, second = stack.fronts
    worker = f"http://{HOST}:{port.number}"

    # Given clients on both fronts, which send texts, a photo and unreadable messages
    jane, john = await Client.connect(first.url, CHANNEL), await Client.connect(second.url, CHANNEL)
    await jane.until(type="nb_users")
    await john.count(2)
    for number in range(5):
        await (jane, john)[number % 2].say()
    await john.send(**sample("image", image_data=as_base64(encoded(Image.new("RGB", (10, 10)), "PNG"))))
    await jane.register("jane")
    await john.send(type="newcomer", newcomer="jane")
    await john.refusal()
    await jane.send_raw("not json")
    await jane.refusal()
    await john.send(type="like", liker_author="john", liked_author="jane", message="well said")
    await jane.until(type="like")
    await john.until(type="image")
    await counted(first.url, 1, "gischat_job_duration_seconds_count", type="image")
    await counted(first.url, 2, "gischat_clients", channel=CHANNEL)
    # The other front writes its counters within half a second.
    await counted(first.url, 10, "gischat_messages_total")
    await counted(second.url, 10, "gischat_messages_total")

    # When the fronts and a worker are scraped
    for told in [await scrape(url) for url in (first.url, second.url, worker)]:
        # Then each reports the outcomes of all messages
        samples = [one for one in told.samples("gischat_messages_total") if one.value]
        assert {(one.labels["type"], one.labels["outcome"]): one.value for one in samples} == {
            ("text", "published"): 5,
            ("image", "published"): 1,
            ("newcomer", "published"): 1,
            ("newcomer", "refused"): 1,
            ("unknown", "refused"): 1,
            ("like", "done"): 1,
        }
        assert told.value("gischat_messages_refused_total") == 2
        assert told.value("gischat_messages_refused_total", reason="invalid") == 1
        assert told.value("gischat_messages_refused_total", reason="unprocessable") == 1
        assert told.value("gischat_job_duration_seconds_count", type="text") == 5
        # And the deliveries: seven messages to both, one to jane, and the counts of the room
        assert told.value("gischat_deliveries_total", channel=CHANNEL) >= 7 * 2 + 1
        assert told.value("gischat_clients", channel=CHANNEL) == 2
        assert told.value("gischat_connections_total", channel=CHANNEL) == 2
        assert 0 < told.value("gischat_received_bytes_total") < told.value("gischat_sent_bytes_total")
        # And each process, under its name
        names = {"front-1", "front-2", "worker-1", "worker-2", "worker-3"}
        for metric in ("gischat_build_info", "gischat_process_resident_memory_bytes"):
            assert told.label(metric, "process") == names
        assert told.label("gischat_ready", "process") == {"front-1", "front-2"}

    # And only with the token, also through a proxy on this machine; and a worker has nothing else to tell
    for base_url in (first.url, worker):
        rest = Rest(base_url)
        given = [{}, {"Authorization": "Bearer 0123456789abcdeF"}, {"Authorization": f"Bearer {TOKEN}"}]
        answers = [await rest.fetch("/metrics", X_Forwarded_For="192.0.2.1", **headers) for headers in given]
        assert [answer.code for answer in answers] == [403, 403, 200]
        assert b"METRICS_TOKEN" in answers[0].body
        rest.close()
    rest = Rest(worker)
    assert [(await rest.fetch(path)).code for path in ("/", "/status", "/metrics/x")] == [404] * 3
    assert (await rest.fetch("/metrics", "POST", b"")).code == 405
    rest.close()
    assert all(TOKEN not in process.whole_log() for process in stack.processes)

    # When jane leaves, she is not counted any more
    await jane.leave()
    await counted(second.url, 1, "gischat_clients", channel=CHANNEL)
    await john.leave()
    port.release()


async def test_the_backlog_with_its_age_and_dead_letters_are_reported(machine: Callable[..., Stack]) -> None:
    # Given a lane whose only worker is frozen
    stack = machine(job_seconds=0.1)
    url = stack.fronts[0].url
    clients = [await Client.connect(url, CHANNEL) for _ in range(2)]
    stack.heavy[0].freeze()

    # When photos are sent
    for client in clients:
        await client.send(**sample("image"))

    # Then the metrics report their number, size and age
    await counted(url, 2, "gischat_backlog_jobs", channel=CHANNEL, lane="heavy")
    told = await waiting(url)
    assert told.value("gischat_backlog_bytes", lane="heavy") > 2 * len(sample("image")["image_data"])
    age = told.value("gischat_backlog_age_seconds", lane="heavy")
    assert age > 0
    assert (await waiting(url)).value("gischat_backlog_age_seconds", lane="heavy") > age

    # When they are published, the backlog is empty
    stack.heavy[0].wake()
    await counted(url, 0, "gischat_backlog_jobs", lane="heavy")
    await counted(url, 0, "gischat_backlog_age_seconds", lane="heavy")

    # When an image takes too long, it becomes a dead letter
    picture = jpeg_of_many_scans(3000, 3000, 50)
    await clients[0].send(**sample("image", image_data=as_base64(picture)))
    assert "takes too long" in await clients[0].refusal()
    assert (await scrape(url)).value("gischat_messages_total", type="image", outcome="dead_lettered") == 1
    await counted(url, 1, "gischat_dead_letters", channel=CHANNEL)
    await counted(url, 1, "gischat_jobs_dead_lettered_total", reason="timed_out")
    for client in clients:
        await client.leave()


async def test_without_redis_the_other_metrics_are_reported(tmp_path: Path, machine: Callable[..., Stack]) -> None:
    with Valkey(tmp_path) as own:
        stack = machine(redis_url=own.url, heavy=0)
        url = stack.fronts[0].url
        await counted(url, 1, "gischat_redis_up")

        # When Redis stops answering
        own.freeze()

        # Then a scrape reports that, and all metrics that need no Redis
        told = await scrape(url)
        assert [sample.value for sample in told.samples("gischat_redis_up")] == [0]
        assert "gischat_backlog_jobs" not in told.names()
        assert told.value("gischat_build_info") == 2
        await counted(url, 0, "gischat_ready")

        # When Redis is back, so are the others
        own.wake()
        await counted(url, 1, "gischat_redis_up")
        await counted(url, 1, "gischat_ready")


async def test_without_a_directory_a_front_reports_its_own_metrics(stack: Stack, channel: str, join: Join) -> None:
    jane = await join(channel)
    await jane.until(text=await jane.say())
    told = await scrape(stack.fronts[0].url)
    assert told.value("gischat_messages_total", type="text", outcome="published") >= 1
    assert told.label("gischat_build_info", "process") == {"front"}
    assert told.value("gischat_job_duration_seconds_count") == 0
