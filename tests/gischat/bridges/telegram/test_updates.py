"""Where a bridge is among Telegram's updates: nothing is told twice, and nothing is missed after a week of silence."""

import time
import uuid
from typing import Any

import pytest

from gischat.bridges.store import BridgeStore
from gischat.bridges.telegram.client import TelegramClient
from gischat.bridges.telegram.updates import FORGETTING, Updates
from gischat.broker.discovery import connect
from gischat.timings import Timings
from tests.bridges.bot_api import TOKEN, BotApi
from tests.support.processes import Valkey


def numbers(batch: Any) -> list[int]:
    return [update["update_id"] for update in batch.updates]


@pytest.mark.processes
async def test_updates_are_told_until_they_are_confirmed(valkey: Valkey) -> None:
    api, timings = BotApi(), Timings(bridge_poll=0.0)
    api.start()
    try:
        async with connect(valkey.url, name="test-bridge") as redis:
            store = BridgeStore(f"test-{uuid.uuid4()}", "telegram", redis)
            client = TelegramClient(api.url, TOKEN, timings)

            async def start() -> Updates:
                updates = Updates(client, store, timings)
                await updates.load()
                return updates

            # What was said before the first start is not told
            api.tell(message={"text": "before"})
            updates = await start()
            assert numbers(await updates.next()) == []
            # What is not confirmed is told again, also to the next process
            api.tell(message={"text": "a"})
            api.tell(message={"text": "b"})
            first = await updates.next()
            again = await start()
            assert numbers(first) == numbers(await again.next()) == [1002, 1003]
            await again.confirm(first)
            assert numbers(await again.next()) == []
            # After a week of silence numbers begin anywhere
            await store.save_foreign_position(f"999999 {int(time.time() - FORGETTING) - 1}")
            api.tell(message={"text": "c"})
            assert numbers(await (await start()).next()) == [1004]
    finally:
        api.close()
