"""History loader: reads the stored messages for a joiner, or those it has missed since its last connection."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gischat.broker.entries import Publication
from gischat.broker.history import History
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.cache import ReadPacer, SharedRead
from gischat.front.channel.join_buffer import JoinBuffer, JoinHistory, Member
from gischat.front.channel.recent_messages import RecentMessage, RecentMessages
from gischat.front.dispatch.stream_position import StreamPosition
from gischat.front.transport.frames import text_frame
from gischat.protocol.messages import id_of
from gischat.timings import Timings

log = logging.getLogger(__name__)


class HistoryLoader:
    """Loads histories for the joiners of one channel, which share reads."""

    def __init__(
        self,
        channel: str,
        history: History,
        joining: Mapping[Member, JoinBuffer],
        position: StreamPosition,
        recent: RecentMessages,
        replays: ReadPacer,
        promote: Callable[[JoinBuffer], None],
        timings: Timings,
    ) -> None:
        """
        Args:
            joining: the current joiners; nothing is read for those that have left.
            replays: the pace of replays, in all rooms together.
            promote: called when a joiner's snapshot or replay has been read.
        """
        self.stored = SharedRead(self._read_stored)
        self._channel = channel
        self._history = history
        self._joining = joining
        self._position = position
        self._recent = recent
        self._replays = replays
        self._promote = promote
        self._timings = timings
        self._retained = SharedRead(self._read_retained)

    def start(self, joiner: JoinBuffer) -> None:
        """Start loading a joiner's history."""
        asyncio.create_task(self._load(joiner)).add_done_callback(_log_failure)

    async def _load(self, joiner: JoinBuffer) -> None:
        joiner.replay = await self._replay_for(joiner)
        if joiner.replay is None:
            await self._load_stored(joiner)
        elif joiner.member in self._joining:
            self._promote(joiner)

    async def _load_stored(self, joiner: JoinBuffer) -> None:
        while joiner.member in self._joining and not joiner.has_history:
            epoch = self._position.epoch
            snapshot = await self._read_patiently(self.stored.get)
            await snapshot.make_frames()
            if epoch != self._position.epoch:
                continue  # it may be from the epoch before
            if joiner.member in self._joining:
                joiner.snapshot = snapshot
                self._promote(joiner)
            if not joiner.has_history:
                # Usually it is sent after the next delivery. But Redis may have lost messages in it.
                await asyncio.sleep(self._timings.retry)

    async def _replay_for(self, joiner: JoinBuffer) -> Sequence[bytes] | None:
        """The frames that a reconnecting client has missed so far; None if unknown."""
        after = joiner.after
        if after is None:
            return None
        if after not in self._recent and not self._recent.reaches_back:
            await self._read_patiently(lambda: self._retained.get(joins_current=True))
        size = self._recent.size_since(after)
        if size is not None:
            await self._replays.wait(size)
        return self._recent.since(after)

    async def _read_stored(self) -> JoinHistory:
        snapshot = await self._history.snapshot(self._channel)
        ours = [body for body in snapshot.history if id_of(body)]  # anybody may have written into Redis
        return JoinHistory(snapshot.offset, ours)

    async def _read_retained(self) -> JoinHistory:
        """Complete the recent messages, once, by those from before this front started."""
        while not self._recent.reaches_back:
            version = self._recent.version
            found = await self._history.retained(self._channel, self._recent.floor, self._recent.max_bytes)
            if version == self._recent.version:
                now = asyncio.get_running_loop().time()
                self._recent.extend_back(
                    RecentMessage(now - entry.age, entry.publication.id, _frame_for_everyone(entry.publication))
                    for entry in found
                )
        return JoinHistory(self._position.offset, [])

    async def _read_patiently(self, read: Callable[[], Awaitable[JoinHistory]]) -> JoinHistory:
        while self._joining:
            try:
                return await read()
            except Unavailable:
                log.debug("a history waits for redis", extra={"channel": self._channel})
            except RedisError as error:
                log.debug("a history could not be read: %s", error, extra={"channel": self._channel})
                await asyncio.sleep(self._timings.retry)
        return JoinHistory(0, [])  # no joiner waits any more


def _frame_for_everyone(publication: Publication) -> bytes:
    """The frame that everyone received; empty if there is none."""
    is_told = publication.is_broadcast and publication.body and publication.type != "nb_users"
    return text_frame(publication.body) if is_told else b""


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a history could not be read", exc_info=task.exception())
