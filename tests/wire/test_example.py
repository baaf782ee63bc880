"""The bot in examples/."""

import asyncio
import json
import sys

from tests.support.processes import ROOT, Stack


async def test_the_bot_sends_each_type_and_prints_what_comes_back(channel: str, stack: Stack) -> None:
    command = (sys.executable, str(ROOT / "examples" / "bot.py"), stack.fronts[0].url, channel)
    bot = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await bot.communicate()

    assert bot.returncode == 0
    printed = [line.partition('"type": "')[2].partition('"')[0] for line in said.decode().splitlines()]
    sent = ["newcomer", "text", "image", "geojson", "crs", "bbox", "position", "model", "script", "like", "exiter"]
    assert [kind for kind in printed if kind != "nb_users"] == sent
    assert json.loads(said.splitlines()[-1])["exiter"] == "example-bot"
