"""The bridge's position in Telegram's updates."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gischat.bridges.store import BridgeStore
from gischat.bridges.telegram.client import TelegramClient
from gischat.shapes import as_integer
from gischat.timings import Timings

# If there are no updates for a week, the next one has a random id: a lower one would never be received. Without a
# position, updates start at the oldest unconfirmed one.
FORGETTING = 6 * 24 * 3600.0  # seconds after which the position is dropped
MAX_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class Batch:
    updates: Sequence[dict[str, Any]]
    next: int  # the id after the last update


class Updates:
    """Requests updates, which Telegram repeats until they are confirmed."""

    def __init__(self, client: TelegramClient, store: BridgeStore, timings: Timings) -> None:
        self._client = client
        self._store = store
        self._timings = timings
        self._next = 0  # the id of the next update
        self._heard_at = 0  # time (`time.time`) of the last update

    async def load(self) -> None:
        """Load the stored position; without one, start at the end, so that earlier messages are not bridged."""
        stored = (await self._store.foreign_position()).split()
        if len(stored) == 2:
            self._next, self._heard_at = int(stored[0]), int(stored[1])
            return
        newest = [_number(update) for update in await self._client.updates(-1, 0)]
        await self._move_to(max(newest, default=-1) + 1)

    async def next(self) -> Batch:
        """Wait for updates; returns an empty batch after a while."""
        asked_at = asyncio.get_running_loop().time()
        is_current = time.time() - self._heard_at < FORGETTING
        first = self._next if is_current else 0
        told = await self._client.updates(first, self._timings.bridge_poll)
        updates = sorted((update for update in told if _number(update) >= max(first, 1)), key=_number)
        if updates:
            return Batch(updates, _number(updates[-1]) + 1)
        # An API that answers at once without updates must not be requested in a busy loop.
        shortest = min(self._timings.bridge_retry, self._timings.bridge_poll)
        await asyncio.sleep(max(shortest - (asyncio.get_running_loop().time() - asked_at), 0))
        return Batch((), self._next)

    async def confirm(self, batch: Batch) -> None:
        """Mark a batch as done; the next request confirms it to Telegram."""
        if batch.updates:
            await self._move_to(batch.next)

    async def _move_to(self, number: int) -> None:
        now = int(time.time())
        await self._store.save_foreign_position(f"{number} {now}")
        self._next, self._heard_at = number, now


def _number(update: dict[str, Any]) -> int:
    """The id of an update; -1 if it is invalid."""
    number = as_integer(update.get("update_id"))
    return number if 0 < number < MAX_NUMBER else -1
