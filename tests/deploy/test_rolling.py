"""Rolling restart: all processes are restarted, one after the other, while people chat."""

import asyncio
from asyncio import to_thread
from collections.abc import Callable
from pathlib import Path

from tests.deploy.deployment import HOST, Deployment
from tests.support.client import Client
from tests.support.processes import Valkey

Deploy = Callable[..., Deployment]

ALL = ("heavy:heavy-1", "light:light-1", "fronts:front-1")


async def test_a_roll_restarts_all_processes_while_people_chat(deployment: Deploy, valkey: Valkey) -> None:
    # Given one process of each kind, and a client that sends texts
    chat = deployment(REDIS_URL=valkey.url, INSTANCE_ID="rolled")
    chat.start()
    await to_thread(chat.wait_until, lambda: chat.announced() and chat.runs(*ALL))
    before = chat.pids()
    url = f"http://{HOST}:{chat.port}"
    jane = await Client.connect(url, "QGIS")

    refused = await to_thread(chat.gischat, "roll", "light", "redis")
    assert (refused.returncode, refused.stdout) == (
        1,
        "ERROR: roll [<group> ...]: redis is none of heavy, light, bridges, fronts\n",
    )

    # When all are restarted
    rolling = asyncio.create_task(to_thread(chat.gischat, "roll"))

    # Then a new client can connect and send at any time
    joins = 0
    while not rolling.done():
        newcomer = await Client.connect(url, "QGIS")
        joins += 1
        await newcomer.leave()
        await asyncio.sleep(0.05)  # leaves the processor to starting processes
    rolled = await rolling
    assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert rolled.stdout.splitlines() == [f"{name} has been restarted" for name in ALL]
    assert joins

    # And all processes are new, and as many as before; connected clients were told to reconnect
    assert chat.runs(*ALL)
    assert not set(chat.pids().values()) & set(before.values())
    assert (await jane.closed())[0] == 1001
    john = await Client.connect(url, "QGIS")
    await john.until(text=await john.say())
    await john.leave()


def test_a_roll_with_a_broken_version_stops_after_one_process(
    deployment: Deploy, valkey: Valkey, tmp_path: Path
) -> None:
    # Given two workers and a front, and a fault that prevents new processes from starting
    url = tmp_path / "redis"
    url.write_text(valkey.url)
    chat = deployment(REDIS_URL_FILE=str(url), INSTANCE_ID="broken", LIGHT_WORKERS="2", HEAVY_WORKERS="0")
    chat.start()
    chat.wait_until(lambda: chat.runs("light:light-1", "light:light-2", "fronts:front-1") and chat.announced())
    before = chat.pids()
    url.write_text("nonsense")
    del chat.environment["REDIS_URL_FILE"]  # the command itself must not fail of it

    # When all are to be restarted
    rolled = chat.gischat("roll")

    # Then the roll ends at the first process, and says so; all others keep running
    assert rolled.returncode == 1
    reason = "light:light-1 does not become ready (see the log); the rest runs as before"
    assert rolled.stdout == f"ERROR: {reason}\n"
    assert {name for name, pid in chat.pids().items() if pid != before[name]} == {"light:light-1"}
