"""What a front holds for all its clients is bounded, and what many wait for counts once."""

from gischat.front.limits.memory_budget import WRITE_BYTES, MemoryBudget
from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason
from tests.support.virtual_time import settle, virtual_time


class Client:
    """For whom something is held until it is let go; then all of it is given back, as a closed stream does it."""

    def __init__(self, memory: MemoryBudget) -> None:
        self.memory = memory
        self.waits: list[bytes | memoryview] = []
        self.is_gone = False

    def wait_for(self, data: bytes | memoryview) -> None:
        self.waits.append(data)
        self.memory.reserve_data(self, data)

    def read(self) -> None:
        self.memory.release_data(self, self.waits.pop(0))

    def evict(self) -> None:
        self.is_gone = True
        while self.waits:
            self.read()


@virtual_time
async def test_what_many_wait_for_counts_once() -> None:
    memory = MemoryBudget(2**20, RejectionLog())
    clients = [Client(memory) for _ in range(100)]
    photo = b"x" * 100_000
    # When a photo waits for a hundred, some of whom have read a part of it
    for number, client in enumerate(clients):
        client.wait_for(memoryview(photo)[number * 10 :] if number % 2 else photo)
    assert memory.used == len(photo) + 100 * WRITE_BYTES
    # Then it is there until the last has read it
    for client in clients[1:]:
        client.read()
    assert memory.used == len(photo) + WRITE_BYTES
    clients[0].read()
    assert memory.used == 0
    assert memory._waiting_for == {}


@virtual_time
async def test_what_is_short_is_copied_for_each_and_counts_for_each() -> None:
    memory = MemoryBudget(2**20, RejectionLog())
    text = b"x" * 300
    for _ in range(100):
        Client(memory).wait_for(text)
    assert memory.used == 100 * (len(text) + WRITE_BYTES)


@virtual_time
async def test_those_go_of_whom_most_is_held_until_it_is_enough() -> None:
    rejections = RejectionLog()
    memory = MemoryBudget(1_000_000, rejections)
    small, *large = (Client(memory) for _ in range(11))
    small.wait_for(b"x" * 100_000)
    for number, client in enumerate(large):
        client.wait_for(bytes(150_000 + number))
    # When all is too much, nobody goes in the midst of it
    assert not any(client.is_gone for client in large)
    await settle()
    # Then the largest have gone, and no more of them than had to
    assert [client.is_gone for client in large] == [False] * 5 + [True] * 5
    assert not small.is_gone
    assert memory.used <= 1_000_000
    assert rejections.counts == {CloseReason.MEMORY: 5}


@virtual_time
async def test_who_reads_in_time_stays() -> None:
    memory = MemoryBudget(100_000, RejectionLog())
    client = Client(memory)
    for _ in range(100):
        client.wait_for(bytes(90_000))
        await settle()
        client.read()
    assert not client.is_gone
    assert memory.used == 0
