"""Rooms: the sockets of a channel on this front."""

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from gischat import metrics
from gischat.errors import Refused
from gischat.front.channel.audience import Audience
from gischat.front.channel.cache import CachedAnswer, ReadPace, SharedRead
from gischat.front.channel.gathering import Gathering
from gischat.front.channel.headcount import HeadCount
from gischat.front.channel.joiner import Joiner, Member
from gischat.front.channel.recent import RecentMessage, RecentMessages
from gischat.front.door.restrictions import Bans
from gischat.front.jobs.gateway import Gateway, Snapshot
from gischat.front.jobs.turnstile import Turnstiles
from gischat.front.sockets.frames import text_frame
from gischat.messages import folded, uncompliant
from gischat.metrics import Gathered
from gischat.protocol import places
from gischat.streams.answers import RedisError
from gischat.streams.entries import CHALLENGE, LOST, NAMES, Outcome, Publication
from gischat.timings import Timings

log = logging.getLogger(__name__)

SEEN_IDS = 4096  # more than a channel publishes in the second that a Redis may lose
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
        turnstiles: Turnstiles,
        pace: ReadPace | None = None,
        recent: RecentMessages | None = None,
        replays: ReadPace | None = None,
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
        self.head_count = HeadCount(channel, turnstiles, timings)
        self.connections: dict[int, Member] = {}  # all, by number
        self.audience = Audience()  # those that are wholly in
        self._joiners: dict[Member, Joiner] = {}
        self.bans = Bans()
        self.ordered: Callable[[Publication], None] = lambda publication: None  # called with what fronts shall do
        self.challenged: Callable[[bytes], None] = lambda body: None  # called when somebody wants a nickname
        self.missed: Callable[[], None] = lambda: None  # called when orders may be among what was not heard
        self.forgotten: Callable[[], None] = lambda: None  # called when Redis may have lost orders
        self.counted: Callable[[], None] = lambda: None  # called with every count that is heard
        self.published = 0  # the number of the last publication that was delivered
        self._losses = 0  # how often Redis is known to have lost something
        self.caught_up_at = asyncio.get_running_loop().time()  # until then, all was heard
        # The ids of the last messages that were delivered, and when; as long as Redis knows them
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self._came_lately: deque[tuple[float, Member]] = deque()  # who got their history, and when
        self._presence: OrderedDict[str, str] = OrderedDict()  # by nickname, whether it came or went last
        self._turnstiles = turnstiles
        self._gateway = gateway
        self._newest_count: bytes | None = None
        self._counts = Gathering(timings.count, self._deliver_count)
        self._people = 0  # as the newest count says, over all fronts
        self.stored = SharedRead(lambda: gateway.snapshot(channel))
        self.last = CachedAnswer(self._encode_last, pace, timings.answer_kept)
        self.users = CachedAnswer(self._encode_users, seconds=timings.answer_kept)
        self._places = SharedRead(lambda: gateway.places(channel))
        self._places_bytes = 0  # of the last read
        self._pace = pace
        self.features = CachedAnswer(self._encode_features, pace, timings.answer_kept)
        self.recent = recent or RecentMessages(timings=timings)
        self._replays = replays or ReadPace(REPLAYED_BYTES_PER_SECOND)
        self._retained = SharedRead(self._read_retained)
        self.received_bytes = Gathered(metrics.RECEIVED_BYTES.labels(channel))
        self._sent_bytes = Gathered(metrics.SENT_BYTES.labels(channel))
        self._delivered = Gathered(metrics.DELIVERIES.labels(channel))
        self._entered = metrics.CONNECTIONS.labels(channel).inc
        self._missed = metrics.PUBLICATIONS_MISSED.labels(channel).inc

    def enter(self, member: Member, after: str | None = None) -> None:
        """Takes a connection in: it gets the history, the next count that includes it, and all that comes after.

        Instead of the history, one that comes back gets what it missed `after` the message of that id, if that is
        retained; if it is not, an `uncompliant` says so, and the history follows.
        """
        now = asyncio.get_running_loop().time()
        joiner = Joiner(member, self.head_count.add(+1), now, None if after is None else after.encode())
        self.connections[member.number] = member
        self._joiners[member] = joiner
        self._entered()
        task = asyncio.create_task(self._bring_history(joiner))
        task.add_done_callback(_log_failure)

    def leave(self, member: Member) -> None:
        """Lets a connection go; what has gone already may go again."""
        if self.connections.pop(member.number, None) is not None:
            self.audience.discard(member)
            self._joiners.pop(member, None)
            self.head_count.add(-1)

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Sends what was published, in order: frames that are due together go out in one write."""
        frames: list[tuple[bytes, bytes]] = []
        has_count = False
        for publication in publications:
            self._follow(publication.number)
            self._invalidate(publication)
            if publication.type == "nb_users":
                self._know_count(publication.body)
                has_count = True
                self._record(publication)
            elif self._is_repeated(publication):
                continue
            elif publication.is_for_everyone or self._is_news_of_presence(publication):
                if publication.type in ("newcomer", "exiter"):
                    self._remember(self._presence, _nickname_in(publication), publication.type)
                frame = text_frame(publication.body)
                frames.append((publication.id, frame))
                self._record(publication, frame)
            elif publication.to:
                self._deliver_to(publication)
                self._record(publication)
            elif publication.type == LOST:
                self._tell_of_loss()
            elif publication.type == CHALLENGE:
                self.challenged(publication.body)
            elif publication.type == NAMES:
                self._say_names_again(publication.body)
            elif publication.outcome is Outcome.ORDERED:
                self.ordered(publication)
        if frames:
            self._broadcast(frames)
        if has_count:
            self._counts.ask()
        self._let_in()

    def _record(self, publication: Publication, frame: bytes = b"") -> None:
        # All that was published before we were caught up was heard before: this front may have been frozen since.
        if (publication.id or frame) and self.caught_up_at >= self.recent.settled_at:
            self.recent.record(publication.id, frame)

    def _invalidate(self, publication: Publication) -> None:
        """What is answered over HTTP must not be older than what is delivered now."""
        if publication.type == "nb_users":
            self.counted()
            return
        self.last.invalidate()
        self.features.invalidate()
        if publication.type in ("newcomer", "exiter"):
            self.users.invalidate()

    def _follow(self, number: int) -> None:
        """Notices what was missed (then the ends of our jobs may be among it, and they are enqueued again), and what
        was lost."""
        if number != self.published + 1:
            if number > self.published:
                self._notice_gap(number - 1)
            else:
                log.warning("begins anew: redis has lost what was published before", extra=self._named)
                self._tell_of_loss()
                self._turnstiles.forgotten(self.channel)
            self._turnstiles.enqueue_again(self.channel)
        self._go_on_from(number)

    def _notice_gap(self, last: int) -> None:
        """What was published up to that number was not heard."""
        self._missed(last - self.published)
        log.warning("missed %d publications: trimmed", last - self.published, extra=self._named)
        self.recent.begin(last)
        self._tell_all(uncompliant(GAP))
        for member in self.connections.values():
            member.wish_again()  # what was missed may have granted it
            member.restore()  # or Redis has got an old copy of its data back, which may count further
        self.head_count.tell_again()
        self.missed()

    def skip_to(self, number: int) -> None:
        """What was published up to that number will not be heard: it is not in the outbox any more."""
        if number > self.published:
            self._notice_gap(number)
            self._go_on_from(number)
            self._turnstiles.enqueue_again(self.channel)

    def _go_on_from(self, number: int) -> None:
        self.published = self._turnstiles.followed[self.channel] = number
        # Never lowered here: until all has been said again that Redis has lost, it must take nothing that is newer.
        self._turnstiles.heard[self.channel] = max(number, self._turnstiles.heard.get(self.channel, 0))

    def begin(self, published: int, ids: Mapping[bytes, float], intact: float = math.inf) -> None:
        """So much was published before this front was there, and these ids with the age of each: who comes has those
        messages, or does not want them.

        Args:
            intact: seconds for which Redis has not lost anything; what it lost then may be said again yet.
        """
        self.published = self._turnstiles.followed[self.channel] = published
        self.recent.begin(published, intact)
        self.know(ids)

    def know(self, ids: Mapping[bytes, float]) -> None:
        """These messages count as heard, as if that had been so long ago."""
        now = asyncio.get_running_loop().time()
        self._seen.update({id: now - age for id, age in ids.items()})

    def begin_anew(self) -> None:
        """Redis has lost what was published before: numbers that were heard already come again."""
        self._turnstiles.heard[self.channel] = 0
        self._tell_of_loss()

    def _tell_of_loss(self) -> None:
        """Redis has lost what was published shortly before. To be called before what came after counts as caught up.

        The fronts publish again what was lost lately. But what was published while this front heard nothing may be gone
        for good. And a client that has just come finds it neither in its history nor in what is published again, which
        the room does not deliver twice.
        """
        self.recent.lose()
        now = asyncio.get_running_loop().time()
        if now - self.caught_up_at > self.timings.redis_loss:
            self._tell_all(uncompliant(GAP))
        else:
            frame = text_frame(uncompliant(GAP))
            for at, member in self._came_lately:
                if at > now - self.timings.redis_loss and member.number in self.connections:
                    member.write(frame)
        self._came_lately.clear()
        self._losses += 1
        for joiner in self._joiners.values():
            joiner.snapshot = None  # it is read again
        self.caught_up_at = now

    def _is_repeated(self, publication: Publication) -> bool:
        """Whether this message was delivered before: a Redis that lost its last second makes workers publish again.

        Who comes and goes is told again where the room was told the contrary since: what was lost may be done again in
        another order, and whoever was said to be gone last, and is there, would be gone for ever.
        """
        id = publication.id
        if not id:
            return False
        if self.has_seen(id) and not self._is_news_of_presence(publication):
            return True
        self._remember(self._seen, id, asyncio.get_running_loop().time())
        return False

    def _is_news_of_presence(self, publication: Publication) -> bool:
        if publication.type not in ("newcomer", "exiter") or not publication.body:
            return False
        return self._presence.get(_nickname_in(publication), publication.type) != publication.type

    @staticmethod
    def _remember(known: "OrderedDict[Any, Any]", key: Any, value: Any) -> None:
        known[key] = value
        known.move_to_end(key)
        if len(known) > SEEN_IDS:
            known.popitem(last=False)

    def _tell_all(self, body: bytes) -> None:
        """Those who are on their way in as well."""
        frame = text_frame(body)
        for member in self.connections.values():
            member.write(frame)

    def _broadcast(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        data = b"".join(frame for _, frame in frames)
        self.audience.send(data)
        for joiner in list(self._joiners.values()):
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
            address = source.address
        else:
            return
        number = self._number_here(address)
        member = None if number is None else self.connections.get(number)
        if member is not None:
            if publication.outcome is Outcome.GRANTED and not self.has_seen(publication.id):
                member.grant(publication.body)
        elif number is not None and not self._turnstiles.is_open(number):
            self._turnstiles.leave(self.channel, number)

    def _say_names_again(self, in_doubt: bytes) -> None:
        for member in self.connections.values():
            member.restore()
        for address in in_doubt.decode().split():
            number = self._number_here(address)
            if number is not None and number not in self.connections and not self._turnstiles.is_open(number):
                self._turnstiles.leave(self.channel, number)

    def has_seen(self, id: bytes) -> bool:
        """Whether a message of this id was delivered lately."""
        now = asyncio.get_running_loop().time()
        return now - self._seen.get(id, -math.inf) < self.timings.seen

    def member_at(self, address: str) -> Member | None:
        """The connection at an address (`front/number`), if it is here."""
        number = self._number_here(address)
        return None if number is None else self.connections.get(number)

    def _number_here(self, address: str) -> int | None:
        """The number of a connection of this front."""
        front, _, number = address.partition("/")
        return int(number) if front == self._gateway.front else None

    def _deliver_to(self, publication: Publication) -> None:
        member = self.member_at(publication.to)
        if member is not None:
            frame = text_frame(publication.body)
            member.write(frame)
            self._count(1, 1, len(frame))

    def _know_count(self, body: bytes) -> None:
        self._newest_count = body
        self._people = msgspec.json.decode(body, type=_Count).nb_users
        self._counts.interval = self._seconds_between_counts

    @property
    def _seconds_between_counts(self) -> float:
        people = max(self._people, len(self.connections))
        return next(
            (seconds for more_than, seconds in self.timings.count_of_many if people > more_than), self.timings.count
        )

    def _deliver_count(self) -> None:
        if self._newest_count is None:
            return
        frame = text_frame(self._newest_count)
        self.audience.send(frame)
        counted = [joiner for joiner in self._joiners.values() if joiner.change <= self.head_count.told]
        for joiner in counted:
            joiner.write(None, frame)
            joiner.has_count = True
        self._count(len(self.audience) + len(counted), 1, len(frame))
        self._let_in()

    def _let_in(self) -> None:
        for joiner in list(self._joiners.values()):
            self._let_in_one(joiner)

    def _let_in_one(self, joiner: Joiner) -> None:
        """Who has the history and is counted becomes a member like all others."""
        if not joiner.has_history and joiner.snapshot is not None:
            self._send_history(joiner, joiner.snapshot)
        if joiner.has_history and joiner.change <= self.head_count.told:
            del self._joiners[joiner.member]
            self.audience.add(joiner.member)
            if not joiner.has_count:
                self._tell_count(joiner.member)

    def _send_history(self, joiner: Joiner, snapshot: Snapshot) -> None:
        # The message that one had last may be newer than all that this front had heard when it came back.
        missed = None if joiner.after is None else self.recent.since(joiner.after)
        if missed is not None:
            self._sent_bytes.total += joiner.send_missed(missed)
        elif self._has_heard(snapshot, joiner.since):
            self._sent_bytes.total += joiner.send_history()
            self._note_coming(joiner.member)

    def _note_coming(self, member: Member) -> None:
        now = asyncio.get_running_loop().time()
        self._came_lately.append((now, member))
        while self._came_lately[0][0] < now - self.timings.redis_loss:
            self._came_lately.popleft()

    def _has_heard(self, snapshot: Snapshot, since: float) -> bool:
        """Whether nothing in a history can come once more.

        Some of it may never be heard: what was trimmed before, or is older than what is remembered.
        """
        if self.published < snapshot.published:
            return False
        if all(id in self._seen for id in reversed(snapshot.ids)):
            return True
        now = asyncio.get_running_loop().time()
        if now < since + self.timings.redis_loss:
            return False
        for id in snapshot.ids:
            self._seen.setdefault(id, now)
        return True

    def _tell_count(self, member: Member) -> None:
        """The count that all others are told later: nobody waits to be let in until a full room may be told."""
        if self._newest_count is not None:
            frame = text_frame(self._newest_count)
            member.write(frame)
            self._count(1, 1, len(frame))

    async def _bring_history(self, joiner: Joiner) -> None:
        missed = await self._missed_by(joiner)
        if missed is not None and joiner.member in self._joiners:
            self._sent_bytes.total += joiner.send_missed(missed)
            self._let_in_one(joiner)
        elif missed is None:
            await self._bring_stored(joiner)

    async def _bring_stored(self, joiner: Joiner) -> None:
        while joiner.member in self._joiners and not joiner.has_history:
            losses = self._losses
            snapshot = await self._ask(self.stored.get)
            if losses != self._losses:
                continue  # it may have been read before
            if joiner.member in self._joiners:
                joiner.snapshot = snapshot
                self._let_in_one(joiner)
            if not joiner.has_history:
                # As a rule it comes with what is heard next. But Redis may have lost what is in it.
                await asyncio.sleep(self.timings.retry)

    async def _missed_by(self, joiner: Joiner) -> bytes | None:
        """The frames that one that comes back has missed until now; None where that is not known."""
        after = joiner.after
        if after is None:
            return None
        if after not in self.recent and not self.recent.reaches_back:
            await self._ask(lambda: self._retained.get(joins_current=True))
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
        return Snapshot(self.published, [])

    async def _ask(self, read: Callable[[], Awaitable[Snapshot]]) -> Snapshot:
        while self._joiners:
            try:
                return await read()
            except Refused:
                log.debug("a history waits for redis", extra=self._named)
            except RedisError as error:
                log.debug("a history could not be read: %s", error, extra=self._named)
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
    def _named(self) -> dict[str, object]:
        """What log lines about it bear."""
        return {"channel": self.channel}


def _frame_for_everyone(publication: Publication) -> bytes:
    """Empty where there is none."""
    is_told = publication.is_for_everyone and publication.body and publication.type != "nb_users"
    return text_frame(publication.body) if is_told else b""


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a history could not be read", exc_info=task.exception())


def _nickname_in(publication: Publication) -> str:
    """Of a `newcomer` or an `exiter`, as nicknames are compared."""
    named = msgspec.json.decode(publication.body, type=_Nickname)
    return folded(named.newcomer or named.exiter)
