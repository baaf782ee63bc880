"""Rooms: the sockets of a channel on this front."""

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from gischat.broker.entries import CHALLENGE, NICKNAMES, STATE_LOST, Outcome, Publication
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.auth.bans import Bans
from gischat.front.channel.cache import CachedAnswer, ReadPacer, SharedRead
from gischat.front.channel.fanout import Fanout
from gischat.front.channel.join_buffer import JoinBuffer, Member
from gischat.front.channel.recent_messages import RecentMessage, RecentMessages
from gischat.front.channel.throttle import Throttle
from gischat.front.channel.user_count import UserCount
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.dispatch.gateway import Gateway, Snapshot
from gischat.front.transport.frames import text_frame
from gischat.observability import metrics
from gischat.observability.metrics import BufferedCounter
from gischat.protocol import places
from gischat.protocol.messages import folded, uncompliant
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_SEEN_IDS = 4096  # more than a channel publishes in the second that a Redis may lose
REPLAYED_BYTES_PER_SECOND = 100e6  # to those that come back: a tenth of this process' time

GAP = "The server was cut off for a moment: some messages may be missing."


class _Count(msgspec.Struct):
    nb_users: int = 0


class _Nickname(msgspec.Struct):
    newcomer: str = ""
    exiter: str = ""


class Room:
    """A channel's connections on this front."""

    def __init__(
        self,
        channel: str,
        gateway: Gateway,
        dispatcher: Dispatcher,
        pace: ReadPacer | None = None,
        recent: RecentMessages | None = None,
        replays: ReadPacer | None = None,
        timings: Timings = Timings(),
    ) -> None:
        """
        Args:
            pace: of the histories that are asked for over HTTP, in all rooms together.
            recent: empty; with its bounds.
            replays: the pace of what is replayed of it, in all rooms together.
        """
        self.channel = channel
        self.timings = timings
        self.user_count = UserCount(channel, dispatcher, timings)
        self.connections: dict[int, Member] = {}  # all, by number
        self.fanout = Fanout()  # those that are wholly in
        self._joining: dict[Member, JoinBuffer] = {}
        self.bans = Bans()
        self.on_control: Callable[[Publication], None] = lambda publication: None  # called with what fronts shall do
        self.on_challenge: Callable[[bytes], None] = lambda body: None  # called when somebody wants a nickname
        self.on_gap: Callable[[], None] = lambda: None  # called when orders may be among what was not heard
        self.on_state_lost: Callable[[], None] = lambda: None  # called when Redis may have lost orders
        self.on_count: Callable[[], None] = lambda: None  # called with every count that is heard
        self.offset = 0  # the number of the last publication that was delivered
        self._losses = 0  # how often Redis is known to have lost something
        self.caught_up_at = asyncio.get_running_loop().time()  # until then, all was heard
        # The ids of the last messages that were delivered, and when; as long as Redis knows them
        self._seen_ids: OrderedDict[bytes, float] = OrderedDict()
        self._recent_joins: deque[tuple[float, Member]] = deque()  # who got their history, and when
        self._last_presence: OrderedDict[str, str] = OrderedDict()  # by nickname, whether it came or went last
        self._dispatcher = dispatcher
        self._gateway = gateway
        self._newest_count: bytes | None = None
        self._counts = Throttle(timings.count, self._deliver_count)
        self._total_users = 0  # as the newest count says, over all fronts
        self.stored = SharedRead(lambda: gateway.snapshot(channel))
        self.last = CachedAnswer(self._encode_last, pace, timings.answer_kept)
        self.users = CachedAnswer(self._encode_users, seconds=timings.answer_kept)
        self._places = SharedRead(lambda: gateway.places(channel))
        self._places_bytes = 0  # of the last read
        self._pace = pace
        self.features = CachedAnswer(self._encode_features, pace, timings.answer_kept)
        self.recent = recent or RecentMessages(timings=timings)
        self._replays = replays or ReadPacer(REPLAYED_BYTES_PER_SECOND)
        self._retained = SharedRead(self._read_retained)
        self.received_bytes = BufferedCounter(metrics.RECEIVED_BYTES.labels(channel))
        self._sent_bytes = BufferedCounter(metrics.SENT_BYTES.labels(channel))
        self._delivered = BufferedCounter(metrics.DELIVERIES.labels(channel))
        self._entered = metrics.CONNECTIONS.labels(channel).inc
        self._missed = metrics.PUBLICATIONS_MISSED.labels(channel).inc

    def join(self, member: Member, after: str | None = None) -> None:
        """Takes a connection in: it gets the history, the next count that includes it, and all that comes after.

        Instead of the history, one that comes back gets what it missed `after` the message of that id, if that is
        retained; if it is not, an `uncompliant` says so, and the history follows.
        """
        now = asyncio.get_running_loop().time()
        joiner = JoinBuffer(member, self.user_count.add(+1), now, None if after is None else after.encode())
        self.connections[member.id] = member
        self._joining[member] = joiner
        self._entered()
        task = asyncio.create_task(self._load_history(joiner))
        task.add_done_callback(_log_failure)

    def leave(self, member: Member) -> None:
        """Lets a connection go; what has gone already may go again."""
        if self.connections.pop(member.id, None) is not None:
            self.fanout.discard(member)
            self._joining.pop(member, None)
            self.user_count.add(-1)

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Sends what was published, in order: frames that are due together go out in one write."""
        frames: list[tuple[bytes, bytes]] = []
        has_count = False
        for publication in publications:
            self._check_sequence(publication.offset)
            self._invalidate(publication)
            if publication.type == "nb_users":
                self._on_count(publication.body)
                has_count = True
                self._record(publication)
            elif self._is_duplicate(publication):
                continue
            elif publication.is_broadcast or self._changes_presence(publication):
                if publication.type in ("newcomer", "exiter"):
                    self._remember(self._last_presence, _nickname_in(publication), publication.type)
                frame = text_frame(publication.body)
                frames.append((publication.id, frame))
                self._record(publication, frame)
            elif publication.to:
                self._deliver_to(publication)
                self._record(publication)
            elif publication.type == STATE_LOST:
                self._announce_loss()
            elif publication.type == CHALLENGE:
                self.on_challenge(publication.body)
            elif publication.type == NICKNAMES:
                self._restore_nicknames(publication.body)
            elif publication.outcome is Outcome.CONTROL:
                self.on_control(publication)
        if frames:
            self._broadcast(frames)
        if has_count:
            self._counts.trigger()
        self._promote_joiners()

    def _record(self, publication: Publication, frame: bytes = b"") -> None:
        # All that was published before we were caught up was heard before: this front may have been frozen since.
        if (publication.id or frame) and self.caught_up_at >= self.recent.settled_at:
            self.recent.record(publication.id, frame)

    def _invalidate(self, publication: Publication) -> None:
        """What is answered over HTTP must not be older than what is delivered now."""
        if publication.type == "nb_users":
            self.on_count()
            return
        self.last.invalidate()
        self.features.invalidate()
        if publication.type in ("newcomer", "exiter"):
            self.users.invalidate()

    def _check_sequence(self, number: int) -> None:
        """Notices what was missed (then the ends of our jobs may be among it, and they are enqueued again), and what
        was lost."""
        if number != self.offset + 1:
            if number > self.offset:
                self._on_gap(number - 1)
            else:
                log.warning("begins anew: redis has lost what was published before", extra=self._log_fields)
                self._announce_loss()
                self._dispatcher.on_state_lost(self.channel)
            self._dispatcher.resend_in_flight(self.channel)
        self._advance_to(number)

    def _on_gap(self, last: int) -> None:
        """What was published up to that number was not heard."""
        self._missed(last - self.offset)
        log.warning("missed %d publications: trimmed", last - self.offset, extra=self._log_fields)
        self.recent.reset(last)
        self._send_to_all(uncompliant(GAP))
        for member in self.connections.values():
            member.retry_nickname()  # what was missed may have granted it
            member.restore_nickname()  # or Redis has got an old copy of its data back, which may count further
        self.user_count.republish()
        self.on_gap()

    def skip_to(self, number: int) -> None:
        """What was published up to that number will not be heard: it is not in the outbox any more."""
        if number > self.offset:
            self._on_gap(number)
            self._advance_to(number)
            self._dispatcher.resend_in_flight(self.channel)

    def _advance_to(self, number: int) -> None:
        self.offset = self._dispatcher.delivered_offset[self.channel] = number
        # Never lowered here: until all has been said again that Redis has lost, it must take nothing that is newer.
        self._dispatcher.last_offset[self.channel] = max(number, self._dispatcher.last_offset.get(self.channel, 0))

    def start_at(self, published: int, ids: Mapping[bytes, float], intact: float = math.inf) -> None:
        """So much was published before this front was there, and these ids with the age of each: who comes has those
        messages, or does not want them.

        Args:
            intact: seconds for which Redis has not lost anything; what it lost then may be said again yet.
        """
        self.offset = self._dispatcher.delivered_offset[self.channel] = published
        self.recent.reset(published, intact)
        self.seed_seen(ids)

    def seed_seen(self, ids: Mapping[bytes, float]) -> None:
        """These messages count as heard, as if that had been so long ago."""
        now = asyncio.get_running_loop().time()
        self._seen_ids.update({id: now - age for id, age in ids.items()})

    def reset(self) -> None:
        """Redis has lost what was published before: numbers that were heard already come again."""
        self._dispatcher.last_offset[self.channel] = 0
        self._announce_loss()

    def _announce_loss(self) -> None:
        """Redis has lost what was published shortly before. To be called before what came after counts as caught up.

        The fronts publish again what was lost lately. But what was published while this front heard nothing may be gone
        for good. And a client that has just come finds it neither in its history nor in what is published again, which
        the room does not deliver twice.
        """
        self.recent.on_state_lost()
        now = asyncio.get_running_loop().time()
        if now - self.caught_up_at > self.timings.redis_loss:
            self._send_to_all(uncompliant(GAP))
        else:
            frame = text_frame(uncompliant(GAP))
            for at, member in self._recent_joins:
                if at > now - self.timings.redis_loss and member.id in self.connections:
                    member.write(frame)
        self._recent_joins.clear()
        self._losses += 1
        for joiner in self._joining.values():
            joiner.snapshot = None  # it is read again
        self.caught_up_at = now

    def _is_duplicate(self, publication: Publication) -> bool:
        """Whether this message was delivered before: a Redis that lost its last second makes workers publish again.

        Who comes and goes is told again where the room was told the contrary since: what was lost may be done again in
        another order, and whoever was said to be gone last, and is there, would be gone for ever.
        """
        id = publication.id
        if not id:
            return False
        if self.has_seen(id) and not self._changes_presence(publication):
            return True
        self._remember(self._seen_ids, id, asyncio.get_running_loop().time())
        return False

    def _changes_presence(self, publication: Publication) -> bool:
        if publication.type not in ("newcomer", "exiter") or not publication.body:
            return False
        return self._last_presence.get(_nickname_in(publication), publication.type) != publication.type

    @staticmethod
    def _remember(known: "OrderedDict[Any, Any]", key: Any, value: Any) -> None:
        known[key] = value
        known.move_to_end(key)
        if len(known) > MAX_SEEN_IDS:
            known.popitem(last=False)

    def _send_to_all(self, body: bytes) -> None:
        """Those who are on their way in as well."""
        frame = text_frame(body)
        for member in self.connections.values():
            member.write(frame)

    def _broadcast(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        data = b"".join(frame for _, frame in frames)
        self.fanout.send(data)
        for joiner in list(self._joining.values()):
            for id, frame in frames:
                joiner.write(id, frame)
        self._count(len(self.connections), len(frames), len(data))

    def _count(self, clients: int, messages: int, size: int) -> None:
        """Counts what many are sent at once: nothing is done for each of them."""
        self._delivered.total += clients * messages
        self._sent_bytes.total += clients * size

    def settle_nickname(self, publication: Publication) -> None:
        """Sees to it that who has a nickname knows it, and is here: called for each publication, with the ends of jobs.

        A newcomer may be done twice, the second time when its connection has gone, which nobody would ever say again.
        """
        source = publication.source
        if publication.outcome is Outcome.GRANTED:
            address = publication.to
        elif publication.type == "newcomer" and publication.outcome is Outcome.PUBLISHED and source is not None:
            address = source.connection_id
        else:
            return
        number = self._local_id(address)
        member = None if number is None else self.connections.get(number)
        if member is not None:
            if publication.outcome is Outcome.GRANTED and not self.has_seen(publication.id):
                member.grant_nickname(publication.body)
        elif number is not None and not self._dispatcher.is_open(number):
            self._dispatcher.leave(self.channel, number)

    def _restore_nicknames(self, in_doubt: bytes) -> None:
        for member in self.connections.values():
            member.restore_nickname()
        for address in in_doubt.decode().split():
            number = self._local_id(address)
            if number is not None and number not in self.connections and not self._dispatcher.is_open(number):
                self._dispatcher.leave(self.channel, number)

    def has_seen(self, id: bytes) -> bool:
        """Whether a message of this id was delivered lately."""
        now = asyncio.get_running_loop().time()
        return now - self._seen_ids.get(id, -math.inf) < self.timings.seen

    def member_of(self, address: str) -> Member | None:
        """The connection at an address (`front/number`), if it is here."""
        number = self._local_id(address)
        return None if number is None else self.connections.get(number)

    def _local_id(self, address: str) -> int | None:
        """The number of a connection of this front."""
        front, _, number = address.partition("/")
        return int(number) if front == self._gateway.front else None

    def _deliver_to(self, publication: Publication) -> None:
        member = self.member_of(publication.to)
        if member is not None:
            frame = text_frame(publication.body)
            member.write(frame)
            self._count(1, 1, len(frame))

    def _on_count(self, body: bytes) -> None:
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
        counted = [
            joiner for joiner in self._joining.values() if joiner.count_version <= self.user_count.published_version
        ]
        for joiner in counted:
            joiner.write(None, frame)
            joiner.has_count = True
        self._count(len(self.fanout) + len(counted), 1, len(frame))
        self._promote_joiners()

    def _promote_joiners(self) -> None:
        for joiner in list(self._joining.values()):
            self._promote(joiner)

    def _promote(self, joiner: JoinBuffer) -> None:
        """Who has the history and is counted becomes a member like all others."""
        if not joiner.has_history and joiner.snapshot is not None:
            self._send_history(joiner, joiner.snapshot)
        if joiner.has_history and joiner.count_version <= self.user_count.published_version:
            del self._joining[joiner.member]
            self.fanout.add(joiner.member)
            if not joiner.has_count:
                self._send_count(joiner.member)

    def _send_history(self, joiner: JoinBuffer, snapshot: Snapshot) -> None:
        # The message that one had last may be newer than all that this front had heard when it came back.
        missed = None if joiner.after is None else self.recent.since(joiner.after)
        if missed is not None:
            self._sent_bytes.total += joiner.send_replay(missed)
        elif self._has_delivered(snapshot, joiner.since):
            self._sent_bytes.total += joiner.send_history()
            self._record_join(joiner.member)

    def _record_join(self, member: Member) -> None:
        now = asyncio.get_running_loop().time()
        self._recent_joins.append((now, member))
        while self._recent_joins[0][0] < now - self.timings.redis_loss:
            self._recent_joins.popleft()

    def _has_delivered(self, snapshot: Snapshot, since: float) -> bool:
        """Whether nothing in a history can come once more.

        Some of it may never be heard: what was trimmed before, or is older than what is remembered.
        """
        if self.offset < snapshot.offset:
            return False
        if all(id in self._seen_ids for id in reversed(snapshot.ids)):
            return True
        now = asyncio.get_running_loop().time()
        if now < since + self.timings.redis_loss:
            return False
        for id in snapshot.ids:
            self._seen_ids.setdefault(id, now)
        return True

    def _send_count(self, member: Member) -> None:
        """The count that all others are told later: nobody waits to be let in until a full room may be told."""
        if self._newest_count is not None:
            frame = text_frame(self._newest_count)
            member.write(frame)
            self._count(1, 1, len(frame))

    async def _load_history(self, joiner: JoinBuffer) -> None:
        missed = await self._replay_for(joiner)
        if missed is not None and joiner.member in self._joining:
            self._sent_bytes.total += joiner.send_replay(missed)
            self._promote(joiner)
        elif missed is None:
            await self._load_stored(joiner)

    async def _load_stored(self, joiner: JoinBuffer) -> None:
        while joiner.member in self._joining and not joiner.has_history:
            losses = self._losses
            snapshot = await self._read_patiently(self.stored.get)
            if losses != self._losses:
                continue  # it may have been read before
            if joiner.member in self._joining:
                joiner.snapshot = snapshot
                self._promote(joiner)
            if not joiner.has_history:
                # As a rule it comes with what is heard next. But Redis may have lost what is in it.
                await asyncio.sleep(self.timings.retry)

    async def _replay_for(self, joiner: JoinBuffer) -> bytes | None:
        """The frames that one that comes back has missed until now; None where that is not known."""
        after = joiner.after
        if after is None:
            return None
        if after not in self.recent and not self.recent.reaches_back:
            await self._read_patiently(lambda: self._retained.get(joins_current=True))
        size = self.recent.size_since(after)
        if size is not None:
            await self._replays.wait(size)
        return self.recent.since(after)

    async def _read_retained(self) -> Snapshot:
        """Completes the recent messages, once, by those of which this front has not heard, for it is young."""
        while not self.recent.reaches_back:
            version = self.recent.version
            found = await self._gateway.retained(self.channel, self.recent.floor, self.recent.max_bytes)
            if version == self.recent.version:
                now = asyncio.get_running_loop().time()
                self.recent.extend_back(
                    RecentMessage(now - entry.age, entry.publication.id, _frame_for_everyone(entry.publication))
                    for entry in found
                )
        return Snapshot(self.offset, [])

    async def _read_patiently(self, read: Callable[[], Awaitable[Snapshot]]) -> Snapshot:
        while self._joining:
            try:
                return await read()
            except Unavailable:
                log.debug("a history waits for redis", extra=self._log_fields)
            except RedisError as error:
                log.debug("a history could not be read: %s", error, extra=self._log_fields)
                await asyncio.sleep(self.timings.retry)
        return Snapshot(0, [])  # nobody waits for it any more

    async def _encode_last(self) -> bytes:
        # The messages are stored as JSON: nothing is parsed to be written again.
        return b"[" + b",".join((await self.stored.get()).history) + b"]"

    async def chosen_features(self, wanted: places.Wanted) -> bytes:
        """What the stored messages show on a map, of that what is wanted, as GeoJSON."""
        if self._pace is not None:
            await self._pace.wait(self._places_bytes)
        return await self._encode_features(wanted)

    async def _encode_features(self, wanted: places.Wanted = places.ALL) -> bytes:
        stored = await self._places.get()
        self._places_bytes = sum(map(len, stored))
        return places.collection(map(places.decode, stored), wanted)

    async def _encode_users(self) -> bytes:
        nicknames = await self._gateway.nicknames(self.channel)
        return msgspec.json.encode(sorted(nicknames, key=lambda name: (name.casefold(), name)))

    @property
    def _log_fields(self) -> dict[str, object]:
        """What log lines about it bear."""
        return {"channel": self.channel}


def _frame_for_everyone(publication: Publication) -> bytes:
    """Empty where there is none."""
    is_told = publication.is_broadcast and publication.body and publication.type != "nb_users"
    return text_frame(publication.body) if is_told else b""


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a history could not be read", exc_info=task.exception())


def _nickname_in(publication: Publication) -> str:
    """Of a `newcomer` or an `exiter`, as nicknames are compared."""
    named = msgspec.json.decode(publication.body, type=_Nickname)
    return folded(named.newcomer or named.exiter)
