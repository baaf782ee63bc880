"""Commits: scripts that end a job. Each acknowledges the job and publishes its result, all or nothing.

Each returns a future: True if this call ended the job, False if another worker or an earlier attempt had.
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
    """The sender and content of a message, by which Redis recognises duplicates."""

    id: str = ""  # empty: not checked for duplicates
    sender: str = ""
    digest: str = ""

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(job.id, job.sender, content_digest(job.body))


ANONYMOUS = MessageKey()


class Commits:
    """All commits, on one connection.

    The caller passes the `uncompliant` messages that a sender may get, complete; the script decides which of them to
    publish. Nicknames are compared by their keys (see `messages.folded`).
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
        """End a job by publishing one message, or nothing (see `Outcome`).

        Args:
            stored: also store it in the history.
            place: its place on the map (see `gischat.protocol.places`), stored with it; empty if it has none.
            message: the message's key, to recognise duplicates.
            id_used: the answer to a sender who has used the message's id for another message.
            author_key: the key of the author's nickname; empty if authors need not be registered.
            not_yours: the answer to a sender who is not registered under that nickname while somebody else is.
        """
        published = (outcome, type, body, int(stored), place, id_used)
        owner = (not_yours, author_key) if author_key else ()
        return self._run(self._scripts.commit, delivery, *message, *published, *owner)

    def body_missing(self, delivery: Delivery, *, user_message: bytes) -> Ended:
        """End a job whose body is missing: notify its sender, unless the job was published before."""
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
        """Publish a like to the connection registered under a nickname. Other arguments: see `commit`."""
        job = delivery.job
        owner = (not_yours, author_key) if author_key else ()
        return self._run(self._scripts.like, delivery, *MessageKey.of(job), liked_key, job.body, id_used, *owner)

    def set_user_count(self, delivery: Delivery, *, connections: int, count_id: str) -> Ended:
        """Set the number of the front's connections in the channel; publish the sum over all fronts as `count_id`."""
        job = delivery.job
        arguments = (job.id, job.source.front, connections, count_id)
        return self._run(self._scripts.set_user_count, delivery, *arguments)

    def dead_letter(self, delivery: Delivery, *, reason: str, user_message: bytes) -> Ended:
        """Move a job to the dead letters, and notify its sender."""
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
        """Register a nickname for the job's connection, or record its request while another connection has it.

        Args:
            taken: the answer if another connection has the nickname.
            id_used: the answer to one who registered under the message's id before, and gave the nickname up.
            front_lost: the answer if the connection's front was reaped meanwhile.
        """
        job = delivery.job
        whose = (job.source.front, job.client, nickname_key, nickname)
        return self._run_presence(
            self._scripts.register, delivery, *MessageKey.of(job), *whose, job.body, taken, id_used, front_lost
        )

    def restore(self, delivery: Delivery, *, nickname: str, nickname_key: str, newcomer_id: str, taken: bytes) -> Ended:
        """Restore a nickname that Redis lost; `newcomer_id` is the id of the `newcomer`, if one is published."""
        job = delivery.job
        arguments = (job.id, job.source.front, nickname_key, nickname, newcomer_id, taken)
        return self._run_presence(self._scripts.restore, delivery, *arguments)

    def exit(self, delivery: Delivery, *, nickname: str, nickname_key: str, not_yours: bytes, id_used: bytes) -> Ended:
        """Give up the nickname of the job's connection, at its client's request."""
        job = delivery.job
        arguments = (*MessageKey.of(job), nickname_key, nickname, job.body, not_yours, id_used)
        return self._run_presence(self._scripts.exit, delivery, *arguments)

    def unregister(self, delivery: Delivery) -> Ended:
        """Free the nickname of the job's connection, which has ended."""
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
