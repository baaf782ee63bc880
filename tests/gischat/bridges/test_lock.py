"""One process serves a bridge: it holds the bridge's lock."""

import uuid
from typing import Any

import pytest

from gischat.bridges.store import BridgeStore
from gischat.broker.client import Redis
from gischat.broker.discovery import connect
from tests.support.processes import Valkey
from tests.support.rest import eventually


class Forgetful:
    """A Redis that loses the lock after the first command which finds it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._has_lost = False

    async def call(self, *command: Any, key: str) -> Any:
        answer = await self._redis.call(*command, key=key)
        if answer is None and not self._has_lost:
            self._has_lost = True
            await self._redis.call("DEL", key, key=key)
        return answer


@pytest.mark.processes
async def test_a_lock_has_one_holder_and_is_renewed_by_it(valkey: Valkey) -> None:
    instance = f"test-{uuid.uuid4()}"
    async with connect(valkey.url, name="test-lock") as redis:
        store = BridgeStore(instance, "matrix", redis)
        assert await store.take_lock("one", 60)
        assert await store.take_lock("one", 60)
        assert not await store.take_lock("two", 60)
        # A process that finds the lock taken, and a moment later not there, takes it
        forgetful: Any = Forgetful(redis)
        assert await BridgeStore(instance, "matrix", forgetful).take_lock("two", 60)
        assert not await store.take_lock("one", 60)
        # It is free again once its holder, and nobody else, releases it
        await store.release_lock("one")
        assert not await store.take_lock("one", 60)
        await store.release_lock("two")
        await eventually(lambda: store.take_lock("one", 60), True)
