"""Redis by subject, as one participant sees it: a front, or a bridge to another chat."""

from dataclasses import dataclass
from typing import Self

from gischat.broker.client import Redis
from gischat.broker.history import History
from gischat.broker.inbox import Inbox
from gischat.broker.moderation import Moderation
from gischat.broker.namespace import Namespace
from gischat.broker.outbox import Outbox
from gischat.broker.presence import Presence


@dataclass(frozen=True)
class Broker:
    """Everything that is answered at once. `OutboxReader` waits for publications over a connection of its own."""

    front: str  # the participant's id: its lease, and the jobs that it enqueues, bear it
    inbox: Inbox
    outbox: Outbox
    history: History
    presence: Presence
    moderation: Moderation

    @classmethod
    def of(
        cls, namespace: Namespace, front: str, redis: Redis, heavy: Redis | None = None, bulk: Redis | None = None
    ) -> Self:
        """
        Args:
            redis: the connection for messages and leases; for everything, where there is no other.
            heavy: one for pictures and layers, so that no text waits behind their megabytes.
            bulk: one for large answers, so that no message waits behind them.
        """
        heavy, bulk = heavy or redis, bulk or redis
        return cls(
            front,
            Inbox(namespace, front, redis, heavy),
            Outbox(namespace, redis, bulk),
            History(namespace, bulk),
            Presence(namespace, front, redis),
            Moderation(namespace, front, redis, bulk),
        )
