"""The dispatcher: a connection's messages are enqueued one at a time, and each sender gets one result per message."""

import asyncio
import gc
from functools import partial
from typing import Any, cast

import msgspec
import pytest

from gischat.broker.entries import HEARTBEAT, Job, Outcome, Source
from gischat.broker.inbox import EnqueueResult, JobState, JobStatus
from gischat.broker.resp_errors import ResponseError
from gischat.errors import RefusalReason, Unavailable
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_queue import MESSAGE_LOST, JobQueue
from gischat.front.dispatch.job_result import JobResult
from gischat.front.limits.admission import ADDRESS_FULL, CONNECTION_FULL, LARGE_BYTES, SERVER_FULL
from gischat.protocol.messages import Message
from tests.gischat.front.fakes import (
    CHANNEL,
    DAMAGED,
    ENQUEUED,
    FULL,
    STATE_LOST,
    FakeBroker,
    Inquired,
    message,
    publication,
)
from tests.support.contract import check
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, settle, virtual_time

PUBLISHED = JobResult(Outcome.PUBLISHED, b"{}")


class Scene:
    """A front's dispatcher with a fake Redis that answers as the test decides."""

    def __init__(self, *, answers: bool = True, **limits: int) -> None:
        self.broker = cast("Any", FakeBroker(answers=answers))
        self.dispatcher = Dispatcher(self.broker, settings(**limits))
        self.results: list[tuple[Message, JobResult]] = []  # in the order of completion

    def open(self) -> JobQueue:
        return self.dispatcher.open(CHANNEL)

    def submit(self, job_queue: JobQueue, *messages: Message, bounded: bool = True) -> None:
        for one in messages:
            job_queue.submit(one, partial(self._record, one), bounded=bounded)

    def _record(self, message: Message, ending: JobResult) -> None:
        self.results.append((message, ending))

    def end(self, job: Job | Source, outcome: Outcome = Outcome.PUBLISHED, body: bytes = b"{}") -> None:
        """Deliver the publication of a job's result, as a worker publishes it."""
        source = job.source if isinstance(job, Job) else job
        self.dispatcher.complete(publication(1, body, source=source, outcome=outcome))

    def jobs(self) -> list[bytes]:
        """The bodies of the enqueued jobs, in order."""
        return [job.body for job in self.broker.jobs]

    def ended(self) -> list[Message]:
        return [one for one, _ in self.results]

    def refusals(self) -> list[str]:
        """The reasons of refusals, each of whose messages is checked against the contract."""
        bodies = [msgspec.json.decode(ending.body) for _, ending in self.results if ending.is_refusal]
        for body in bodies:
            check(body)
        return [body["reason"] for body in bodies]


# One at a time, in order, and not too many


@virtual_time
async def test_the_precondition_of_an_enqueued_message_is_not_checked_at_a_replay() -> None:
    """Its sender would otherwise get a refusal of a published message."""
    scene = Scene()
    job_queue = scene.open()
    objections = iter([None, "Not yours any more."])
    one = message()
    job_queue.submit(one, partial(scene._record, one), precondition=lambda: next(objections))
    scene.dispatcher.replay(CHANNEL, 0.0)
    assert scene.jobs() == [one.body, one.body]
    assert scene.refusals() == []


@pytest.mark.parametrize("limits", [{"max_waiting_messages": 2}, {"max_waiting_bytes": 1000}], ids=["number", "bytes"])
@virtual_time
async def test_messages_beyond_the_limit_of_pending_ones_are_refused_and_no_others(limits: dict[str, int]) -> None:
    # Given one message in flight and as many pending ones as allowed
    scene = Scene(**limits)
    job_queue = scene.open()
    first, *others, last, own = [message(str(number), size=500) for number in range(5)]
    scene.submit(job_queue, first, *others)
    assert scene.jobs() == [first.body]
    # When one more is submitted, it is refused
    with pytest.raises(Unavailable) as refused:
        scene.submit(job_queue, message(size=500))
    assert refused.value.reason == CONNECTION_FULL[0]
    # Then there is room for one as soon as one has ended, and always for the front's own
    scene.end(scene.broker.jobs[0])
    scene.submit(job_queue, last)
    with pytest.raises(Unavailable):
        scene.submit(job_queue, message(size=500))
    scene.submit(job_queue, own, bounded=False)
    for _ in range(4):
        scene.end(scene.broker.jobs[-1])
    assert scene.ended() == [first, *others, last, own]


