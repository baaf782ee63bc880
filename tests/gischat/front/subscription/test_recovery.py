"""Recovery: the steps for each report, in the order on which the guarantees depend. Time is virtual.

The parts are a front's own; Redis is a small model, that refuses as the real one what comes too early.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gischat.broker.entries import COUNT, RESTORE, Job
from gischat.broker.moderation import Freeze, ModerationState
from gischat.broker.outbox import Entry
from gischat.broker.presence import Renewal
from gischat.errors import Unavailable
from gischat.front.auth.channel_auth import ChannelAuth
from gischat.front.channel.room import Room
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_queue import JobQueue
from gischat.front.moderation.service import ModerationService
from gischat.front.subscription import recovery
from gischat.front.subscription.lease import LeaseKeeper
from gischat.front.subscription.recovery import GAP, STATE_LOST, Parts, Recovery, Step
from gischat.front.subscription.subscriber import Subscriber
from gischat.protocol.messages import Lane, Message, new_id
from tests.gischat.front import fakes
from tests.gischat.front.fakes import CHANNEL, FakeBroker, FakeMember, FakeOutbox, message, publication, said
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time
from tests.support.waiting import LOOK

HEARD = 10


class Redis(FakeBroker):
    """A Redis that accepts jobs of a known front that has not received more than was published."""

    def __init__(self) -> None:
        super().__init__()
        self.is_known = True
        self.published = HEARD
        self.taken: list[Job] = []
        self.work: Callable[[Job], None] = lambda job: None  # a worker's reaction to an accepted job, a moment later
        self.refused = 0
        self.faults: list[Exception] = []
        self.stored = ModerationState(5, Freeze(1, "anna"), ())
        self.newest = Entry(b"10-0", publication(HEARD))

    def lose_everything(self) -> None:
        self.is_known, self.published, self.newest, self.stored = False, 0, None, ModerationState()
        self.taken.clear()

    def enqueue(
        self, channel: str, lane: Lane, job: Job, heard: int, preceding: str = "", *, again: bool = False
    ) -> Any:
        taken = super().enqueue(channel, lane, job, heard, preceding, again=again)
        if self.is_known and heard <= self.published:
            self.taken.append(job)
            asyncio.get_running_loop().call_later(LOOK / 10, self.work, job)
            return taken
        self.refused += 1
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(fakes.STATE_LOST)
        return answer

    async def renew_lease(self, channel: str, lease: float, *, is_state_lost: bool = False) -> Renewal:
        await asyncio.sleep(LOOK)
        if self.faults:
            raise self.faults.pop(0)
        was_known, self.is_known = self.is_known, self.is_known or is_state_lost
        return Renewal(was_known, self.published)

    async def last_entry(self, channel: str) -> Entry | None:
        await asyncio.sleep(LOOK)
        return self.newest

    async def newest_entry_ids(self, channel: str, number: int) -> list[bytes]:
        await asyncio.sleep(LOOK)
        return []

    async def moderation_state(self, channel: str) -> ModerationState:
        return self.stored

    async def restore_moderation(self, channel: str, known: ModerationState) -> bool:
        self.stored = known
        return True


class Reader(FakeOutbox):
    """A reader that is set to an earlier position."""

    def reconnect(self) -> None: ...


class Registered(FakeMember):
    """A connection whose nickname is registered by jobs of its own queue."""

    job_queue: JobQueue
    address = "192.0.2.7"
    nickname = "jane"

    def restore_nickname(self) -> None:
        message = Message(RESTORE, new_id(), b"{}")
        self.job_queue.submit(message, lambda ending: None, bounded=False, is_ahead=True)


class Scene:
    """A front that has received ten publications: jane has registered, and a text is in flight."""

    def __init__(self, state_lost: Sequence[Step] = STATE_LOST, gap: Sequence[Step] = GAP) -> None:
        self.redis: Any = Redis()
        self.reader = Reader()
        self.dispatcher = Dispatcher(self.redis, settings())
        self.room = Room(CHANNEL, self.redis, self.dispatcher)
        rooms = {CHANNEL: self.room}
        readers: Any = [self.reader]
        self.subscriber = Subscriber(self.redis, readers, rooms, self.dispatcher)
        self.leases = LeaseKeeper(self.redis, rooms, self.dispatcher, self.subscriber)
        chosen = settings(channels=(CHANNEL,))
        self.moderation = ModerationService(chosen, self.redis, rooms, self.dispatcher, ChannelAuth(chosen))
        parts = Parts(rooms, self.dispatcher, self.subscriber, self.leases, self.moderation)
        self._recovery = Recovery(parts, state_lost, gap)

    async def __aenter__(self) -> "Scene":
        await self.subscriber.seek_to_tail()
        await self.moderation.load()
        self._tasks = [asyncio.create_task(part.run()) for part in (self.subscriber, self._recovery)]
        self.jane = Registered(1)
        self.jane.job_queue = self.dispatcher.open(CHANNEL)
        self.jane.job_queue.submit(message(type="newcomer"), lambda ending: None)
        self.dispatcher.complete(publication(HEARD, said("jane"), source=self.redis.jobs[-1].source))
        self.room.join(self.jane)
        self.dispatcher.complete(publication(HEARD, source=self.redis.jobs[-1].source))  # the count's result
        self.dispatcher.open(CHANNEL).submit(message("in flight"), lambda ending: None)
        await pass_time(1)
        self.redis.published += 1
        self.publish(HEARD + 1)
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()

    def lose_everything(self) -> None:
        """Lose everything in Redis; its workers process later jobs."""
        self.redis.lose_everything()
        self.redis.work = lambda job: self.dispatcher.complete(publication(1, b"{}", source=job.source))

    def publish(self, number: int) -> None:
        self.reader.publish(publication(number, said(f"words {number}")))

    @property
    def taken(self) -> list[str]:
        """The types of the jobs accepted by Redis, in order."""
        return [job.type for job in self.redis.taken]


async def recover(steps: Sequence[Step]) -> tuple[Scene, list[str]]:
    """Lose everything in Redis; an earlier publication arrives while the front looks up the outbox's position.

    Returns the front after a second, and the types of the jobs accepted until then.
    """
    async with Scene(steps) as scene:
        scene.lose_everything()
        scene.dispatcher.reports.state_lost(CHANNEL)
        await pass_time(1.5 * LOOK)
        scene.publish(HEARD + 2)
        await pass_time(0.35)  # before refused jobs are retried
        return scene, scene.taken


def is_right(scene: Scene, taken: list[str]) -> bool:
    """Check the order: recent messages, those in flight, the count and nicknames; each once, none refused."""
    return (
        scene.redis.refused == 0
        and sorted(taken) == sorted(["newcomer", "text", COUNT, RESTORE])
        and taken.index("newcomer") < taken.index(RESTORE)
    )


@virtual_time
async def test_lost_state_is_replayed() -> None:
    scene, taken = await recover(STATE_LOST)
    assert is_right(scene, taken), taken
    assert scene.redis.stored == ModerationState(5, Freeze(1, "anna"), ())
    assert scene.room.offset == HEARD + 2


def swapped(earlier: Step, later: Step) -> list[Step]:
    """The steps, with the later one moved right before the earlier one."""
    steps = [step for step in STATE_LOST if step is not later]
    steps.insert(steps.index(earlier), later)
    return steps


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (recovery.renew_lease, recovery.replay),
        (recovery.rewind, recovery.reset_room),
        (recovery.reset_room, recovery.replay),
        (recovery.replay, recovery.republish_count),
        (recovery.replay, recovery.restore_nicknames),
    ],
)
@virtual_time
async def test_any_other_order_of_steps_fails(earlier: Step, later: Step) -> None:
    scene, taken = await recover(swapped(earlier, later))
    assert not is_right(scene, taken), taken


@pytest.mark.parametrize("fault", [Unavailable("Redis is away."), ZeroDivisionError()])
@virtual_time
async def test_a_failed_recovery_is_repeated_at_the_next_report(fault: Exception) -> None:
    async with Scene() as scene:
        scene.lose_everything()
        scene.redis.faults = [fault]
        scene.dispatcher.reports.state_lost(CHANNEL)
        await pass_time(1)
        assert scene.taken == []
        scene.dispatcher.reports.state_lost(CHANNEL)
        await pass_time(1)
        assert sorted(scene.taken) == sorted(["newcomer", "text", COUNT, RESTORE])


@virtual_time
async def test_a_loss_reported_several_times_is_recovered_once_and_not_after_the_leases_end() -> None:
    async with Scene() as scene:
        scene.lose_everything()
        for _ in range(20):
            scene.dispatcher.reports.state_lost(CHANNEL)
            await pass_time(LOOK / 10)
        await pass_time(1)
        assert scene.taken.count("newcomer") == 1
        scene.leases.has_ended = True
        scene.dispatcher.reports.state_lost(CHANNEL)
        await pass_time(1)
        assert scene.taken.count("newcomer") == 1


@virtual_time
async def test_missed_state_is_read_and_sent_again() -> None:
    async with Scene() as scene:
        scene.redis.taken.clear()
        scene.redis.stored = ModerationState(6)
        scene.redis.published += 3
        scene.publish(HEARD + 4)
        await settle()
        # The missed publications may include a grant, a job's result or an order
        assert scene.jane.wishes == 1
        assert sorted(scene.taken) == sorted(["text", RESTORE, COUNT])
        assert scene.moderation._states[CHANNEL] == ModerationState(6)


@virtual_time
async def test_after_a_lost_connection_jobs_in_flight_are_resent() -> None:
    async with Scene() as scene:
        scene.redis.taken.clear()
        scene.dispatcher.reports.reconnected()
        await settle()
        assert scene.taken == ["text"]
