"""A fake Redis and a fake client for tests of a front's parts, which answer as the test decides."""

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from websockets.frames import Frame
from websockets.streams import StreamReader

from gischat.broker.access_keys import AccessKey
from gischat.broker.entries import Job, Outcome, Publication, Source
from gischat.broker.history import Snapshot
from gischat.broker.inbox import EnqueueResult, EnqueueStatus, JobStatus
from gischat.broker.outbox import Entry, Tail
from gischat.protocol.messages import Lane, Message, new_id

FRONT = "front-1"
CHANNEL = "QGIS"

ENQUEUED, FULL, STATE_LOST, DAMAGED = (
    EnqueueResult(EnqueueStatus(status)) for status in ("enqueued", "full", "state_lost", "damaged")
)


@dataclass(slots=True)
class Asked:
    """An enqueued job: the test gives Redis's answer."""

    channel: str
    lane: Lane
    job: Job
    taken: "asyncio.Future[EnqueueResult]"
    preceding: str = ""

    def answer(self, answer: EnqueueResult | Exception) -> None:
        if isinstance(answer, Exception):
            self.taken.set_exception(answer)
        else:
            self.taken.set_result(answer)


@dataclass(slots=True)
class Inquired:
    """A query of a job's status: the test sets Redis's answer in `found`."""

    job: Job
    place: bytes
    cancels_to: int | None
    found: "asyncio.Future[JobStatus]"


class FakeBroker:
    """In place of a `Broker` and all of its parts.

    Jobs are enqueued at once, or without `answers`, when the test decides.
    """

    def __init__(self, *, answers: bool = True) -> None:
        self.front = FRONT
        self.inbox = self.outbox = self.history = self.presence = self.moderation = self
        self.answers = answers
        self.enqueued: list[Asked] = []
        self.newest: Entry | None = None  # publication
        self.inquiries: list[Inquired] = []
        self.snapshots: list[asyncio.Future[Snapshot]] = []  # requested by the front
        self.retentions: list[asyncio.Future[list[Entry]]] = []

    @property
    def jobs(self) -> list[Job]:
        return [asked.job for asked in self.enqueued]

    def enqueue(
        self, channel: str, lane: Lane, job: Job, heard: int, preceding: str = "", *, again: bool = False
    ) -> "asyncio.Future[EnqueueResult]":
        taken: asyncio.Future[EnqueueResult] = asyncio.get_running_loop().create_future()
        if self.answers:
            taken.set_result(ENQUEUED)
        self.enqueued.append(Asked(channel, lane, job, taken, preceding))
        return taken

    async def job_status(
        self, channel: str, lane: Lane, job: Job, place: bytes, heard: int, cancels_to: int | None = None
    ) -> JobStatus:
        self.inquiries.append(Inquired(job, place, cancels_to, asyncio.get_running_loop().create_future()))
        return await self.inquiries[-1].found

    async def find_damage(self, channels: Iterable[str]) -> dict[str, list[str]]:
        return {}

    async def snapshot(self, channel: str) -> Snapshot:
        self.snapshots.append(asyncio.get_running_loop().create_future())
        return await self.snapshots[-1]

    async def retained(self, channel: str, up_to: int, max_bytes: int) -> list[Entry]:
        self.retentions.append(asyncio.get_running_loop().create_future())
        return await self.retentions[-1]

    async def tail(self, channel: str, number: int) -> Tail:
        return Tail(self.newest, {}, math.inf)

    async def last_entry(self, channel: str) -> Entry | None:
        return self.newest


class FakeOutbox:
    """In place of an `OutboxReader`: publications of one call of `publish` are read at once."""

    def __init__(self) -> None:
        self.channels = [CHANNEL]
        self._unread: deque[list[Publication]] = deque()
        self._something_to_read = asyncio.Event()

    def publish(self, *publications: Publication) -> None:
        self._unread.append(list(publications))
        self._something_to_read.set()

    async def read(
        self, positions: Mapping[str, bytes], wait: float | None = None
    ) -> Sequence[tuple[str, list[Entry]]]:
        while not self._unread:
            self._something_to_read.clear()
            await self._something_to_read.wait()
        return [(CHANNEL, [Entry(b"%d-0" % one.offset, one) for one in self._unread.popleft()])]

    def reconnect(self) -> None:
        raise AssertionError("this reader is not deaf")


@dataclass(eq=False)
class FakeMember:
    """In place of a `ClientConnection`: records what is sent to it."""

    id: int
    is_draining: bool = False
    written: list[bytes] = field(default_factory=list)
    closed_with: list[tuple[int, str]] = field(default_factory=list)
    wishes: int = 0  # the number of requests to renew its wish for a nickname
    told: list[str] = field(default_factory=list)  # the texts sent before it was closed
    access_key: AccessKey | None = None

    is_ready = True
    is_event_stream = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def send_now(self, data: bytes) -> int:
        self.write(data)
        return len(data)

    def close(self, code: int, reason: str, told: str = "") -> None:
        self.closed_with.append((code, reason))
        self.told.append(told or reason)

    def kick(self, code: int, reason: str, told: str = "") -> None:
        self.close(code, reason, told)

    def restore_nickname(self) -> None: ...

    def grant_nickname(self, newcomer: bytes) -> None: ...
    def retry_nickname(self) -> None:
        self.wishes += 1

    def received(self) -> list[str]:
        """The texts of the messages sent to it, in order: those made by `said`, or the reason of a refusal."""
        messages = [msgspec.json.decode(frame.data) for frame in frames_in(b"".join(self.written))]
        return [message["reason"] if message["type"] == "uncompliant" else message["said"] for message in messages]


def message(text: str = "hello", *, type: str = "text", size: int = 0) -> Message:
    """A message of a client, `size` bytes long if that is given."""
    body = msgspec.json.encode({"type": type, "text": text})
    return Message(type, new_id(), body.ljust(size))


def said(words: str, *, type: str = "text", id: str | None = None) -> bytes:
    """A message as a worker publishes it."""
    return msgspec.json.encode({"type": type, "id": id or new_id(), "timestamp": 1_700_000_000, "said": words})


def publication(
    number: int,
    body: bytes = b"",
    *,
    type: str = "text",
    source: Source | None = None,
    outcome: Outcome = Outcome.PUBLISHED,
    to: str = "",
) -> Publication:
    """The publication of a channel with the offset `number`, with a message or an empty body."""
    id = str(msgspec.json.decode(body).get("id", "")).encode() if body else b""
    return Publication(offset=number, source=source, outcome=outcome, to=to, type=type, id=id, body=body)


def frames_in(data: bytes) -> list[Frame]:
    """Parse whole frames like a client: they must not be masked (RFC 6455 §5.1)."""
    reader, frames = StreamReader(), list[Frame]()
    reader.feed_data(data)
    while reader.buffer:
        try:
            next(Frame.parse(reader.read_exact, mask=False))
        except StopIteration as parsed:
            frames.append(parsed.value)
        else:
            raise AssertionError("the last frame is not whole")
    return frames
