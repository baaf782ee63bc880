"""What a joiner is told first: the stored messages, or what it has missed since it was here last."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from gischat.broker.entries import Publication
from gischat.broker.history import History
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.channel.cache import ReadPacer, SharedRead
from gischat.front.channel.join_buffer import JoinBuffer, JoinHistory, Member
from gischat.front.channel.recent_messages import RecentMessage, RecentMessages
from gischat.front.dispatch.stream_position import StreamPosition
from gischat.front.transport.frames import text_frame
from gischat.timings import Timings

log = logging.getLogger(__name__)


class HistoryLoader:
    """Reads for the joiners of one channel; those who join together share a read."""

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
            joining: who waits for it: nothing is read for those who have gone.
            replays: the pace of what is replayed, in all rooms together.
            promote: is called when a joiner's snapshot or replay has come.
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
        """Begins to load what a joiner is told first."""
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
            if epoch != self._position.epoch:
                continue  # it may have been read before
            if joiner.member in self._joining:
                joiner.snapshot = snapshot
                self._promote(joiner)
            if not joiner.has_history:
                # As a rule it comes with what is heard next. But Redis may have lost what is in it.
                await asyncio.sleep(self._timings.retry)

    async def _replay_for(self, joiner: JoinBuffer) -> bytes | None:
        """The frames that one that comes back has missed until now; None where that is not known."""
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
        return JoinHistory(snapshot.offset, snapshot.history)

    async def _read_retained(self) -> JoinHistory:
        """Completes the recent messages, once, by those of which this front has not heard, for it is young."""
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
        return JoinHistory(0, [])  # nobody waits for it any more


def _frame_for_everyone(publication: Publication) -> bytes:
    """Empty where there is none."""
    is_told = publication.is_broadcast and publication.body and publication.type != "nb_users"
    return text_frame(publication.body) if is_told else b""


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a history could not be read", exc_info=task.exception())
