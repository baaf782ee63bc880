"""A flood of photos, and an ordinary photo among them, which waits only for the one that a worker has started.

tests/worker/test_fairness.py and test_heavy.py have all other orders.

The tests count jobs in their order in Redis. The worker is frozen while a photo is enqueued, so that speed does not
matter.
"""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
from redis import Redis
from tornado.ioloop import IOLoop

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

CHANNELS = [CHANNEL, "QField", "Geotribu"]
ROUNDS = 3
EACH = 2  # photos of each connection; the front queues them, one in flight

pytestmark = pytest.mark.usefixtures("io_loop")


class Flood:
    """Connections that have sent more photos than one worker can process during a test."""

    def __init__(self, house: House, redis: Any, photo: str) -> None:
        self._house = house
        self._redis = redis
        self._photo = photo
        self._keys = [ChannelKeys(house.stack.settings["instance_id"], channel) for channel in CHANNELS]

    async def begin(self, stack: AsyncExitStack, addresses: Sequence[str]) -> None:
        """Connect from each address, in each channel in turn; all photos are sent before the first is processed."""
        with self._without_worker():
            clients = []
            for number, address in enumerate(addresses):
                channel = CHANNELS[number % len(CHANNELS)]
                headers = {"X-Forwarded-For": address}
                client = await Client.connect(self._house.front.url, channel, additional_headers=headers)
                stack.push_async_callback(client.leave)
                clients.append(client)
            await asyncio.gather(*(self._send(client) for client in clients))

    async def _send(self, client: Client) -> None:
        for _ in range(EACH):
            await client.send(**sample("image", image_data=self._photo))

    async def done_before_another_of(self, client: Client) -> int:
        """The number of the flood's photos published while an ordinary photo waits."""
        before = len(self._published())
        await until(lambda: len(self._published()) > before, "a photo of the flood to be published")
        with self._without_worker():
            ordinary = as_base64(encoded(quarters(1200, 900), "JPEG"))
            await client.send(**sample("image", id=(id := str(uuid.uuid4())), image_data=ordinary))
            await until(lambda: id in self._waiting(), "the photo to be in the inbox")
            before = len(self._published())
        await client.until(type="image", id=id)
        return self._published().index(id) - before

    @contextmanager
    def _without_worker(self) -> Iterator[None]:
        (worker,) = self._house.stack.heavy
        worker.freeze()
        try:
            yield
        finally:
            worker.wake()

    def _waiting(self) -> set[str]:
        """The messages in the inboxes."""
        return {id for keys in self._keys for _, id in self._entries(keys.inbox(Lane.HEAVY))}

    def _published(self) -> list[str]:
        """The photos in the outboxes."""
        return [id for _, id in sorted(entry for keys in self._keys for entry in self._entries(keys.outbox))]

    def _entries(self, stream: str) -> list[tuple[tuple[int, ...], str]]:
        """The entry id and message of each photo in a stream."""
        return [
            (tuple(map(int, place.split(b"-"))), fields[b"id"].decode())
            for place, fields in self._redis.xrange(stream)
            if fields.get(b"type") == b"image"
        ]


async def test_an_ordinary_photo_waits_for_at_most_one_job_of_a_flood(
    io_loop: IOLoop, start_stack: StackFactory, valkey: Valkey
) -> None:
    # Given one worker, and nine addresses that send the most expensive photos, in three channels
    house = House(start_stack(channels=",".join(CHANNELS), trusted_proxies=PROXIES, **HONEST))
    # A third of a second of a worker; an ordinary photo takes less
    costly = as_base64(jpeg_of_many_scans(2000, 2000, 50))
    async with AsyncExitStack() as stack:
        flood = Flood(house, stack.enter_context(Redis.from_url(valkey.url)), costly)
        await flood.begin(stack, [house.address() for _ in range(9)])
        # When others send one photo each, in a channel of the flood
        for number in range(ROUNDS):
            jane = (await stack.enter_async_context(house.user())).client
            # Then each waits only for the photo that was started before
            assert await flood.done_before_another_of(jane) <= 1, f"photo {number}"


async def test_an_address_cannot_use_the_whole_inbox(
    io_loop: IOLoop, start_stack: StackFactory, valkey: Valkey
) -> None:
    """A channel's waiting photos are bounded, and no address may use the whole bound."""
    # Given a lane without a worker, with room for ten photos
    limits = HONEST | {"max_inbox_bytes": 2 * 2**20}
    house = House(start_stack(channels=CHANNEL, heavy=0, trusted_proxies=PROXIES, **limits))
    inbox = ChannelKeys(house.stack.settings["instance_id"], CHANNEL).inbox(Lane.HEAVY)
    photo = as_base64(png_of_exactly(150_000))
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(Redis.from_url(valkey.url))
        address = {"X-Forwarded-For": house.address()}
        # When one address sends ten
        clients = [await Client.connect(house.front.url, CHANNEL, additional_headers=address) for _ in range(10)]
        for client in clients:
            stack.push_async_callback(client.leave)
            await client.send(**sample("image", image_data=photo))
        await until(lambda: len(refusals(clients)) + redis.xlen(inbox) == 10, "all to be taken or refused")
        # Then half of them are refused with a reason, and another address' photo is accepted
        assert refusals(clients) == [ADDRESS_FULL[0]] * 5
        jane = await Client.connect(house.front.url, CHANNEL, additional_headers={"X-Forwarded-For": house.address()})
        stack.push_async_callback(jane.leave)
        await jane.send(**sample("image", image_data=photo))
        await until(lambda: redis.xlen(inbox) == 6, "another's photo to be taken")


def refusals(clients: Sequence[Client]) -> list[str]:
    """The reasons that these clients got."""
    return [one["reason"] for client in clients for one in client.received if one["type"] == "uncompliant"]
