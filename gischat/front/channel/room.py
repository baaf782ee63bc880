"""Rooms: the connections of a channel on this front, and delivery to them."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gischat.broker.broker import Broker
from gischat.broker.entries import NICKNAMES, STATE_LOST, Outcome, Publication
from gischat.front.auth.bans import Bans
from gischat.front.channel.answers import ChannelAnswers
from gischat.front.channel.cache import ReadPacer
from gischat.front.channel.deduplicator import Deduplicator
from gischat.front.channel.fanout import Fanout
from gischat.front.channel.join_buffer import JoinBuffer, Member
from gischat.front.channel.joining import Joining
from gischat.front.channel.live_positions import LivePositions
from gischat.front.channel.local_nicknames import LocalNicknames
from gischat.front.channel.recent_messages import RecentMessages
from gischat.front.channel.throttle import Throttle
from gischat.front.channel.user_count import UserCount
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.stream_position import Continuity
from gischat.front.transport.frames import joined, text_frame
from gischat.observability import metrics
from gischat.observability.metrics import BufferedCounter
from gischat.protocol.messages import id_of, uncompliant
from gischat.timings import Timings

log = logging.getLogger(__name__)

REPLAYED_BYTES_PER_SECOND = 100e6  # to reconnecting clients: a tenth of this process' time

GAP = "The server was cut off for a moment: some messages may be missing."


class _Count(msgspec.Struct):
    nb_users: int = 0


class Room:
    """A channel's connections on this front."""

    def __init__(
        self,
        channel: str,
        broker: Broker,
        dispatcher: Dispatcher,
        pace: ReadPacer | None = None,
        recent: RecentMessages | None = None,
        replays: ReadPacer | None = None,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            pace: the pace of histories requested over HTTP, in all rooms together.
            recent: an empty replay buffer.
            replays: the pace of replays, in all rooms together.
        """
        self.channel = channel
        self.timings = timings
        self.user_count = UserCount(channel, dispatcher, timings)
        self.connections: dict[int, Member] = {}  # all, including joiners, by id
        self.fanout = Fanout()  # those that have joined completely
        self.bans = Bans()
        self.on_count: Callable[[], None] = lambda: None  # called for every received count
        self._position = dispatcher.positions[channel]
        self.caught_up_at = _now()  # everything published until then has been received
        self._deduplicator = Deduplicator(timings.seen)
        self._dispatcher = dispatcher
        self._newest_count: bytes | None = None
        self._counts = Throttle(timings.count, self._deliver_count)
        self._total_users = 0  # over all fronts, from the newest count
        self.recent = recent or RecentMessages(timings=timings)
        self.received_bytes = BufferedCounter(metrics.RECEIVED_BYTES.labels(channel))
        self._sent_bytes = BufferedCounter(metrics.SENT_BYTES.labels(channel))
        self._delivered = BufferedCounter(metrics.DELIVERIES.labels(channel))
        self.live = LivePositions(timings)
        self.live.on_sent = self._count
        self._joining = Joining(
            channel,
            broker.history,
            self._position,
            self._deduplicator,
            self.recent,
            self.user_count,
            replays or ReadPacer(REPLAYED_BYTES_PER_SECOND),
            self._admit,
            self._sent_bytes,
            timings,
        )
        self.stored = self._joining.stored
        self.answers = ChannelAnswers(channel, broker, self.stored, pace, timings)
        self.nicknames = LocalNicknames(channel, self.connections, dispatcher, self.has_seen)
        # Handlers of control messages, by type; moderation and challenges add theirs.
        self.control_handlers: dict[str, Callable[[bytes], None]] = {
            STATE_LOST: lambda _: self._announce_loss(),
            NICKNAMES: self.nicknames.restore,
        }
        self._entered = metrics.CONNECTIONS.labels(channel).inc
        self._missed = metrics.PUBLICATIONS_MISSED.labels(channel).inc

    def join(self, member: Member, after: str | None = None) -> None:
        """Add a connection: it receives the history, the next count that includes it, and all later messages.

        With `after`, the id of the last message that the client has, it receives the messages after that one instead of
        the history; if they are not retained, an `uncompliant` that says so, then the history.
        """
        self.connections[member.id] = member
        self._entered()
        # Who reads events is nobody's company: no count is to include it.
        counted_from = 0 if member.is_event_stream else self.user_count.add(+1)
        self._joining.add(member, counted_from, after)

    def leave(self, member: Member) -> None:
        """Remove a connection; idempotent."""
        if self.connections.pop(member.id, None) is not None:
            self.fanout.discard(member)
            self._joining.discard(member)
            self.live.unsubscribe(member)
            self.live.stop(member.id)
            if not member.is_event_stream:
                self.user_count.add(-1)

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Deliver publications in order; frames for everyone are sent in one write."""
        frames: list[tuple[bytes, bytes]] = []
        has_count = False
        for publication in publications:
            self._check_sequence(publication.offset)
            if publication.type == "nb_users":
                self._on_count(publication.body)
                has_count = True
                self._record(publication)
                continue
            self.answers.invalidate(publication.type)
            if self._deduplicator.is_duplicate(publication, _now()):
                continue
            if publication.is_broadcast or self._deduplicator.changes_presence(publication):
                self._deduplicator.record_presence(publication)
                frame = text_frame(publication.body)
                frames.append((publication.id, frame))
                self._record(publication, frame)
            elif publication.to:
                if (member := self.nicknames.member_of(publication.to)) is not None:
                    self._broadcast(frames)  # first, as they were published: it may be the last that the client gets
                    frames.clear()
                    self._send_to(member, publication.body)
                self._record(publication)
            elif publication.outcome is Outcome.CONTROL:
                self._handle_control(publication)
        if frames:
            self._broadcast(frames)
        if has_count:
            self._counts.trigger()
        self._joining.promote()

    def _handle_control(self, publication: Publication) -> None:
        try:
            self.control_handlers[publication.type](publication.body)
        except Exception:
            log.exception("a control message could not be handled", extra=self._log_fields)

    def _record(self, publication: Publication, frame: bytes = b"") -> None:
        # Until `caught_up_at` everything was received in order; since then this front may have been frozen.
        if (publication.id or frame) and self.caught_up_at >= self.recent.settled_at:
            self.recent.record(publication.id, frame)

    def _check_sequence(self, number: int) -> None:
        """Check the offset: detect gaps, and a new epoch after a loss in Redis."""
        continuity = self._position.compare(number)
        if continuity is Continuity.GAP:
            self.skip_to(number - 1)
        elif continuity is Continuity.RESTARTED:
            log.warning("new epoch: redis has lost earlier publications", extra=self._log_fields)
            self._announce_loss()
            self._dispatcher.reports.state_lost(self.channel)
        self._position.advance(number)

    def skip_to(self, number: int) -> None:
        """Skip publications up to that offset, which were trimmed from the outbox before this front read them."""
        missed = number - self.offset
        if missed <= 0:
            return
        self._missed(missed)
        log.warning("missed %d publications: trimmed", missed, extra=self._log_fields)
        self.recent.reset(number)
        self._send_to_all(uncompliant(GAP))
        self._position.advance(number)
        self._dispatcher.reports.gap(self.channel)

    @property
    def offset(self) -> int:
        """The offset of the last delivered publication."""
        return self._position.offset

    def start_at(self, published: int, ids: Mapping[bytes, float], intact: float = math.inf) -> None:
        """Start after the publication with offset `published`, with the ids of recent ones and their ages in seconds.

        Args:
            intact: seconds since Redis last lost data; after a recent loss, messages may still be replayed.
        """
        self._position.start_at(published)
        self.recent.reset(published, intact)
        self.seed_seen(ids)

    def seed_seen(self, ids: Mapping[bytes, float]) -> None:
        """Record messages as delivered, each so many seconds ago."""
        self._deduplicator.seed(ids, _now())

    def record_echo(self, body: bytes) -> None:
        """Record that a message's sender alone received it; this front may have missed its publication.

        If Redis loses the message's id, too, it is replayed, and published again. Without this record the sender would
        receive it twice; the others were told of the gap.
        """
        # Later: of publications that were read together, all jobs are completed before the first is delivered.
        asyncio.get_running_loop().call_soon(self._deduplicator.record, id_of(body), _now())

    def reset(self) -> None:
        """Start a new epoch after Redis lost its publications: offsets start again."""
        self._position.reset()
        self._announce_loss()

    def _announce_loss(self) -> None:
        """Handle a loss of recent publications in Redis. Call it before `caught_up_at` is advanced.

        The fronts replay recently lost messages. But messages published while this front received nothing may be lost
        for good: then clients are told. So are clients that have just joined: a lost message is missing from their
        history, and the room does not deliver its replay a second time.
        """
        self.recent.on_state_lost()
        now = _now()
        heard_nothing = now - self.caught_up_at > self.timings.redis_loss
        if heard_nothing:
            self._send_to_all(uncompliant(GAP))
        self._joining.on_state_lost(self.connections, b"" if heard_nothing else text_frame(uncompliant(GAP)))
        self._position.start_epoch()
        self.caught_up_at = now

    def _send_to_all(self, body: bytes) -> None:
        """Send to all connections, including joiners."""
        frame = text_frame(body)
        for member in self.connections.values():
            member.write(frame)

    def _broadcast(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        writes = joined(frame for _, frame in frames)
        for data in writes:
            self.fanout.send(data)
        self._joining.write(frames)
        self._count(len(self.connections), len(frames), sum(map(len, writes)))

    def _count(self, clients: int, messages: int, size: int) -> None:
        """Count deliveries to many clients at once, without a loop over them."""
        self._delivered.total += clients * messages
        self._sent_bytes.total += clients * size

    def has_seen(self, id: bytes) -> bool:
        """Whether a message with this id was delivered recently."""
        return self._deduplicator.has_seen(id, _now())

    def _on_count(self, body: bytes) -> None:
        self.on_count()
        self._newest_count = body
        self._total_users = msgspec.json.decode(body, type=_Count).nb_users
        self._counts.interval = self._seconds_between_counts

    @property
    def _seconds_between_counts(self) -> float:
        people = max(self._total_users, len(self.connections))
        return next(
            (seconds for more_than, seconds in self.timings.count_of_many if people > more_than), self.timings.count
        )

    def _deliver_count(self) -> None:
        if self._newest_count is None:
            return
        frame = text_frame(self._newest_count)
        self.fanout.send(frame)
        counted = self._joining.write_count(frame)
        self._count(len(self.fanout) + counted, 1, len(frame))
        self._joining.promote()

    def _admit(self, joiner: JoinBuffer) -> None:
        """Add a joiner that is done to the fan-out.

        It receives the count at once if it has not yet, without waiting for the room's throttled one.
        """
        self.fanout.add(joiner.member)
        if not joiner.has_count and self._newest_count is not None:
            self._send_to(joiner.member, self._newest_count)

    def _send_to(self, member: Member, body: bytes) -> None:
        frame = text_frame(body)
        member.write(frame)
        self._count(1, 1, len(frame))

    @property
    def _log_fields(self) -> dict[str, object]:
        """The fields of log lines about this room."""
        return {"channel": self.channel}


def _now() -> float:
    return asyncio.get_running_loop().time()
