"""Several hosts that share a Redis."""

import asyncio
from collections.abc import Callable

from tests.deploy.conftest import Deploy
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import Stack, Valkey, free_port


async def test_a_host_with_only_workers_serves_another_hosts_front(
    deploy: Deploy, open_stack: Callable[..., Stack], valkey: Valkey
) -> None:
    # Given a host with only a front, and one with only workers, which has files of an earlier run
    with open_stack(light=0, heavy=0, waits=False, instance_id="hosts") as elsewhere:
        port = free_port()
        workers = deploy(REDIS_URL=valkey.url, INSTANCE_ID="hosts", FRONTS="0", METRICS_PORT=str(port))
        stale = workers.state_dir / "metrics" / "counter_light-9.db"
        stale.parent.mkdir(parents=True)
        stale.write_bytes(b"of another version, perhaps")
        workers.start()
        await asyncio.to_thread(
            workers.wait_until, lambda: workers.announced() and workers.runs("light:light-1", "heavy:heavy-1")
        )
        headline = "gischat: no front here — 0 fronts, 1 light worker, 1 heavy worker (Ctrl-C stops)\n"
        assert headline in workers.log_text()
        (front,) = elsewhere.fronts
        await asyncio.to_thread(elsewhere.wait_healthy, front)

        # When a client sends a text and a picture to the front, then the other host processes them
        jane = await Client.connect(front.url, "QGIS")
        await jane.until(text=await jane.say())
        await jane.send(**sample("image"))
        await jane.until(type="image")
        await jane.leave()

        # And `status` there says what runs, and that it cannot know more
        answer = await asyncio.to_thread(workers.gischat, "status")
        assert answer.returncode == 0
        headline, *processes = answer.stdout.splitlines()
        assert headline == "gischat: no front here; ask one elsewhere whether the chat is well (/readyz)"
        assert [line.split()[:2] for line in processes] == [["heavy:heavy-1", "RUNNING"], ["light:light-1", "RUNNING"]]
        ready = await asyncio.to_thread(workers.gischat, "ready")
        assert (ready.returncode, ready.stderr) == (0, "")
        assert not (workers.run_dir / "valkey.sock").exists()

        # And each worker answers for the metrics of all; the old files are gone
        await asyncio.to_thread(workers.wait_until, lambda: workers.measures("light-1", "heavy-1", port=port))
        assert not stale.exists()


def test_a_front_that_does_not_answer_is_not_ready(deploy: Deploy) -> None:
    chat = deploy()
    answer = chat.gischat("ready")
    assert (answer.returncode, answer.stderr) == (1, f"gischat: no front answers on port {chat.port}\n")
