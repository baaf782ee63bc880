"""Rolling restart: every process is restarted, one after another, while people talk."""

import asyncio
from asyncio import to_thread
from collections.abc import Callable
from pathlib import Path

from tests.deploy.deployment import HOST, Deployment
from tests.support.client import Client
from tests.support.processes import Valkey

Deploy = Callable[..., Deployment]

ALL = ("heavy:heavy-1", "light:light-1", "fronts:front-1")


async def test_a_roll_starts_all_anew_while_people_talk(deployment: Deploy, valkey: Valkey) -> None:
    # Given one of each, and somebody who talks
    chat = deployment(REDIS_URL=valkey.url, INSTANCE_ID="rolled")
    chat.start()
    await to_thread(chat.wait_until, lambda: chat.announced() and chat.runs(*ALL))
    before = chat.pids()
    url = f"http://{HOST}:{chat.port}"
    jane = await Client.connect(url, "QGIS")

    # When all are started anew
    rolling = asyncio.create_task(to_thread(chat.gischat, "roll"))

    # Then at every moment somebody new finds a front, and is heard
    joins = 0
    while not rolling.done():
        newcomer = await Client.connect(url, "QGIS")
        joins += 1
        await newcomer.leave()
        await asyncio.sleep(0.05)  # leaves the machine to those who start
    rolled = await rolling
    assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert rolled.stdout.splitlines() == [f"{name} has been restarted" for name in ALL]
    assert joins

    # And none of the processes is the old one, nor more than before; who was there has been told to come back
    assert chat.runs(*ALL)
    assert not set(chat.pids().values()) & set(before.values())
    assert (await jane.closed())[0] == 1001
    john = await Client.connect(url, "QGIS")
    await john.until(text=await john.say())
    await john.leave()


def test_a_version_that_does_not_run_costs_one_process(deployment: Deploy, valkey: Valkey, tmp_path: Path) -> None:
    # Given two workers and a front, and then something that keeps new processes from starting
    url = tmp_path / "redis"
    url.write_text(valkey.url)
    chat = deployment(REDIS_URL_FILE=str(url), INSTANCE_ID="broken", LIGHT_WORKERS="2", HEAVY_WORKERS="0")
    chat.start()
    chat.wait_until(lambda: chat.runs("light:light-1", "light:light-2", "fronts:front-1") and chat.announced())
    before = chat.pids()
    url.write_text("nonsense")
    del chat.environment["REDIS_URL_FILE"]  # who asks is not to stumble over it

    # When all are to be started anew
    rolled = chat.gischat("roll")

    # Then it ends at the first, and says so; all others run on
    assert rolled.returncode == 1
    reason = "light:light-1 does not become ready (see the log); the rest runs as before"
    assert rolled.stdout == f"ERROR: {reason}\n"
    assert {name for name, pid in chat.pids().items() if pid != before[name]} == {"light:light-1"}


def test_only_groups_that_are_there_can_be_rolled(deployment: Deploy, valkey: Valkey) -> None:
    chat = deployment(REDIS_URL=valkey.url, FRONTS="0", LIGHT_WORKERS="0", HEAVY_WORKERS="0").start()
    chat.wait_until(chat.announced)

    refused = chat.gischat("roll", "light", "redis")

    assert (refused.returncode, refused.stdout) == (
        1,
        "ERROR: roll [<group> ...]: redis is none of heavy, light, bridges, fronts\n",
    )