@pytest.mark.parametrize("answer", [ENQUEUED, FULL], ids=["taken", "refused"])
@virtual_time
async def test_what_is_large_counts_until_redis_has_taken_or_refused_it(answer: EnqueueResult) -> None:
    # Given a front whose budget is that of ten photos, and five of one address on their way, each of a connection
    size = 2 * LARGE_BYTES
    scene = Scene(answers=False, max_front_bytes=10 * size)
    for _ in range(5):
        scene.submit(scene.dispatcher.open(CHANNEL, "192.0.2.1"), message(type="image", size=size))
    # When another comes from there, it is refused; a short text is not counted at all
    another = scene.dispatcher.open(CHANNEL, "192.0.2.1")
    with pytest.raises(Unavailable) as refused:
        scene.submit(another, message(type="image", size=size))
    assert (refused.value.reason, refused.value.cause) == ADDRESS_FULL
    scene.submit(scene.dispatcher.open(CHANNEL, "192.0.2.1"), message("a text"))
    assert scene.dispatcher.admission.used == 5 * size
    # Then there is room again when Redis has answered for one, though that has not ended
    scene.broker.enqueued[0].answer(answer)
    await settle()
    assert scene.dispatcher.admission.used == 4 * size
    scene.submit(another, message(type="image", size=size))
    # And when all have ended, nothing is held
    for asked in scene.broker.enqueued[1:]:
        asked.answer(ENQUEUED)
        scene.end(asked.job)
    await settle()
    assert scene.dispatcher.admission.used == 0


@virtual_time
async def test_what_is_said_again_counts_as_long_as_redis_has_not_taken_it() -> None:
    # Given a photo that is on its way when Redis loses something, and another behind it
    size = 2 * LARGE_BYTES
    scene = Scene(answers=False)
    job_queue = scene.open()
    scene.submit(job_queue, *(message(type="image", size=size) for _ in range(2)))
    scene.broker.enqueued[0].answer(STATE_LOST)
    await settle()
    assert scene.dispatcher.admission.used == 2 * size
    # When it is said again, and taken, then both have their turn, and nothing is held
    scene.dispatcher.replay(CHANNEL, since=0)
    for number, held in ((1, size), (2, 0)):
        scene.broker.enqueued[number].answer(ENQUEUED)
        await settle()
        assert scene.dispatcher.admission.used == held
        scene.end(scene.broker.jobs[number])
    assert scene.dispatcher.are_idle


@pytest.mark.parametrize("answer", [ENQUEUED, FULL], ids=["taken", "refused"])
@virtual_time
async def test_small_messages_count_while_redis_does_not_answer(answer: EnqueueResult) -> None:
    # Given a front that is full of texts, each of a connection, and a Redis that hangs
    scene = Scene(answers=False, max_front_bytes=2**20)
    texts = [message(size=60_000) for _ in range(17)]
    for text in texts:
        scene.submit(scene.open(), text)
    # When another comes, it is refused, but nothing of the front's own
    with pytest.raises(Unavailable) as refused:
        scene.submit(scene.open(), message(size=60_000))
    assert (refused.value.reason, refused.value.cause) == SERVER_FULL
    scene.submit(scene.open(), message(HEARTBEAT, size=60_000), bounded=False)
    # Then there is room again when Redis answers
    for asked in scene.broker.enqueued:
        asked.answer(answer)
    await settle()
    assert scene.dispatcher.admission.used == 0


