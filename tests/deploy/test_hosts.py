"""Several hosts that share a Redis."""

from asyncio import to_thread
from collections.abc import Callable

from tests.deploy.deployment import Deployment
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import Stack, Valkey


async def test_a_host_with_only_workers_serves_another_hosts_front(
    deployment: Callable[..., Deployment], open_stack: Callable[..., Stack], valkey: Valkey
) -> None:
    # Given a host with only a front, and one with only workers
    with open_stack(light=0, heavy=0, waits=False, instance_id="hosts") as elsewhere:
        workers = deployment(REDIS_URL=valkey.url, INSTANCE_ID="hosts", FRONTS="0")
        workers.start()
        await to_thread(workers.wait_until, lambda: workers.runs("light:light-1", "heavy:heavy-1"))
        (front,) = elsewhere.fronts
        await to_thread(elsewhere.wait_healthy, front)

        # When a client sends a text and a picture to the front, then the other host processes them
        jane = await Client.connect(front.url, "QGIS")
        await jane.until(text=await jane.say())
        await jane.send(**sample("image"))
        await jane.until(type="image")
        await jane.leave()

        # And `status` there says what runs, and that it cannot know more
        answer = await to_thread(workers.gischat, "status")
        assert answer.returncode == 0
        headline, *processes = answer.stdout.splitlines()
        assert headline == "gischat: no front here; ask one elsewhere whether the chat is well (/readyz)"
        assert [line.split()[:2] for line in processes] == [["heavy:heavy-1", "RUNNING"], ["light:light-1", "RUNNING"]]
        ready = await to_thread(workers.gischat, "ready")
        assert (ready.returncode, ready.stderr) == (0, "")
        assert not (workers.run_dir / "valkey.sock").exists()


def test_a_front_that_does_not_answer_is_not_ready(deployment: Callable[..., Deployment]) -> None:
    chat = deployment()
    answer = chat.gischat("ready")
    assert (answer.returncode, answer.stderr) == (1, f"gischat: no front answers on port {chat.port}\n")
