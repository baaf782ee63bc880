"""Charges shared by heavy workers: each publishes its recent work by client, and reads that of the others.

They are in Redis, outside of the channels. If they are lost, all clients start as equals.
"""

import asyncio
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from gischat.broker.client import Redis
from gischat.broker.foreign_entries import ForeignEntries
from gischat.broker.keys import charges_key
from gischat.protocol.messages import new_id
from gischat.settings import Settings
from worker.fairness import Charge, Person

MAX_CHARGES = 5_000  # about 1 MB of Redis' memory, and more than a minute of hard work
READ_AT_ONCE = 1_000
AGE = 2 * 60  # seconds after the last charge until all are deleted


class SharedCharges:
    """The charges of all workers of an instance."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._key = charges_key(settings.instance_id)
        self._redis = redis
        self._writer = new_id()
        self._seen: bytes | None = None  # the entry id of the newest charge
        self._foreign = ForeignEntries()

    def write(self, charge: Charge) -> None:
        """Publish a charge; if that fails, the other workers count a little less."""
        seconds = f"{charge.seconds:.3f}"
        fields = {"writer": self._writer, **charge.person._asdict(), "seconds": seconds}
        written = chain.from_iterable(fields.items())
        told = self._redis.call("XADD", self._key, "MAXLEN", "~", MAX_CHARGES, "*", *written, key=self._key)
        kept = self._redis.call("EXPIRE", self._key, AGE, key=self._key)
        for answer in (told, kept):
            answer.add_done_callback(_forgive)

    async def read(self) -> list[tuple[float, Charge]]:
        """Read the others' new charges, oldest first, each with its age in seconds.

        Raises:
            ConnectionError, Unavailable, RedisError: nothing was read; the next call reads it.
        """
        entries = await self._read()
        if not entries:
            return []
        self._seen = newest = entries[-1][0]
        return [
            (_seconds_between(entry, newest), charge)
            for entry, writer, charge in self._foreign.skip(self._key, entries, _parsed)
            if writer != self._writer
        ]

    async def _read(self) -> Sequence[Any]:
        if self._seen is None:
            newest_first = await self._redis.call(
                "XREVRANGE", self._key, "+", "-", "COUNT", READ_AT_ONCE, key=self._key
            )
            return list(reversed(newest_first))
        after = b"(" + self._seen
        found: Sequence[Any] = await self._redis.call(
            "XRANGE", self._key, after, "+", "COUNT", READ_AT_ONCE, key=self._key
        )
        return found


def _parsed(entry: bytes, fields: Sequence[bytes]) -> tuple[bytes, str, Charge]:
    """Decode an entry: its id, writer and charge; raises ValueError if no worker wrote it."""
    writer, address, connection, seconds = (value.decode() for value in fields[1::2])
    if not math.isfinite(float(seconds)):
        raise ValueError(seconds)
    return entry, writer, Charge(Person(address, connection), float(seconds))


def _forgive(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()


def _seconds_between(entry: bytes, later: bytes) -> float:
    return (int(later.partition(b"-")[0]) - int(entry.partition(b"-")[0])) / 1000
