"""Attacks on a front, while an ordinary user of the same front sends texts and receives every echo."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Iterator

import pytest
from tornado.ioloop import IOLoop
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from gischat.front.close_status import MEMORY_FULL
from gischat.front.limits.admission import SERVER_FULL
from gischat.front.limits.rate_limit import LIMIT_EXCEEDED_REPEATEDLY, REFUSALS_PER_MINUTE
from tests.attacks.attackers import CHANNEL, PROXIES
from tests.attacks.conftest import HONEST, LOW, House, StackFactory
from tests.faults.scene import until
from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.processes import Stack
from tests.support.settings import UNLIMITED

PER_ADDRESS, IN_ALL, PENDING = (
    LOW["max_connections_per_address"],
    LOW["max_connections"],
    LOW["max_pending_connections"],
)
AT_ONCE = HONEST["max_messages_per_minute"]

PUT = f"PUT /channel/{CHANNEL}/text HTTP/1.1\r\nHost: chat\r\n"

pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture(scope="module")
def unproxied(open_stack: StackFactory) -> Iterator[Stack]:
    """A front without trusted proxies."""
    with open_stack(light=1, heavy=0, channels=CHANNEL, **HONEST, max_connections_per_address=30) as stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture(scope="module")
def little_memory(open_stack: StackFactory) -> Iterator[Stack]:
    """A front with little memory and ordinary deadlines."""
    options = {"trusted_proxies": PROXIES, "max_front_bytes": LOW["max_front_bytes"], **HONEST}
    with open_stack(light=1, heavy=0, channels=CHANNEL, **options) as stack:
        yield stack
    stack.assert_quiet_logs()


# Connections


async def test_a_flood_of_connections_from_one_address_is_limited_by_address(house: House) -> None:
    async with house.user() as user:
        flood = await house.endures("connections", user, addresses=[house.address()], each=PER_ADDRESS + 60)
        assert flood == {"statuses": {"101": PER_ADDRESS, "429": 60}, "retry_after": 60}
        assert house.told("address_connections") == 1


async def test_a_flood_from_many_addresses_does_not_affect_open_connections(house: House) -> None:
    addresses = [house.address() for _ in range(6)]
    async with house.user() as user:
        async with house.attacked("connections", addresses=addresses, each=20) as flood:
            await user.talk(flood.done)
            taken = IN_ALL - 1  # the user has one
            assert (await flood)["statuses"] == {"101": taken, "503": len(addresses) * 20 - taken}
            # Further clients are refused, and told when to try again
            with pytest.raises(InvalidStatus) as refused:
                await Client.connect(house.front.url, CHANNEL)
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["Retry-After"]) > 0
        # When the attackers have gone, there is room
        await user.client.count(1)
        async with house.user() as other:
            await other.talk(lambda: True)


async def test_connections_that_end_at_any_moment_release_their_permits(house: House) -> None:
    address = house.address()
    async with house.user() as user:
        await user.talk(lambda: True)
        before = house.descriptors()
        assert await house.endures("resets", user, address=address, number=150) == 150
        await until(lambda: house.descriptors() <= before, "the front to close what was reset")
        await user.client.count(1)
        # Then all places are free again
        flood = await house.endures("connections", user, addresses=[address], each=PER_ADDRESS + 1)
        assert flood["statuses"] == {"101": PER_ADDRESS, "429": 1}


@pytest.mark.parametrize(
    "beginning",
    ["GET /status HTTP/1.1\r\nHost: chat\r\nX-Wait: ", f"{PUT}Content-Length: 1000\r\n\r\n"],
    ids=["headers", "body"],
)
async def test_unfinished_requests_are_closed(beginning: str, house: House) -> None:
    async with house.user() as user, house.attacked("drip", number=3 * PENDING, beginning=beginning) as slow:
        # A client that connects meanwhile is accepted
        async with house.user() as other:
            await other.talk(lambda: True)
        await user.talk(slow.done)
        assert slow.result() == 3 * PENDING
        assert house.told("pending_connections") == 1


@pytest.mark.parametrize("asks", [False, True])
async def test_idle_connections_are_bounded_in_number_and_closed(house: House, asks: bool) -> None:
    async with house.user() as user:
        await user.talk(lambda: True)
        before = house.descriptors()
        async with house.attacked("idle", number=2 * PENDING, asks=asks) as idle:
            await user.talk(idle.done)
            assert house.descriptors() <= before + PENDING + 1
            # A new client is accepted
            async with house.user() as other:
                await other.talk(lambda: True)
            if not asks:
                await until(lambda: house.descriptors() <= before, "the front to close them")


async def test_forwarded_addresses_are_honoured_from_trusted_proxies_only(unproxied: Stack) -> None:
    house = House(unproxied)
    async with house.user() as user:
        # When an attacker claims another address each time
        addresses = [f"203.0.113.{number}" for number in range(1, 101)]
        flood = await house.endures("connections", user, addresses=addresses, each=1)
        # Then the attacker is counted under its one real address
        assert flood["statuses"] == {"101": 30, "429": 70}
        assert "429" not in "".join(line for line in house.front.new_log().splitlines() if "203.0.113" in line)
        await user.client.count(1)


async def test_a_front_without_free_descriptors_serves_its_open_connections(unproxied: Stack) -> None:
    house = House(unproxied)
    async with house.user() as user:
        await user.talk(lambda: True)
        # Given a front that can open only ten more files
        usual, most = resource.prlimit(house.front.pid, resource.RLIMIT_NOFILE), house.descriptors() + 10
        resource.prlimit(house.front.pid, resource.RLIMIT_NOFILE, (most, usual[1]))
        async with house.attacked("idle", number=60) as idle:
            await user.talk(idle.done)
            await until(lambda: house.descriptors() == most, "the front to be full")
            await user.talk(lambda: house.told("accept") > 0)
        # When the attackers have gone, others are accepted; and the log was not filled
        async with house.user() as other:
            await other.talk(lambda: True)
        assert house.told("accept") == 1
        resource.prlimit(house.front.pid, resource.RLIMIT_NOFILE, usual)


# Messages


async def test_a_flood_of_messages_is_answered_and_then_closed(house: House) -> None:
    payload = f'{{"type": "text", "author": "mallory", "text": "{CANARY}"}}'
    async with house.user() as user:
        flood = await house.endures("flood", user, address=house.address(), payload=payload)
        # Each refused message was answered, and the close frame has the reason; much more was sent, and nothing was
        # logged for it
        assert flood["refusals"] == REFUSALS_PER_MINUTE + 1
        assert flood["goodbyes"] == [[1008, LIMIT_EXCEEDED_REPEATEDLY]]
        assert flood["sent"] > AT_ONCE + REFUSALS_PER_MINUTE
        assert house.told("rate_limit") == 1


async def test_invalid_messages_of_an_address_are_read_more_slowly(io_loop: IOLoop, start_stack: StackFactory) -> None:
    limits = HONEST | {"max_address_messages_per_minute": 12_000}  # the default
    house = House(start_stack(light=1, heavy=0, channels=CHANNEL, trusted_proxies=PROXIES, **limits))
    async with house.user() as user:
        await user.talk(lambda: True)
        before = house.resident_bytes()
        # When connections of one address send many invalid messages at once, none so many that it is closed
        many = {"number": 120, "each": REFUSALS_PER_MINUTE - 10}
        async with house.attacked("wrong", address=house.address(), **many):
            await user.talk(lambda: house.told("address_refusals") > 0)
            # Then the address exceeds its limit of refusals, and reading from its connections is delayed
            await user.talk(lambda: True)
            assert house.resident_bytes() - before < 2**26
        await user.client.count(1)
        assert house.told("address_refusals") == 1


async def test_a_flood_of_pings_is_closed(house: House) -> None:
    async with house.user() as user:
        flood = await house.endures("flood", user, address=house.address(), payload="", opcode=Opcode.PING)
        assert flood["goodbyes"] == [[1008, LIMIT_EXCEEDED_REPEATEDLY]]


async def test_a_flood_of_requests_to_publish_is_answered_by_429(house: House) -> None:
    async with house.user() as user:
        most = HONEST["max_address_messages_per_minute"]
        flood = await house.endures("puts", user, address=house.address(), number=20 * most, enough=50)
        assert set(flood["statuses"]) == {"422", "429"}
        assert flood["statuses"]["422"] >= most
        assert flood["said"] == [[True, True]]


# Frames


@pytest.mark.parametrize("size", [0, 2**19])
async def test_an_endless_message_closes_its_connection(size: int, house: House) -> None:
    async with house.user() as user:
        assert await house.endures("endless", user, address=house.address(), size=size) is True
        await user.client.count(1)


async def test_texts_in_thousands_of_fragments_are_read_without_delaying_others(house: House) -> None:
    async with house.user() as user:
        addresses = [house.address() for _ in range(2)]
        many = {"addresses": addresses, "each": 12, "fragments": 4096}
        assert await house.endures("in_fragments", user, **many) == 24


# Reconnecting


async def test_repeated_reconnections_delay_nobody(io_loop: IOLoop, start_stack: StackFactory) -> None:
    # Given a channel with many messages
    house = House(start_stack(light=1, heavy=0, channels=CHANNEL, max_waiting_messages=300, **UNLIMITED))
    first, *others = [await Client.connect(house.front.url, CHANNEL) for _ in range(5)]
    await first.say("first")
    after = (await first.until(type="text"))["id"]
    for client in (first, *others):
        for number in range(200):
            await client.say(str(number), author="joan")
    while len(first.texts()) < 1001:
        await first.until(type="text")
    async with house.user() as user:
        await user.talk(lambda: True)
        before = house.resident_bytes()
        many = {"address": house.address(), "number": 8, "times": 10, "after": after, "missed": 1000}
        assert await house.endures("returns", user, **many) == 80
        assert house.resident_bytes() - before < 64 * 2**20
    for client in (first, *others):
        await client.leave()


# Memory


async def test_unfinished_messages_are_bounded_in_memory(house: House) -> None:
    async with house.user() as user:
        await user.talk(lambda: True)
        before, size, number = house.resident_bytes(), 2**21 + 2**18, 30
        enough = number - LOW["max_front_bytes"] // size
        many = {"address": house.address(), "number": number, "size": size, "enough": enough}
        assert await house.endures("unfinished", user, **many) == [SERVER_FULL[0]] * enough
        # The allocator may keep freed memory; the assertion still detects that everything was buffered.
        assert house.resident_bytes() - before < number * size / 2
        assert house.told("server_full") == 1


async def test_an_upload_survives_many_unfinished_small_messages(io_loop: IOLoop, start_stack: StackFactory) -> None:
    bound, size, number = 2**24, 60_000, 300
    settings = {"channels": CHANNEL, "trusted_proxies": PROXIES, "max_front_bytes": bound, **HONEST}
    house = House(start_stack(light=1, heavy=0, **settings))
    async with house.user() as user, house.user() as jane:
        await user.talk(lambda: True)
        before = house.resident_bytes()
        # Given a client that has sent half of a large message
        message = json.dumps(sample("model", raw_xml="x" * 900_000, model_name="Jane's"))
        goes_on = asyncio.Event()

        async def halves() -> AsyncIterator[str]:
            yield message[:450_000]
            await goes_on.wait()
            yield message[450_000:]

        upload = asyncio.create_task(jane.client.connection.send(halves()))
        # When an address starts small messages until they exceed the budget
        many = {"address": house.address(), "number": number, "size": size, "enough": number - bound // size}
        async with house.attacked("unfinished", **many) as attack:
            await user.talk(attack.done)
            # Then some of them are refused (or closed, if nothing was parsed yet), and the memory is bounded
            reasons = await attack
            assert len(reasons) >= many["enough"]
            assert set(reasons) <= {SERVER_FULL[0], MEMORY_FULL.user_message}
            assert house.told("server_full") + house.told("memory") > 0
            assert house.resident_bytes() - before < 3 * bound
            # And the client's message is published
            goes_on.set()
            await upload
            await user.client.until(type="model", model_name="Jane's")


async def test_unfinished_bodies_are_bounded_in_memory(little_memory: Stack) -> None:
    house = House(little_memory)
    async with house.user() as user:
        address, size = house.address(), 2**19 - 2**15
        bearable = LOW["max_front_bytes"] // size
        many = {"address": address, "number": 30, "size": size, "bearable": bearable}
        assert await house.endures("unfinished_bodies", user, **many) == [bearable, [f"503 {SERVER_FULL[0]}"], True]
        assert house.told("server_full") == 1
        assert f"{address} has the most bytes of unfinished messages" in house.front.whole_log()


async def test_clients_that_do_not_read_are_bounded_in_memory(little_memory: Stack) -> None:
    house = House(little_memory)
    async with house.user() as user:
        many = {"address": house.address(), "number": 20, "size": 60_000, "times": 300}
        assert await house.endures("slow_readers", user, **many) == 20
        await user.client.count(1)
        assert house.told("memory") == 1


async def test_unread_histories_are_bounded_in_memory(io_loop: IOLoop, start_stack: StackFactory) -> None:
    # Given a channel with some megabytes of history
    bound, part = 8 * 2**20, 950_000
    settings = {"channels": CHANNEL, "max_front_bytes": bound, "max_stored_messages": 2000, **HONEST}
    house = House(start_stack(light=1, heavy=0, **settings))
    async with house.user() as user:
        for number in range(4):
            await user.client.send(**sample("model", model_name=str(number), raw_xml="x" * part))
            await user.client.until(type="model", model_name=str(number))
        before, most = house.resident_bytes(), 0
        # When a hundred clients request it and do not read, while others send messages, so that histories differ
        async with house.attacked("unread_histories", number=100) as attack:

            def is_over() -> bool:
                nonlocal most
                most = max(most, house.resident_bytes())
                return attack.done()

            await user.talk(is_over)
            # Then some are closed, and the others take no more memory than the budget and one history during its read
            assert attack.result() > 0
        assert most - before < bound + 16 * 4 * part, (before, most)
        assert house.told("memory") == 1
