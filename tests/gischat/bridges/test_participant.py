"""A bridge keeps its leases."""

import asyncio
import uuid

import pytest

from gischat.bridges.participant import Participant
from gischat.broker.discovery import connect
from gischat.broker.keys import ChannelKeys
from gischat.timings import Timings
from tests.support.processes import Valkey
from tests.support.rest import eventually
from tests.support.settings import settings


@pytest.mark.processes
async def test_a_damaged_channel_does_not_end_the_leases_of_others(valkey: Valkey) -> None:
    instance = settings(instance_id=f"test-{uuid.uuid4()}", channels=("damaged", "sound"))
    damaged, sound = (
        next(key for key in ChannelKeys(instance.instance_id, channel).for_script() if key.endswith(":fronts"))
        for channel in instance.channels
    )
    async with connect(valkey.url, name="test-participant") as redis:
        participant = Participant(
            "matrix", instance.channels, instance, redis, redis, [], Timings(lease=60, lease_renewal=0.01)
        )
        await participant._join()
        await redis.call("SET", damaged, "text", key=damaged)
        await redis.call("ZREM", sound, participant.front, key=sound)
        renewing = asyncio.create_task(participant._renew_leases())
        await eventually(lambda: redis.call("ZCARD", sound, key=sound), 1)
        renewing.cancel()
