"""A job whose answer from Redis was lost may be enqueued: its sender is not refused, whatever Redis answers next."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gischat.broker.broker import Broker
from gischat.broker.discovery import connect
from gischat.broker.entries import Outcome, Source
from gischat.broker.namespace import Namespace
from gischat.broker.scripts import CHUNK_BYTES
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.job_result import JobResult
from gischat.protocol.messages import Message
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, message, publication
from tests.support.scripted_redis import CLOSE, HANDSHAKE, Reply, ScriptedServer, is_handshake
from tests.support.settings import settings
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("io_loop")

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
ELSEWHERE = b"-READONLY You can't write against a read only replica.\r\n"
FULL = b"+full\r\n"


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


@pytest.mark.parametrize("size", [0, CHUNK_BYTES + 1])
@pytest.mark.parametrize("said", [OOM, ELSEWHERE, FULL])
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
