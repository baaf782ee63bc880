"""The bot in examples/."""

import asyncio
import json
import sys

import pytest

from tests.support.processes import ROOT, Stack


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_the_bot_sends_each_type_and_prints_what_comes_back(scheme: str, channel: str, stack: Stack) -> None:
    server = stack.fronts[0].url.replace("http", scheme, 1)
    bot = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples" / "bot.py"), server, channel), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await bot.communicate()

    assert bot.returncode == 0
    printed = [line.partition('"type": "')[2].partition('"')[0] for line in said.decode().splitlines()]
    sent = ["newcomer", "text", "image", "geojson", "crs", "bbox", "position", "model", "script", "like", "exiter"]
    assert [kind for kind in printed if kind != "nb_users"] == sent
    assert json.loads(said.splitlines()[-1])["exiter"] == "example-bot"
