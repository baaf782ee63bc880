"""What goes wrong: a few things of a few kinds, at moments that are drawn; some while others last.

Each is an asynchronous function of the world, which heals what it has done.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from tests.simulation.network import Transport
from tests.simulation.programs import Program

if TYPE_CHECKING:
    from tests.simulation.world import World

Fault = Callable[["World", random.Random], Awaitable[None]]
STARTLED_SECONDS = 0.05  # before a fault, at the most: what people say then is on its way …
STARTLING_SECONDS = 0.1, 2.0  # … and then between two bursts, as long as it lasts
LOST_SECONDS = 1.9  # that a Redis may lose, at the most (appendfsync everysec: two)


async def _killed(world: "World", program: Program, dice: random.Random) -> None:
    program.kill()


async def _stopped(world: "World", program: Program, dice: random.Random) -> None:
    await program.stop()


async def _frozen(world: "World", program: Program, dice: random.Random) -> None:
    process = program.process
    world.loop.freeze(process)
    await asyncio.sleep(dice.uniform(0.2, 12 if program in world.fronts else 9) * world.size.pace)
    world.loop.thaw(process)


def _to_one_of(programs: str, happen: Callable[["World", Program, random.Random], Awaitable[None]]) -> Fault:
    async def fault(world: "World", dice: random.Random) -> None:
        await happen(world, dice.choice(getattr(world, programs)), dice)

    return fault


async def redis_loses(world: "World", dice: random.Random) -> None:
    """It is killed, and loses what came last."""
    async with world.redis.is_being_killed:
        kept = world.redis.data.copy()
        await asyncio.sleep(dice.uniform(0, LOST_SECONDS) * world.size.pace)
        world.redis.kill()
        await asyncio.sleep(dice.choice([0.0, dice.uniform(0, 0.5), dice.uniform(0, 5)]))
        world.redis.data = kept
        world.redis.start()


async def redis_fails_over(world: "World", dice: random.Random) -> None:
    """A replica takes over that lacks what came last; its clock is some seconds before or behind."""
    async with world.redis.is_being_killed:
        kept = world.redis.data.copy()
        await asyncio.sleep(dice.uniform(0, 0.5))
        world.redis.kill()
        world.redis.lag = dice.uniform(-2, 4)
        world.redis.data = kept
        await asyncio.sleep(dice.uniform(0.2, 3))
        world.redis.start()


async def redis_emptied(world: "World", dice: random.Random) -> None:
    async with world.redis.is_being_killed:
        world.redis.kill()
        await asyncio.sleep(dice.uniform(0, 2))
        world.redis.data.flush()
        world.redis.start()


async def redis_flushed(world: "World", dice: random.Random) -> None:
    world.redis.flush()


async def redis_frozen(world: "World", dice: random.Random) -> None:
    process = world.redis.process
    world.loop.freeze(process)
    await asyncio.sleep(dice.uniform(0.2, 8) * world.size.pace)
    world.loop.thaw(process)


async def connections_cut(world: "World", dice: random.Random) -> None:
    """Some of those to Redis."""
    share = dice.random()
    for end in _redis_ends(world):
        if dice.random() < share:
            world.network.cut(end)


async def network_stalled(world: "World", dice: random.Random) -> None:
    """In one direction between Redis and some; in the end what was held comes, or the connections are cut."""
    share = dice.random()
    ends = [end if dice.random() < 0.5 else end.peer for end in _redis_ends(world) if dice.random() < share]
    for end in ends:
        end.stall()
    await asyncio.sleep(dice.uniform(0.3, 7) * world.size.pace)
    for end in ends:
        if dice.random() < 0.5:
            world.network.cut(end)
        else:
            end.flow()


async def key_deleted(world: "World", dice: random.Random) -> None:
    """By an operator, or evicted: one key of the channel."""
    data = world.redis.data
    if keys := sorted(data.keys):
        key = dice.choice(keys)
        world.tell(f"deletes {key.decode()}")
        data.drop(key)
        world.redis.process.context.run(world.redis.serve_blocked)


async def key_restored(world: "World", dice: random.Random) -> None:
    """By an operator, from an old copy: one key of the channel."""
    if keys := sorted(world.redis.data.keys):
        key = dice.choice(keys)
        kept = world.redis.data.copy()
        await asyncio.sleep(dice.uniform(0, 5))
        data = world.redis.data
        world.tell(f"restores {key.decode()}")
        data.drop(key)
        data.keys[key] = kept.keys[key]
        if key in kept.expires:
            data.expires[key] = kept.expires[key]
        world.redis.process.context.run(world.redis.serve_blocked)


async def key_damaged(world: "World", dice: random.Random) -> None:
    """By an operator: one key of the channel becomes one of another type, until he removes it."""
    data = world.redis.data
    if keys := sorted(key for key in data.keys if b"part:" not in key and not key.endswith(b"work")):
        key = dice.choice(keys)
        world.tell(f"damages {key.decode()}")
        data.drop(key)
        data.keys[key] = {b"?"} if type(data.keys.get(key)) is not set else b"?"
        world.redis.process.context.run(world.redis.serve_blocked)
        await asyncio.sleep(dice.uniform(0, 20) * world.size.pace)
        if type(world.redis.data.keys.get(key)) is set:
            world.redis.data.drop(key)


async def people_moved(world: "World", dice: random.Random) -> None:
    """Some lose their connection, and come back on their next front."""
    for peer in world.peers:
        if peer.session is not None and dice.random() < 0.5:
            peer.session.connection.transport.cut()


def _redis_ends(world: "World") -> list[Transport]:
    """Redis' ends of its connections."""
    return [client.transport for client in world.redis.clients if client.transport in world.network.ends]


