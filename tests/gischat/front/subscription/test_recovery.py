"""Recovery: each report has its steps taken, in the order on which the promises rest. Time is virtual.

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
from gischat.broker.resp_errors import RedisError
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
    """Takes jobs of a front that it knows, and that has not heard more than it has published."""

    def __init__(self) -> None:
        super().__init__()
        self.is_known = True
        self.published = HEARD
        self.taken: list[Job] = []
        self.work: Callable[[Job], None] = lambda job: None  # what a worker does with what is taken, a moment later
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
    """It is made to read from an earlier place."""

    def reconnect(self) -> None: ...


class Registered(FakeMember):
    """Its nickname is registered by jobs of its own queue, as a connection's is."""

    job_queue: JobQueue
    address = "192.0.2.7"
    nickname = "jane"

    def restore_nickname(self) -> None:
        message = Message(RESTORE, new_id(), b"{}")
        self.job_queue.submit(message, lambda ending: None, bounded=False, is_ahead=True)


class Scene:
    """A front that has heard ten publications: jane has come, somebody's text is in flight."""

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
        self.dispatcher.complete(publication(HEARD, source=self.redis.jobs[-1].source))  # the count's end
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
        """Redis does; its workers do what comes from then on."""
        self.redis.lose_everything()
        self.redis.work = lambda job: self.dispatcher.complete(publication(1, b"{}", source=job.source))

    def publish(self, number: int) -> None:
        self.reader.publish(publication(number, said(f"words {number}")))

    @property
    def taken(self) -> list[str]:
        """The types of the jobs that Redis has taken, in order."""
        return [job.type for job in self.redis.taken]


async def recover(steps: Sequence[Step]) -> tuple[Scene, list[str]]:
    """Redis loses everything; while it is asked where its outbox begins, something comes that it published before.

    Returns the front after a second, and the jobs that Redis had taken then.
    """
    async with Scene(steps) as scene:
        scene.lose_everything()
        scene.dispatcher.reports.state_lost(CHANNEL)
        await pass_time(1.5 * LOOK)
        scene.publish(HEARD + 2)
        await pass_time(0.35)  # before what Redis refused is tried again
        return scene, scene.taken


def is_right(scene: Scene, taken: list[str]) -> bool:
    """What was said, then what was in flight, then how many are here and who: each once, and nothing was refused."""
    return (
        scene.redis.refused == 0
        and sorted(taken) == sorted(["newcomer", "text", COUNT, RESTORE])
        and taken.index("newcomer") < taken.index(RESTORE)
    )


@virtual_time
async def test_what_redis_has_lost_is_said_again() -> None:
    scene, taken = await recover(STATE_LOST)
    assert is_right(scene, taken), taken
    assert scene.redis.stored == ModerationState(5, Freeze(1, "anna"), ())
    assert scene.room.offset == HEARD + 2


def swapped(earlier: Step, later: Step) -> list[Step]:
    """The steps, with the later one right before the earlier one."""
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
async def test_in_another_order_something_goes_wrong(earlier: Step, later: Step) -> None:
    scene, taken = await recover(swapped(earlier, later))
    assert not is_right(scene, taken), taken


@pytest.mark.parametrize(
    "fault", [Unavailable("Redis is away."), ConnectionError(), RedisError("BUSY"), ZeroDivisionError()]
)
@virtual_time
async def test_what_could_not_be_recovered_is_recovered_when_it_is_noticed_again(fault: Exception) -> None:
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
async def test_a_loss_that_many_notice_is_recovered_once_and_not_any_more_when_the_leases_are_given_back() -> None:
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
async def test_what_was_missed_is_asked_for_and_said_again() -> None:
    async with Scene() as scene:
        scene.redis.taken.clear()
        scene.redis.stored = ModerationState(6)
        scene.redis.published += 3
        scene.publish(HEARD + 4)
        await settle()
        # A nickname that is waited for may have been granted, the end of a job or an order be among it
        assert scene.jane.wishes == 1
        assert sorted(scene.taken) == sorted(["text", RESTORE, COUNT])
        assert scene.moderation._states[CHANNEL] == ModerationState(6)


@virtual_time
async def test_after_a_lost_connection_what_is_in_flight_is_enqueued_again() -> None:
    async with Scene() as scene:
        scene.redis.taken.clear()
        scene.dispatcher.reports.reconnected()
        await settle()
        assert scene.taken == ["text"]
