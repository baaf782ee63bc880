"""Floods of photos, and ordinary photos among them, which wait only for the one that a worker has started.

tests/worker/test_fairness.py and test_heavy.py have all other orders.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis import Redis

from gischat.broker.keys import ChannelKeys
from gischat.front.limits.admission import ADDRESS_FULL
from gischat.protocol.messages import Lane
from tests.attacks.attackers import CHANNEL, PROXIES
from tests.attacks.conftest import HONEST, House, StackFactory
from tests.faults.scene import until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded, png_of_exactly, quarters
from tests.support.processes import Valkey
from tests.worker.pictures import jpeg_of_many_scans

pytestmark = pytest.mark.usefixtures("io_loop")


class Flooded:
    """A server whose heavy lane does nothing, or is frozen, and the clients that send photos to it."""

    def __init__(self, house: House, redis: Redis, clients: AsyncExitStack) -> None:
        self._house = house
        self._redis = redis
        self._clients = clients
        self._inbox = ChannelKeys(house.stack.settings["instance_id"], CHANNEL).inbox(Lane.HEAVY)

    async def join(self, address: str) -> Client:
        headers = {"X-Forwarded-For": address}
        client = await Client.connect(self._house.front.url, CHANNEL, additional_headers=headers)
        self._clients.push_async_callback(client.leave)
        return client

    def waiting(self) -> int:
        """The number of photos in the inbox."""
        return int(self._redis.xlen(self._inbox))  # type: ignore[arg-type]


@asynccontextmanager
async def flooded(house: House, valkey: Valkey) -> AsyncIterator[Flooded]:
    async with AsyncExitStack() as clients:
        yield Flooded(house, clients.enter_context(Redis.from_url(valkey.url)), clients)


async def test_an_ordinary_photo_waits_for_one_job_of_a_flood_at_most(
    start_stack: StackFactory, valkey: Valkey
) -> None:
    # Given one worker, which does nothing yet, and five addresses that send the most expensive photos: a third of a
    # second of a worker, while an ordinary one takes less
    house = House(start_stack(channels=CHANNEL, trusted_proxies=PROXIES, **HONEST))
    costly = as_base64(jpeg_of_many_scans(2000, 2000, 50))
    (worker,) = house.stack.heavy
    async with flooded(house, valkey) as flood:
        worker.freeze()
        for number in range(1, 6):
            mallory = await flood.join(house.address())
            for _ in range(2):  # the front queues the second
                await mallory.send(**sample("image", image_data=costly))
            await until(lambda number=number: flood.waiting() == number, "a photo to be in the inbox")
        # When somebody else sends one
        jane = await flood.join(house.address())
        await jane.send(**sample("image", author="jane", image_data=as_base64(encoded(quarters(1200, 900), "JPEG"))))
        await until(lambda: flood.waiting() == 6, "her photo to be in the inbox")
        worker.wake()
        # Then hers waits only for one that was started before
        await jane.until(type="image", author="jane")
        assert sum(message["type"] == "image" for message in jane.received) <= 2


async def test_an_address_cannot_use_the_whole_inbox(start_stack: StackFactory, valkey: Valkey) -> None:
    """A channel's waiting photos are bounded, and no address may use the whole bound."""
    # Given a lane without a worker, with room for ten photos
    limits = HONEST | {"max_inbox_bytes": 2 * 2**20}
    house = House(start_stack(channels=CHANNEL, heavy=0, trusted_proxies=PROXIES, **limits))
    photo = as_base64(png_of_exactly(150_000))
    async with flooded(house, valkey) as flood:
        # When one address sends ten
        address = house.address()
        clients = [await flood.join(address) for _ in range(10)]
        for client in clients:
            await client.send(**sample("image", image_data=photo))
        await until(lambda: len(refusals(clients)) + flood.waiting() == 10, "all to be taken or refused")
        # Then half of them are refused with a reason, and another address' photo is accepted
        assert refusals(clients) == [ADDRESS_FULL[0]] * 5
        jane = await flood.join(house.address())
        await jane.send(**sample("image", image_data=photo))
        await until(lambda: flood.waiting() == 6, "another's photo to be taken")


def refusals(clients: Sequence[Client]) -> list[str]:
    """The reasons that these clients got."""
    return [one["reason"] for client in clients for one in client.received if one["type"] == "uncompliant"]
