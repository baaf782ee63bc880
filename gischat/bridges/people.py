"""People of the other chat in a channel: each person who has written there recently has a registered nickname.

So likes reach them, nobody else can use their nicknames, and the list of users includes them. People who only read are
not registered: a room of ten thousand would flood the channel.
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
from gischat.bridges.store import digest_of
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

MAX_PEOPLE = 100  # registered at a time, per channel


@dataclass(slots=True)
class Person:
    """A person of the other chat who writes in a channel."""

    id: str  # in the other chat
    nickname: str
    job_queue: JobQueue
    is_registered: bool
    spoke_at: float  # loop time of the last message
    messages: float = 0.0  # the time when the bucket of each limit is full again
    heavy: float = 0.0
    notices: float = 0.0
    since: int = field(default_factory=now)  # seconds since the epoch


class People:
    """The people in one channel."""

    def __init__(self, channel: str, participant: Participant, settings: Settings, timings: Timings) -> None:
        self.channel = channel
        self._participant = participant
        self._store = participant.store
        self._settings = settings
        self._timings = timings
        self._people: OrderedDict[str, Person] = OrderedDict()  # by their last message, the latest last
        self._messages = TokenBucket(settings.max_messages_per_minute)
        self._heavy = TokenBucket(settings.max_heavy_per_minute)
        self._counting = participant.dispatcher.open(channel)
        self._dismissing: set[asyncio.Task[None]] = set()  # references that keep the tasks alive

    def is_here(self, person: str) -> bool:
        return person in self._people

    def has_nickname(self, nickname: str) -> bool:
        """Whether one of them has that nickname."""
        return any(folded(one.nickname) == folded(nickname) for one in self._people.values())

    def allow(self, person: Person, *, is_heavy: bool) -> float:
        """Count a message of a person, within the limits of a connection; returns the seconds to wait, 0 if allowed."""
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
        """The person who writes now; registers a new one, under a nickname that derives from the name or the id."""
        person = self._people.get(id)
        if person is None:
            person = await self._register(id, name)
            self._people[id] = person
            while len(self._people) > MAX_PEOPLE:
                await self.leave(next(iter(self._people)))
            self._send_count()
        person.spoke_at = asyncio.get_running_loop().time()
        self._people.move_to_end(id)
        return person

    async def leave(self, id: str) -> None:
        """Free a person's nickname: the person has left, or has been silent for long."""
        person = self._people.pop(id, None)
        if person is None:
            return
        if person.is_registered:
            await self._participant.submit(person.job_queue, Message(LEAVE, "", b"{}"))
        self._close(person.job_queue)
        self._send_count()

    def dismiss(self, is_meant: Callable[[str], bool]) -> None:
        """Remove people whose nickname fulfils the condition; they may write again unless they are banned."""
        for person in [one for one in self._people.values() if one.is_registered and is_meant(one.nickname)]:
            task = asyncio.create_task(self.leave(person.id))
            self._dismissing.add(task)
            task.add_done_callback(self._dismissing.discard)

    @property
    def connected(self) -> list[Connected]:
        """The registered people, as moderators see them."""
        kind = self._participant.kind
        return [
            Connected(one.job_queue.id, self.channel, one.nickname, kind, one.since)
            for one in self._people.values()
            if one.is_registered
        ]

    async def leave_silent(self) -> None:
        """Remove people who have been silent for long."""
        long_ago = asyncio.get_running_loop().time() - self._timings.bridge_silent
        for person in [one for one in self._people.values() if one.spoke_at < long_ago]:
            await self.leave(person.id)

    async def leave_all(self) -> None:
        for id in list(self._people):
            await self.leave(id)

    def restore(self) -> None:
        """After a loss in Redis, send the nicknames and the count again."""
        for person in self._people.values():
            if person.is_registered:
                message = Message(RESTORE, new_id(), msgspec.json.encode({RESTORE: person.nickname}))
                person.job_queue.submit(message, partial(self._on_restored, person), bounded=False, is_ahead=True)
        self._send_count()

    def _on_restored(self, person: Person, result: JobResult) -> None:
        if result.is_refusal and result.refusal_reason is RefusalReason.UNPROCESSABLE:
            # Somebody else has registered the nickname: the next message registers another one.
            self._people.pop(person.id, None)
            self._close(person.job_queue)
            self._send_count()

    def _close(self, job_queue: JobQueue) -> None:
        """Close a queue as soon as it is idle, so that the results of its jobs are not dropped."""
        if job_queue.is_idle:
            self._participant.dispatcher.close(job_queue)
        else:
            asyncio.get_running_loop().call_later(self._timings.retry, self._close, job_queue)

    async def _register(self, id: str, name: str) -> Person:
        """Register one of the possible nicknames; if none is free, the person uses the last one unregistered."""
        dispatcher = self._participant.dispatcher
        job_queue = dispatcher.open(self.channel, sender=f"{self._participant.kind}:{digest_of(id)}")
        nickname = ""
        for nickname in await self._possible_nicknames(id, name):
            result = await self._participant.submit(job_queue, newcomer_message(nickname))
            if not result.is_refusal:
                await self._store.save_nickname(self.channel, id, nickname)
                return Person(id, nickname, job_queue, is_registered=True, spoke_at=0.0)
            if result.refusal_reason is RefusalReason.BANNED:
                break  # another nickname would circumvent the ban: all messages are refused under this one
        log.warning("somebody of the other chat could not be registered", extra={"channel": self.channel})
        return Person(id, nickname, job_queue, is_registered=False, spoke_at=0.0)

    async def _possible_nicknames(self, id: str, name: str) -> list[str]:
        """The nicknames to try: the person's last one, then the others by preference. Taken ones are omitted, because
        trying one would request it."""
        settings = self._settings
        possible = candidates(id, name, shortest=settings.min_author_length, longest=settings.max_author_length)
        last = await self._store.nickname(self.channel, id)
        if last and self._participant.bans[self.channel].ban_reason(last) is not None:
            return [last]  # another nickname would circumvent the ban
        names = dict.fromkeys([last, *possible] if last else possible)
        try:
            taken = {folded(name) for name in await self._participant.broker.presence.nicknames(self.channel)}
        except REDIS_FAULTS:
            taken = set()
        # An earlier process may still have the person's last nickname.
        free = [name for name in names if name == last or folded(name) not in taken]
        return free or [list(names)[-1]]

    def _send_count(self) -> None:
        body = msgspec.json.encode({"connections": len(self._people)})
        self._counting.submit(Message(COUNT, new_id(), body), _ignore, bounded=False)


def _ignore(_: JobResult) -> None:
    """Ignore the result: the renewal of the lease detects a wrong count."""