@virtual_time
async def test_the_job_of_a_closed_queue_counts_until_redis_has_it() -> None:
    """Its upload may wait, with all its bytes, long after its sender has stopped waiting for the result."""
    scene = Scene(answers=False)
    job_queue = scene.open()
    scene.submit(job_queue, message(type="image", size=2 * LARGE_BYTES))
    scene.dispatcher.close(job_queue)
    assert scene.dispatcher.admission.used == 2 * LARGE_BYTES
    scene.broker.enqueued[0].answer(ENQUEUED)
    await settle()
    assert scene.dispatcher.admission.used == 0


# Jobs that Redis does not accept


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (FULL, SERVER_FULL[0]),
        (Unavailable("Redis has gone fishing."), "Redis has gone fishing."),
        (ZeroDivisionError("a bug of ours"), SERVER_FULL[0]),
    ],
)
@virtual_time
async def test_a_job_that_redis_does_not_accept_is_a_refusal_and_the_next_is_enqueued(
    answer: EnqueueResult | Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(answers=False)
    first, second = message("1"), message("2")
    scene.submit(scene.open(), first, second)
    scene.broker.enqueued[0].answer(answer)
    await settle()
    assert scene.ended() == [first]
    assert scene.refusals() == [f"{reason} Your text: '1'"]
    assert scene.jobs() == [first.body, second.body]
    assert ("a bug of ours" in caplog.text) == isinstance(answer, ZeroDivisionError)


@virtual_time
async def test_after_a_refusal_of_a_closed_connection_its_pending_messages_are_refused_too() -> None:
    """Its client did not receive the refusal, and resends all messages without a result."""
    scene = Scene(answers=False)
    job_queue = scene.open()
    first, second = message("first", type="crs"), message("second", type="crs")
    scene.submit(job_queue, first, second)
    job_queue.is_abandoned = True
    scene.broker.enqueued[0].answer(Unavailable("Redis is away"))
    await settle()
    assert scene.jobs() == [first.body]
    assert scene.refusals() == ["Redis is away", "Redis is away"]
    # A message submitted later, such as the connection's `leave`, is enqueued
    scene.submit(job_queue, leave := message("leave", type="leave"))
    assert scene.jobs() == [first.body, leave.body]


# Late, unknown and duplicate results


@virtual_time
@pytest.mark.parametrize("answer", [ENQUEUED, FULL, Unavailable("too late"), ZeroDivisionError("too late")])
async def test_a_result_may_arrive_before_redis_confirms_the_job(answer: EnqueueResult | Exception) -> None:
    # Given a job whose result arrives first
    scene = Scene(answers=False)
    job_queue = scene.open()
    first, second = message("1"), message("2")
    scene.submit(job_queue, first, second)
    scene.end(scene.broker.jobs[0])
    # When Redis's answer arrives, whatever it is
    scene.broker.enqueued[0].answer(answer)
    await settle()
    # Then it completes neither that job again nor the next
    assert scene.results == [(first, PUBLISHED)]
    scene.end(scene.broker.jobs[1])
    assert scene.results == [(first, PUBLISHED), (second, PUBLISHED)]


@virtual_time
async def test_a_reopened_queue_returns_results() -> None:
    scene = Scene()
    job_queue = scene.open()
    scene.dispatcher.close(job_queue)
    scene.dispatcher.reopen(job_queue)
    scene.submit(job_queue, one := message("late"))
    scene.end(scene.broker.jobs[-1])
    assert scene.results == [(one, PUBLISHED)]


# Jobs in flight are watched


class Watched(Scene):
    """A scene with one message in flight, whose result does not arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.timings = self.dispatcher.timings
        self.dispatcher.positions[CHANNEL].offset = 7
        self.job_queue = self.open()
        self.message = message("hello")
        self.submit(self.job_queue, self.message)
        self.running = asyncio.create_task(self.dispatcher.run())

    async def asked(self) -> Inquired:
        """Wait for the next query of its status."""
        number = len(self.broker.inquiries)
        while len(self.broker.inquiries) == number:
            await pass_time(self.timings.overdue / 4)
        return cast("Inquired", self.broker.inquiries[-1])

    async def found(self, state: JobState, published: int = 7) -> Inquired:
        """Answer the next query of its status."""
        inquired = await self.asked()
        inquired.found.set_result(JobStatus(state, published))
        await settle()
        return inquired


@virtual_time
async def test_a_job_pending_in_its_inbox_is_never_resent() -> None:
    scene = Watched()
    for _ in range(10):
        inquired = await scene.found(JobState.PENDING)
        assert (inquired.job, inquired.cancels_to) == (scene.broker.jobs[0], None)
    assert (len(scene.broker.jobs), scene.results) == (1, [])


@virtual_time
async def test_a_missing_job_is_resent_when_all_publications_are_received() -> None:
    scene = Watched()
    # Given a missing job, and publications not yet received, which may contain its result
    await scene.found(JobState.MISSING, published=8)
    assert len(scene.broker.jobs) == 1
    # When they are received
    scene.dispatcher.positions[CHANNEL].offset = 8
    await scene.found(JobState.MISSING, published=8)
    # Then it is resent, and completed
    assert scene.broker.jobs == [scene.broker.jobs[0]] * 2
    scene.end(scene.broker.jobs[-1])
    assert scene.results == [(scene.message, PUBLISHED)]


@pytest.mark.parametrize("answer", [FULL, DAMAGED, ResponseError("WRONGTYPE")])
@virtual_time
async def test_the_sender_of_a_lost_job_gets_a_refusal_within_the_time_limit(
    answer: EnqueueResult | Exception,
) -> None:
    scene = Watched()
    follower = message("behind it")
    scene.submit(scene.job_queue, follower)
    began = asyncio.get_running_loop().time()
    # Given a missing job that cannot be resent
    scene.broker.answers = False
    await scene.found(JobState.MISSING)
    while scene.broker.inquiries[-1].cancels_to is None:
        asked = len(scene.broker.inquiries)
        while len(scene.broker.inquiries) == asked:
            for again in scene.broker.enqueued:
                if not again.taken.done():
                    again.answer(answer)
            await pass_time(0.1)
        assert scene.results == []
        if scene.broker.inquiries[-1].cancels_to is None:
            scene.broker.inquiries[-1].found.set_result(JobStatus(JobState.MISSING, 7))
            await settle()
    # When the dispatcher cancels it, nothing is enqueued until Redis answers
    assert scene.broker.inquiries[-1].cancels_to == 7
    number = len(scene.broker.jobs)
    await pass_time(2 * scene.timings.resend)
    assert len(scene.broker.jobs) == number
    scene.broker.inquiries[-1].found.set_result(JobStatus(JobState.CANCELLED, 7))
    await settle()
    # Then its sender gets a refusal in time, and the next message is enqueued
    assert [reason.partition(" Your")[0] for reason in scene.refusals()] == [MESSAGE_LOST]
    assert scene.results[0][1].refusal_reason is RefusalReason.MESSAGE_LOST
    assert asyncio.get_running_loop().time() - began < scene.timings.light_end
    assert scene.broker.jobs[-1].body == follower.body


@virtual_time
async def test_a_failed_status_query_is_retried() -> None:
    scene = Watched()
    (await scene.asked()).found.set_exception(ResponseError("BUSY"))
    await scene.found(JobState.PENDING)
    assert (len(scene.broker.jobs), scene.results) == (1, [])


# Resending jobs that may be lost


@virtual_time
async def test_only_confirmed_jobs_of_the_channel_are_resent() -> None:
    scene = Scene()
    elsewhere = scene.dispatcher.open("Geotribu")
    scene.submit(scene.open(), message("here"))
    scene.submit(elsewhere, message("elsewhere"), message("pending"))
    await settle()
    scene.broker.answers = False
    scene.submit(scene.dispatcher.open("Geotribu"), message("unconfirmed"))
    scene.dispatcher.resend_in_flight("Geotribu")
    assert [msgspec.json.decode(body)["text"] for body in scene.jobs()[2:]] == ["unconfirmed", "elsewhere"]
    assert scene.broker.jobs[1] == scene.broker.jobs[3]


@virtual_time
@pytest.mark.parametrize("is_again", [False, True])
async def test_an_error_of_redis_after_the_result_is_ignored(is_again: bool) -> None:
    """If nothing awaited it, asyncio would log "exception was never retrieved" with a traceback."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, fault: faults.append(fault))
    scene = Scene(answers=is_again)
    scene.submit(scene.open(), message())
    await settle()
    scene.broker.answers = False
    if is_again:
        scene.dispatcher.resend_in_flight()
    scene.end(scene.broker.jobs[0])
    scene.broker.enqueued[-1].answer(Unavailable("Redis is away"))
    await settle()
    scene.broker.enqueued.clear()
    gc.collect()
    assert faults == []


# A Redis that has lost data


@virtual_time
@pytest.mark.parametrize("ended", [1, 2])
async def test_messages_of_closed_connections_are_replayed_too(ended: int) -> None:
    """Also with a job in flight; the queue is closed again after the replay."""
    scene = Scene()
    job_queue = scene.open()
    scene.submit(job_queue, message("1"), message("2"))
    for _ in range(ended):
        scene.end(scene.broker.jobs[-1])
    scene.dispatcher.close(job_queue)
    scene.dispatcher.replay(CHANNEL, since=0)
    for _ in range(2):
        scene.end(scene.broker.jobs[-1])
    assert [msgspec.json.decode(body)["text"] for body in scene.jobs()] == ["1", "2", "1", "2"]
    assert scene.dispatcher.are_idle
    assert not scene.dispatcher.is_open(job_queue.id)


@virtual_time
async def test_a_job_names_the_message_that_redis_must_not_have_lost() -> None:
    # Given a connection with a published and a refused message, and one in flight
    scene = Scene()
    job_queue = scene.open()
    first, *others, late = [message(str(number)) for number in range(4)]
    scene.submit(job_queue, first, *others)
    for outcome in (Outcome.PUBLISHED, Outcome.REFUSED):
        scene.end(scene.broker.jobs[-1], outcome)
    # When they are replayed, and another one comes much later
    scene.dispatcher.replay(CHANNEL, since=0)
    for _ in range(2):
        scene.end(scene.broker.jobs[-1])
    await pass_time(scene.dispatcher.timings.replay)
    scene.submit(job_queue, late)
    # Then each names the last one published before it, as long as that would be replayed, but none that was lost
    assert [asked.preceding for asked in scene.broker.enqueued] == ["", first.id, first.id, "", first.id, ""]


@virtual_time
async def test_a_stopping_front_does_not_refuse_replayed_messages() -> None:
    # Given a completed message and one in flight, which are replayed before a pending one
    scene = Scene()
    scene.submit(scene.open(), *(message(str(number)) for number in range(3)))
    scene.end(scene.broker.jobs[0])
    scene.dispatcher.replay(CHANNEL, since=0)
    # When the front stops
    scene.dispatcher.reject_pending(Unavailable("No."))
    for _ in range(2):
        scene.end(scene.broker.jobs[-1])
    # Then only the pending one is refused
    assert [ending.outcome for _, ending in scene.results] == [Outcome.PUBLISHED, Outcome.REFUSED, Outcome.PUBLISHED]
    assert scene.dispatcher.are_idle
    assert scene.dispatcher.admission.used == 0
