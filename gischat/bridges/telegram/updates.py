"""Where the bridge is among the updates that Telegram has for it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gischat.bridges.shapes import as_integer
from gischat.bridges.store import BridgeStore
from gischat.bridges.telegram.client import TelegramClient
from gischat.timings import Timings

# After a week without one, the next update's number is a random one: below the last, it would never be told. What an
# update's place is not asked for comes from the oldest on that is not confirmed.
FORGETTING = 6 * 24 * 3600.0  # seconds
MAX_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class Batch:
    updates: Sequence[dict[str, Any]]
    next: int  # what comes after it


class Updates:
    """Asks for updates; what is handed out is Telegram's to repeat until it is confirmed."""

    def __init__(self, client: TelegramClient, store: BridgeStore, timings: Timings) -> None:
        self._client = client
        self._store = store
        self._timings = timings
        self._next = 0  # the number of the next update
        self._heard_at = 0  # by `time.time`

    async def load(self) -> None:
        """Finds where an earlier process was; at first, the end: what was said before is not passed on."""
        stored = (await self._store.foreign_position()).split()
        if len(stored) == 2:
            self._next, self._heard_at = int(stored[0]), int(stored[1])
            return
        newest = [_number(update) for update in await self._client.updates(-1, 0)]
        await self._move_to(max(newest, default=-1) + 1)

    async def next(self) -> Batch:
        """What comes next; maybe nothing, after a while."""
        asked_at = asyncio.get_running_loop().time()
        is_current = time.time() - self._heard_at < FORGETTING
        first = self._next if is_current else 0
        told = await self._client.updates(first, self._timings.bridge_poll)
        updates = sorted((update for update in told if _number(update) >= max(first, 1)), key=_number)
        if updates:
            return Batch(updates, _number(updates[-1]) + 1)
        # Whoever tells nothing is to have waited for it: an API that does not is not asked all the time.
        shortest = min(self._timings.bridge_retry, self._timings.bridge_poll)
        await asyncio.sleep(max(shortest - (asyncio.get_running_loop().time() - asked_at), 0))
        return Batch((), self._next)

    async def confirm(self, batch: Batch) -> None:
        """They are done with; the next question says so to Telegram."""
        if batch.updates:
            await self._move_to(batch.next)

    async def _move_to(self, number: int) -> None:
        now = int(time.time())
        await self._store.save_foreign_position(f"{number} {now}")
        self._next, self._heard_at = number, now


def _number(update: dict[str, Any]) -> int:
    """Of an update; -1 of what is none."""
    number = as_integer(update.get("update_id"))
    return number if 0 < number < MAX_NUMBER else -1
