"""A job whose answer from Redis was lost may be enqueued: its sender is not refused, whatever Redis answers next."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from gischat.broker.broker import Broker
from gischat.broker.client import TOO_BUSY
from gischat.broker.discovery import connect
from gischat.broker.entries import Outcome, Source
from gischat.broker.namespace import Namespace
from gischat.broker.scripts import CHUNK_BYTES
from gischat.errors import RefusalReason
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_result import JobResult
from gischat.protocol.messages import Message
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, message, publication
from tests.support.scripted_redis import CLOSE, HANDSHAKE, Reply, ScriptedServer, is_handshake
from tests.support.settings import settings

DEADLINE = 20.0  # seconds; only a test that fails waits that long

pytestmark = pytest.mark.usefixtures("io_loop")

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
BUSY = b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"
STATES = [
    OOM,
    BUSY,
    b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
    b"-NOREPLICAS Not enough good replicas to write.\r\n",
    b"-NOPERM User gischat has no permissions to run the 'evalsha' command\r\n",
    b"-CLUSTERDOWN The cluster is down\r\n",
    b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
]
ELSEWHERE = [
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
]
NOT_TAKEN = [b"+full\r\n", b"+frozen\r\n", b"+address_queue_full\r\n"]


# Retries are much sooner than in production.
IMPATIENT = Timings(redis_command_timeout=0.5, redis_retry=0.01, resend=0.01)


class Scene:
    """A front's dispatcher with a Redis that answers enqueues one by one, as the test decides."""

    def __init__(self, answers: list[Reply]) -> None:
        self.server = ScriptedServer(self._reply)
        self.endings: list[JobResult] = []
        self._answers = answers

    def _reply(self, connection: int, command: list[bytes]) -> Reply | str:
        if is_handshake(command) or command[0] == b"SET":
            return HANDSHAKE
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.server.serving() as url, connect(url, name="test-front", timings=IMPATIENT) as redis:
            broker = Broker.of(Namespace(settings(), IMPATIENT), "front-1", redis)
            self._dispatcher = Dispatcher(broker, settings(), IMPATIENT)
            yield

    def submit(self, *messages: Message) -> None:
        job_queue = self._dispatcher.open(CHANNEL)
        self.source = f"front-1/{job_queue.id}/1".encode()
        for one in messages:
            job_queue.submit(one, self.endings.append)

    def enqueued(self) -> int:
        return sum(self.source in command for _, command in self.server.commands)

    def publish(self) -> None:
        """Complete the first job, like a worker."""
        self._dispatcher.complete(publication(1, b"{}", source=Source.parse(self.source)))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("size", [0, CHUNK_BYTES + 1])
@pytest.mark.parametrize("said", [*STATES, *ELSEWHERE, *NOT_TAKEN])
async def test_a_message_that_may_be_published_is_not_refused(said: bytes, size: int) -> None:
    # Given a job that Redis accepts, whose answer is lost, and later answers that refuse it
    scene = Scene([CLOSE, said, said, b"+enqueued\r\n"])
    async with scene.running():
        scene.submit(message(type="image" if size else "text", size=size))
        # When Redis finally confirms it
        await until(lambda: scene.enqueued() >= 4)
        assert scene.endings == []
        scene.publish()
        # Then its sender gets one result
        assert [ending.outcome for ending in scene.endings] == [Outcome.PUBLISHED]


@pytest.mark.parametrize("said", [*STATES, *ELSEWHERE])
async def test_an_error_of_redis_is_reported_to_each_sender_and_logged_once_a_minute(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene([said])
    async with scene.running():
        scene.submit(*(message(str(number)) for number in range(3)))
        await until(lambda: len(scene.endings) == 3)
    reasons = [msgspec.json.decode(ending.body)["reason"] for ending in scene.endings]
    assert reasons == [f"{TOO_BUSY} Your text: '{number}'" for number in range(3)]
    assert {ending.refusal_reason for ending in scene.endings} == {RefusalReason.REDIS_UNAVAILABLE}
    assert not any(record.exc_info for record in caplog.records)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "redis answers with an error" in told
    assert said.split()[-1].decode() in told