# With their weights
FAULTS: dict[str, tuple[Fault, int]] = {
    "worker_killed": (_to_one_of("workers", _killed), 3),
    "worker_stopped": (_to_one_of("workers", _stopped), 2),
    "worker_frozen": (_to_one_of("workers", _frozen), 2),
    "front_killed": (_to_one_of("fronts", _killed), 2),
    "front_stopped": (_to_one_of("fronts", _stopped), 2),
    "front_frozen": (_to_one_of("fronts", _frozen), 3),
    "redis_loses": (redis_loses, 6),
    "redis_fails_over": (redis_fails_over, 2),
    "redis_emptied": (redis_emptied, 1),
    "redis_flushed": (redis_flushed, 2),
    "redis_frozen": (redis_frozen, 2),
    "connections_cut": (connections_cut, 3),
    "network_stalled": (network_stalled, 2),
    "people_moved": (people_moved, 4),
}
# Those that a product may not bear: they come only when they are asked for.
UNBEARABLE: dict[str, tuple[Fault, int]] = {
    "key_deleted": (key_deleted, 10),
    "key_restored": (key_restored, 10),
    "key_damaged": (key_damaged, 10),
}
ALL_FAULTS = FAULTS | UNBEARABLE


class Chaos:
    """The faults of one world."""

    def __init__(self, world: "World", dice: random.Random, kinds: Sequence[str]) -> None:
        """
        Args:
            kinds: of the faults; some of all, if none are given.
        """
        self._world = world
        kinds = kinds or dice.sample(list(FAULTS), dice.randint(1, len(FAULTS)))
        weights = [ALL_FAULTS[kind][1] for kind in kinds]
        seconds, number = dice.uniform(*world.size.seconds), dice.choice(world.size.faults)
        chosen = dice.choices(kinds, weights, k=number)
        self.plan = sorted((dice.uniform(0, seconds), kind, dice.getrandbits(64)) for kind in chosen)

    async def run(self) -> None:
        """Lets all happen, and returns when all is healed."""
        await asyncio.gather(*(self._happen(at, kind, seed) for at, kind, seed in self.plan))

    async def _happen(self, at: float, kind: str, seed: int) -> None:
        dice = random.Random(seed)
        await asyncio.sleep(at)
        startling = asyncio.create_task(self._startle(random.Random(seed)))
        await asyncio.sleep(dice.choice([0.0, dice.uniform(0, STARTLED_SECONDS)]))
        self._world.tell(f"fault: {kind}")
        await ALL_FAULTS[kind][0](self._world, dice)
        self._world.tell(f"fault is over: {kind}")
        startling.cancel()
        self._world.startle()

    async def _startle(self, dice: random.Random) -> None:
        while True:
            self._world.startle()
            await asyncio.sleep(dice.uniform(*STARTLING_SECONDS))
