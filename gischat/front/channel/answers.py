"""The HTTP answers about a channel, cached: its users, its stored messages, and their features."""

from weakref import WeakValueDictionary

import msgspec

from gischat.broker.broker import Broker
from gischat.front.channel.cache import CachedAnswer, CachedBody, ReadPacer, SharedRead
from gischat.front.channel.deduplicator import PRESENCE_TYPES
from gischat.front.channel.join_buffer import JoinHistory
from gischat.protocol import places
from gischat.timings import Timings


class ChannelAnswers:
    """Answers about one channel; none is older than what this front has delivered there."""

    def __init__(
        self, channel: str, broker: Broker, stored: SharedRead[JoinHistory], pace: ReadPacer | None, timings: Timings
    ) -> None:
        """
        Args:
            stored: the read of the stored messages.
            pace: the pace of large reads, in all channels together.
        """
        self._channel = channel
        self._broker = broker
        self._stored = stored
        self._pace = pace
        self._places = SharedRead(lambda: broker.history.places(channel))
        self._places_bytes = 0  # of the last read
        self._messages = WeakValueDictionary[str, SharedRead[CachedBody | None]]()  # those that are requested now
        self.last = CachedAnswer(self._encode_last, pace, timings.answer_kept)
        self.users = CachedAnswer(self._encode_users, seconds=timings.answer_kept)
        self.features = CachedAnswer(self._encode_features, pace, timings.answer_kept)

    def invalidate(self, type: str) -> None:
        """Invalidate the answers that a publication of that type changes."""
        self.last.invalidate()
        self.features.invalidate()
        if type in PRESENCE_TYPES:
            self.users.invalidate()

    async def message(self, id: str) -> CachedBody | None:
        """A stored message; None if it is not stored (any more). Who ask for it together share it: it may be large."""
        read = self._messages.get(id)
        if read is None:
            read = self._messages[id] = SharedRead(lambda: self._read_message(id))
        return await read.get()

    async def chosen_features(self, wanted: places.Wanted) -> bytes:
        """The selected features of the stored messages, as GeoJSON."""
        if self._pace is not None:
            await self._pace.wait(self._places_bytes)
        return await self._encode_features(wanted)

    async def _read_message(self, id: str) -> CachedBody | None:
        body = await self._broker.history.message(self._channel, id)
        return None if body is None else await CachedBody.of(body)

    async def _encode_last(self) -> bytes:
        # The messages are stored as JSON, so nothing is decoded; they may be large, so they are copied only once.
        separated = [part for body in (await self._stored.get()).history for part in (b",", body)]
        return b"".join([b"[", *separated[1:], b"]"])

    async def _encode_features(self, wanted: places.Wanted = places.ALL) -> bytes:
        stored = await self._places.get()
        self._places_bytes = sum(map(len, stored))
        return places.collection(map(places.decode, stored), wanted)

    async def _encode_users(self) -> bytes:
        nicknames = await self._broker.presence.nicknames(self._channel)
        return msgspec.json.encode(sorted(nicknames, key=lambda name: (name.casefold(), name)))
