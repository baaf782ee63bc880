"""People of the other chat, as the channel sees them: each who has spoken has a nickname that is registered.

So likes reach them, nobody else can speak under their names, and the list of users has them. It is for those who spoke
lately: a room of ten thousand would bury the channel.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from gischat.bridges.nicknames import candidates
from gischat.bridges.participant import REDIS_FAULTS, Participant
from gischat.bridges.store import BridgeStore, digest_of
from gischat.broker.entries import COUNT, LEAVE, RESTORE
from gischat.broker.orders import Connected
from gischat.errors import RefusalReason
from gischat.front.dispatch.job_queue import JobQueue
from gischat.front.dispatch.job_result import JobResult
from gischat.front.limits.rate_limit import TokenBucket
from gischat.protocol.messages import Message, folded, new_id, newcomer_message, now
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_PEOPLE = 100  # of one channel that are registered at a time


@dataclass(slots=True)
class Person:
    """Somebody of the other chat who speaks in a channel."""

    id: str  # the other chat's
    nickname: str
    job_queue: JobQueue
    is_registered: bool
    spoke_at: float
    messages: float = 0.0  # when the bucket of each limit is full again
    heavy: float = 0.0
    tellings: float = 0.0
    since: int = field(default_factory=now)  # seconds since the epoch


class People:
    """Those of one channel."""

    def __init__(
        self, channel: str, participant: Participant, store: BridgeStore, settings: Settings, timings: Timings
    ) -> None:
        self.channel = channel
        self._participant = participant
        self._store = store
        self._settings = settings
        self._timings = timings
        self._people: OrderedDict[str, Person] = OrderedDict()  # who spoke last comes last
        self._messages = TokenBucket(settings.max_messages_per_minute)
        self._heavy = TokenBucket(settings.max_heavy_per_minute)
        self._counting = participant.dispatcher.open(channel)
        self._dismissing: set[asyncio.Task[None]] = set()  # else nothing would hold them

    def is_here(self, person: str) -> bool:
        return person in self._people

    def bears(self, nickname: str) -> bool:
        """Whether one of them is called so."""
        return any(folded(one.nickname) == folded(nickname) for one in self._people.values())

    def allow(self, person: Person, *, is_heavy: bool) -> float:
        """Takes a message of somebody, as the limits of a connection allow it; returns the seconds to wait, or 0."""
        now = asyncio.get_running_loop().time()
        wait = max(
            self._messages.delay(person.messages, now), self._heavy.delay(person.heavy, now) if is_heavy else 0.0
        )
        if wait > 0:
            return wait
        person.messages = self._messages.acquire(person.messages, now)
        if is_heavy:
            person.heavy = self._heavy.acquire(person.heavy, now)
        return 0.0

    async def speaker(self, id: str, name: str = "") -> Person:
        """Somebody who speaks now: registered, where a nickname is free; a new one is made of the name (or the id)."""
        person = self._people.get(id)
        if person is None:
            person = await self._register(id, name)
            self._people[id] = person
            while len(self._people) > MAX_PEOPLE:
                await self.leave(next(iter(self._people)))
            self._tell_count()
        person.spoke_at = asyncio.get_running_loop().time()
        self._people.move_to_end(id)
        return person

    async def leave(self, id: str) -> None:
        """Somebody has gone, or has said nothing for long: the nickname is free."""
        person = self._people.pop(id, None)
        if person is None:
            return
        if person.is_registered:
            await self._participant.submit(person.job_queue, Message(LEAVE, "", b"{}"))
        self._close(person.job_queue)
        self._tell_count()

    def dismiss(self, is_meant: Callable[[str], bool]) -> None:
        """Has those go whose nickname a moderator means; as anybody, they may come back, if they are not banned."""
        for person in [one for one in self._people.values() if one.is_registered and is_meant(one.nickname)]:
            task = asyncio.create_task(self.leave(person.id))
            self._dismissing.add(task)
            task.add_done_callback(self._dismissing.discard)

    @property
    def connected(self) -> list[Connected]:
        """Those that are registered, as moderators see them."""
        kind = self._participant.kind
        return [
            Connected(one.job_queue.id, self.channel, one.nickname, kind, one.since)
            for one in self._people.values()
            if one.is_registered
        ]

    async def leave_silent(self) -> None:
        """Lets those go who have said nothing for long."""
        long_ago = asyncio.get_running_loop().time() - self._timings.bridge_silent
        for person in [one for one in self._people.values() if one.spoke_at < long_ago]:
            await self.leave(person.id)

    async def leave_all(self) -> None:
        for id in list(self._people):
            await self.leave(id)

    def restore(self) -> None:
        """Redis has lost something: who is here is said again."""
        for person in self._people.values():
            if person.is_registered:
                message = Message(RESTORE, new_id(), msgspec.json.encode({RESTORE: person.nickname}))
                person.job_queue.submit(message, partial(self._on_restored, person), bounded=False, is_ahead=True)
        self._tell_count()

    def _on_restored(self, person: Person, result: JobResult) -> None:
        if result.is_refusal and result.refusal_reason is RefusalReason.UNPROCESSABLE:
            # Somebody has taken the nickname meanwhile: the next message brings another one.
            self._people.pop(person.id, None)
            self._close(person.job_queue)
            self._tell_count()

    def _close(self, job_queue: JobQueue) -> None:
        """Forgets a queue when nothing waits in it: nobody would be told the end of that."""
        if job_queue.is_idle:
            self._participant.dispatcher.close(job_queue)
        else:
            asyncio.get_running_loop().call_later(self._timings.retry, self._close, job_queue)

    async def _register(self, id: str, name: str) -> Person:
        """Tries the nicknames that somebody may bear; without a free one the last of them is borne unregistered."""
        dispatcher = self._participant.dispatcher
        job_queue = dispatcher.open(self.channel, sender=f"{self._participant.kind}:{digest_of(id)}")
        nickname = ""
        for nickname in await self._wanted(id, name):
            result = await self._participant.submit(job_queue, newcomer_message(nickname))
            if not result.is_refusal:
                await self._store.save_nickname(self.channel, id, nickname)
                return Person(id, nickname, job_queue, is_registered=True, spoke_at=0.0)
            if result.refusal_reason is RefusalReason.BANNED:
                break  # another nickname would be a way around it: under this one, all that follows is refused
        log.warning("somebody of the other chat could not be registered", extra={"channel": self.channel})
        return Person(id, nickname, job_queue, is_registered=False, spoke_at=0.0)

    async def _wanted(self, id: str, name: str) -> list[str]:
        """First what somebody was called last; then by preference. What another one has is not asked for: that would
        be a wish, which is kept."""
        settings = self._settings
        possible = candidates(id, name, shortest=settings.min_author_length, longest=settings.max_author_length)
        last = await self._store.nickname(self.channel, id)
        if last and self._participant.bans[self.channel].ban_reason(last) is not None:
            return [last]  # another nickname would be a way round the ban
        names = dict.fromkeys([last, *possible] if last else possible)
        try:
            taken = {folded(name) for name in await self._participant.broker.presence.nicknames(self.channel)}
        except REDIS_FAULTS:
            taken = set()
        # What somebody was called last may still be held for the process before this one.
        free = [name for name in names if name == last or folded(name) not in taken]
        return free or [list(names)[-1]]

    def _tell_count(self) -> None:
        body = msgspec.json.encode({"connections": len(self._people)})
        self._counting.submit(Message(COUNT, new_id(), body), _ignore, bounded=False)


def _ignore(_: JobResult) -> None:
    """Nobody is told: what fails is noticed when the lease is renewed."""
