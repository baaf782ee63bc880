"""Executes the effects of jobs, each by the broker's script for it, in one step."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gischat.broker.bodies import Bodies
from gischat.broker.client import Redis
from gischat.broker.commits import Commits, Ended, MessageKey
from gischat.broker.entries import Outcome
from gischat.broker.inbox_consumer import Delivery
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import ResponseError
from gischat.observability import metrics
from gischat.protocol.messages import author_of, folded, new_id, uncompliant
from worker.effects import (
    Acknowledge,
    BodyMissing,
    Count,
    DeadLetter,
    Effect,
    Exit,
    FailureReason,
    Leave,
    Like,
    Publish,
    Refuse,
    Register,
    Restore,
)

NOT_YOURS = "This nickname is registered by somebody else."
REGISTRATION_LOST = "The server was cut off for a moment, and your nickname is not registered. Please try again."
ID_USED = "This id was used before, for another message: send it with a new id. It was not sent."
REGISTERED_BEFORE = "This id was used before, for a nickname that was given up since: send newcomer with a new id."


class Committer:
    """Ends jobs, on the connection `redis`, or on the connection `reader` together with the next read."""

    def __init__(self, namespace: Namespace, *, redis: Redis, reader: Redis) -> None:
        self._commits = Commits(namespace, redis)
        self._commits_before_reading = Commits(namespace, reader)
        self.bodies = Bodies(namespace, redis)
        self._requires_registration = namespace.settings.require_registration
        self._dead_letter_counters = {cause: metrics.JOBS_DEAD_LETTERED.labels(cause).inc for cause in FailureReason}

    def commit(self, delivery: Delivery, effect: Effect, *, before_reading: bool = False) -> Ended:
        """End a job: acknowledge, publish and store in one step. False if another worker had ended it before.

        Args:
            before_reading: use the connection for reads, together with the next read if that starts in the same turn of
                the loop. Then the commit is not resent if that connection is lost: see `claim_own`.
        """
        commits = self._commits_before_reading if before_reading else self._commits
        owner = {}
        if self._requires_registration and isinstance(effect, Publish | Like):
            owner = {"author_key": folded(author_of(delivery.job.body)), "not_yours": uncompliant(NOT_YOURS)}
        ended = _COMMITS[type(effect)](commits, delivery, effect, **owner)
        if isinstance(effect, DeadLetter):
            ended.add_done_callback(partial(self._count_dead_letter, effect))
        return ended

    async def commit_large(self, delivery: Delivery, effect: Effect) -> bool:
        """Like `commit`; a large body goes to Redis in chunks, so that no other command waits for all of it."""
        if isinstance(effect, Publish) and len(effect.body) > self.bodies.limits.inline:
            reference = await self.bodies.write(delivery.channel, delivery.entry.decode(), effect.body)
            try:
                return await self.commit(delivery, replace(effect, body=reference))
            except ResponseError as error:  # a front of an older version runs, or chunks have expired
                if not str(error).startswith("UNREFERABLE"):
                    raise
        return await self.commit(delivery, effect)

    def _count_dead_letter(self, effect: DeadLetter, ended: "asyncio.Future[bool]") -> None:
        if not ended.cancelled() and ended.exception() is None and ended.result():
            self._dead_letter_counters[effect.failure]()


def _publish(commits: Commits, delivery: Delivery, effect: Publish, **owner: Any) -> Ended:
    return commits.commit(
        delivery,
        outcome=Outcome.PUBLISHED,
        type=delivery.job.type,
        body=effect.body,
        stored=effect.stored,
        place=effect.place,
        message=MessageKey.of(delivery.job),
        id_used=uncompliant(ID_USED),
        **owner,
    )


def _refuse(commits: Commits, delivery: Delivery, effect: Refuse) -> Ended:
    return commits.commit(delivery, outcome=Outcome.REFUSED, type="uncompliant", body=uncompliant(effect.reason))


def _body_missing(commits: Commits, delivery: Delivery, effect: BodyMissing) -> Ended:
    return commits.body_missing(delivery, user_message=uncompliant(effect.user_message))


def _acknowledge(commits: Commits, delivery: Delivery, effect: Acknowledge) -> Ended:
    return commits.commit(delivery, outcome=Outcome.DONE, type=delivery.job.type)


def _register(commits: Commits, delivery: Delivery, effect: Register) -> Ended:
    return commits.register(
        delivery,
        nickname=effect.nickname,
        nickname_key=folded(effect.nickname),
        taken=_taken(delivery, effect.nickname),
        id_used=uncompliant(REGISTERED_BEFORE),
        front_lost=uncompliant(REGISTRATION_LOST),
    )


def _restore(commits: Commits, delivery: Delivery, effect: Restore) -> Ended:
    return commits.restore(
        delivery,
        nickname=effect.nickname,
        nickname_key=folded(effect.nickname),
        newcomer_id=new_id(),
        taken=_taken(delivery, effect.nickname),
    )


def _exit(commits: Commits, delivery: Delivery, effect: Exit) -> Ended:
    return commits.exit(
        delivery,
        nickname=effect.nickname,
        nickname_key=folded(effect.nickname),
        not_yours=uncompliant(f"You are not registered as '{effect.nickname}'."),
        id_used=uncompliant(ID_USED),
    )


def _leave(commits: Commits, delivery: Delivery, effect: Leave) -> Ended:
    return commits.unregister(delivery)


def _like(commits: Commits, delivery: Delivery, effect: Like, **owner: Any) -> Ended:
    return commits.like(delivery, liked_key=folded(effect.nickname), id_used=uncompliant(ID_USED), **owner)


def _count(commits: Commits, delivery: Delivery, effect: Count) -> Ended:
    return commits.set_user_count(delivery, connections=effect.connections, count_id=new_id())


def _dead_letter(commits: Commits, delivery: Delivery, effect: DeadLetter) -> Ended:
    return commits.dead_letter(delivery, reason=effect.reason, user_message=uncompliant(effect.user_message))


_COMMITS: dict[type[Effect], Callable[..., Ended]] = {
    Publish: _publish,
    Refuse: _refuse,
    BodyMissing: _body_missing,
    Acknowledge: _acknowledge,
    Register: _register,
    Restore: _restore,
    Exit: _exit,
    Leave: _leave,
    Like: _like,
    Count: _count,
    DeadLetter: _dead_letter,
}


def _taken(delivery: Delivery, nickname: str) -> bytes:
    return uncompliant(f"User '{nickname}' already registered in channel {delivery.channel}")
