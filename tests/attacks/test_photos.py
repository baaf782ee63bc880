"""Photos that are a flood, and the ordinary photo that comes among them: it waits for the one that was begun.

What is counted is jobs, in the order in which a channel hears of them; no clock has a say.
"""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from redis import Redis
from tornado.ioloop import IOLoop

from gischat.front.jobs.line import TOO_MANY_OF_ADDRESS
from gischat.messages import Lane
from gischat.streams.keys import ChannelKeys
from tests.attacks.attackers import CHANNEL
from tests.attacks.conftest import HONEST, House, StackFactory
from tests.faults.scene import until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded, png_of_exactly, quarters
from tests.support.processes import Valkey
from tests.worker.pictures import jpeg_of_many_scans

# What we take: a third of a second of a worker, and an ordinary photo takes less
COSTLY = as_base64(jpeg_of_many_scans(2000, 2000, 50))
ORDINARY = as_base64(encoded(quarters(1200, 900), "JPEG"))
CHANNELS = [CHANNEL, "QField", "Geotribu"]
ROUNDS = 3
EACH = 8  # that a connection of the flood sends; the front puts them in line, one behind the other

pytestmark = pytest.mark.usefixtures("io_loop")


class Flood:
    """Connections that have sent more photos than one worker can do while a test lasts."""

    def __init__(self, house: House, channels: Sequence[str], photo: str) -> None:
        self._house = house
        self._channels = channels
        self._photo = photo
        self._clients: list[Client] = []
        self._ids: set[str] = set()

    async def begin(self, stack: AsyncExitStack, addresses: Sequence[str]) -> None:
        """A connection from each of the addresses, in one channel after the other."""
        for number, address in enumerate(addresses):
            channel = self._channels[number % len(self._channels)]
            client = await Client.connect(
                self._house.front.url, channel, additional_headers={"X-Forwarded-For": address}
            )
            stack.push_async_callback(client.leave)
            self._clients.append(client)
        await asyncio.gather(*(self._send(client) for client in self._clients))

    async def _send(self, client: Client) -> None:
        for _ in range(EACH):
            self._ids.add(id := str(uuid.uuid4()))
            await client.send(**sample("image", id=id, image_data=self._photo))

    @property
    def done(self) -> int:
        """How many of its photos were published, as the first listener of each channel has heard."""
        listeners = self._clients[: len(self._channels)]
        return sum(message.get("id") in self._ids for client in listeners for message in client.received)

    async def another(self) -> None:
        """Waits until one more of its photos was published: then the next is begun with."""
        before = self.done
        await until(lambda: self.done > before, "a photo of the flood to be published")


async def photo_of(client: Client) -> None:
    """Sends an ordinary photo, and waits until the channel has it."""
    await client.send(**sample("image", id=(id := str(uuid.uuid4())), image_data=ORDINARY))
    await client.until(type="image", id=id)


@pytest.mark.parametrize("channels", [CHANNELS[:1], CHANNELS], ids=["one channel", "three channels"])
@pytest.mark.parametrize("addresses", [1, 20])
async def test_an_ordinary_photo_waits_for_one_job_at_the_most_whoever_floods(
    addresses: int, channels: list[str], io_loop: IOLoop, start_stack: StackFactory
) -> None:
    # Given one worker, and twenty connections that send what costs most
    house = House(start_stack(channels=",".join(CHANNELS), trusted_proxies="127.0.0.1", **HONEST))
    flood = Flood(house, channels, COSTLY)
    async with AsyncExitStack() as stack:
        attackers = [house.address() for _ in range(addresses)]
        await flood.begin(stack, [attackers[number % addresses] for number in range(20)])
        # When others send a photo each, in a channel of the flood
        for number in range(ROUNDS):
            jane = (await stack.enter_async_context(house.user())).client
            await flood.another()
            before = flood.done
            await photo_of(jane)
            # Then each waits for the photo that was begun before
            assert flood.done - before <= 1, f"photo {number}"


@pytest.mark.parametrize("channels", [CHANNELS[:1], CHANNELS[:2]], ids=["one channel", "two channels"])
async def test_sixty_photos_of_one_person_delay_anothers_by_one_at_the_most(
    channels: list[str], io_loop: IOLoop, start_stack: StackFactory
) -> None:
    house = House(start_stack(channels=",".join(CHANNELS), trusted_proxies="127.0.0.1", **HONEST))
    flood = Flood(house, channels, as_base64(encoded(quarters(3000, 2000), "JPEG")))
    async with AsyncExitStack() as stack:
        await flood.begin(stack, [house.address()] * 8)  # of 64
        jane = (await stack.enter_async_context(house.user())).client
        await flood.another()
        before = flood.done
        await photo_of(jane)
        assert flood.done - before <= 1


async def test_an_address_leaves_room_for_others_photos(
    io_loop: IOLoop, start_stack: StackFactory, valkey: Valkey
) -> None:
    """All that waits in a channel is bounded, and no address may fill it."""
    # Given a lane without a worker, in which ten photos have room
    limits = HONEST | {"max_inbox_bytes": 2 * 2**20}
    house = House(start_stack(channels=CHANNEL, heavy=0, trusted_proxies="127.0.0.1", **limits))
    inbox = ChannelKeys(house.stack.settings["instance_id"], CHANNEL).inbox(Lane.HEAVY)
    photo = as_base64(png_of_exactly(150_000))
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(Redis.from_url(valkey.url))
        address = {"X-Forwarded-For": house.address()}
        # When ten come from one address
        clients = [await Client.connect(house.front.url, CHANNEL, additional_headers=address) for _ in range(10)]
        for client in clients:
            stack.push_async_callback(client.leave)
            await client.send(**sample("image", image_data=photo))
        await until(lambda: len(refusals(clients)) + redis.xlen(inbox) == 10, "all to be taken or refused")
        # Then half of them are refused, in words, and another's waits like those that were taken
        assert refusals(clients) == [TOO_MANY_OF_ADDRESS] * 5
        jane = await Client.connect(house.front.url, CHANNEL, additional_headers={"X-Forwarded-For": house.address()})
        stack.push_async_callback(jane.leave)
        await jane.send(**sample("image", image_data=photo))
        await until(lambda: redis.xlen(inbox) == 6, "another's photo to be taken")


def refusals(clients: Sequence[Client]) -> list[str]:
    """What these were told."""
    return [one["reason"] for client in clients for one in client.received if one["type"] == "uncompliant"]
