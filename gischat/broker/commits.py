"""The commits: scripts that end a job. Each acknowledges it and publishes what it comes to, all or nothing.

Each returns the future of whether this ended the job: False when another worker, or the same command before, had.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Self

from gischat.broker.client import Redis
from gischat.broker.entries import Job, Outcome
from gischat.broker.inbox_consumer import Delivery
from gischat.broker.namespace import Namespace
from gischat.broker.scripts import Script
from gischat.broker.transport import Argument
from gischat.protocol.messages import content_digest

Ended = asyncio.Future[bool]


class MessageKey(NamedTuple):
    """Whose message it is, and what it says: by that Redis sees whether it was published before."""

    id: str = ""  # empty: it is published however often it comes
    sender: str = ""
    digest: str = ""

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(job.id, job.sender, content_digest(job.body))


ANONYMOUS = MessageKey()


class Commits:
    """All commits, over one connection.

    The words for the sender (`uncompliant` messages) come from the caller, whole: which of them is published, Redis
    decides. Nicknames are compared by their keys (see `messages.folded`).
    """

    def __init__(self, namespace: Namespace, redis: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._redis = redis

    def commit(
        self,
        delivery: Delivery,
        *,
        outcome: Outcome,
        type: str,
        body: bytes = b"",
        stored: bool = False,
        place: bytes = b"",
        message: MessageKey = ANONYMOUS,
        id_used: bytes = b"",
        author_key: str = "",
        not_yours: bytes = b"",
    ) -> Ended:
        """Publishes one message, or that there is none.

        Args:
            stored: it goes into the history, too.
            place: where it is on the map (see `gischat.protocol.places`), to be stored with it; empty: nowhere.
            id_used: for a sender who has used the message's id for another.
            author_key: of the nickname of the message's author; empty where an author needs no nickname.
            not_yours: for a sender who is not registered under it, while somebody else is.
        """
        published = (outcome, type, body, int(stored), place, id_used)
        owner = (not_yours, author_key) if author_key else ()
        return self._run(self._scripts.commit, delivery, *message, *published, *owner)

    def body_missing(self, delivery: Delivery, *, user_message: bytes) -> Ended:
        """Ends a job whose body is not there: its sender is told, unless this very job has published it before."""
        job = delivery.job
        return self._run(self._scripts.body_missing, delivery, job.id, job.sender, job.type, user_message)

    def like(
        self,
        delivery: Delivery,
        *,
        liked_key: str,
        id_used: bytes,
        author_key: str = "",
        not_yours: bytes = b"",
    ) -> Ended:
        """Publishes a like to the connection that is registered under a nickname. The rest: as in `commit`."""
        job = delivery.job
        owner = (not_yours, author_key) if author_key else ()
        return self._run(self._scripts.like, delivery, *MessageKey.of(job), liked_key, job.body, id_used, *owner)

    def set_user_count(self, delivery: Delivery, *, connections: int, count_id: str) -> Ended:
        """The job's front has so many connections in the channel; everyone is told the sum under the id `count_id`."""
        job = delivery.job
        arguments = (job.id, job.source.front, connections, count_id)
        return self._run(self._scripts.set_user_count, delivery, *arguments)

    def dead_letter(self, delivery: Delivery, *, reason: str, user_message: bytes) -> Ended:
        """Moves a job to the dead letters, and tells its sender."""
        job = delivery.job
        return self._run(self._scripts.dead_letter, delivery, job.type, job.id, job.body, reason, user_message)

    # Nicknames

    def register(
        self,
        delivery: Delivery,
        *,
        nickname: str,
        nickname_key: str,
        taken: bytes,
        id_used: bytes,
        front_lost: bytes,
    ) -> Ended:
        """Gives a nickname to the job's connection, or keeps its wish while another has it.

        Args:
            taken: for a sender whose nickname another has.
            id_used: for one who has registered under the message's id before, and given it up.
            front_lost: for one whose front was reaped meanwhile.
        """
        job = delivery.job
        whose = (job.source.front, job.client, nickname_key, nickname)
        return self._run_presence(
            self._scripts.register, delivery, *MessageKey.of(job), *whose, job.body, taken, id_used, front_lost
        )

    def restore(self, delivery: Delivery, *, nickname: str, nickname_key: str, newcomer_id: str, taken: bytes) -> Ended:
        """Gives a nickname back that Redis has lost; `newcomer_id` is that of the message that may tell so."""
        job = delivery.job
        arguments = (job.id, job.source.front, nickname_key, nickname, newcomer_id, taken)
        return self._run_presence(self._scripts.restore, delivery, *arguments)

    def exit(self, delivery: Delivery, *, nickname: str, nickname_key: str, not_yours: bytes, id_used: bytes) -> Ended:
        """Gives up the nickname of the job's connection, by its own word."""
        job = delivery.job
        arguments = (*MessageKey.of(job), nickname_key, nickname, job.body, not_yours, id_used)
        return self._run_presence(self._scripts.exit, delivery, *arguments)

    def unregister(self, delivery: Delivery) -> Ended:
        """The job's connection has ended: its nickname is free."""
        return self._run_presence(self._scripts.unregister, delivery)

    def _run(self, script: Script, delivery: Delivery, *arguments: Argument) -> Ended:
        return self._end(script, delivery, self._keys[delivery.channel].for_script(delivery.lane), arguments)

    def _run_presence(self, script: Script, delivery: Delivery, *arguments: Argument) -> Ended:
        return self._end(script, delivery, self._keys[delivery.channel].for_presence(), arguments)

    def _end(self, script: Script, delivery: Delivery, keys: tuple[str, ...], arguments: Sequence[Argument]) -> Ended:
        job = delivery.job
        if job.chunks:
            keys += self._keys[delivery.channel].chunks(str(job.source), job.chunks)
        return self._redis.run(script, keys, (delivery.entry, job.size, str(job.source), *arguments), decode=bool)
