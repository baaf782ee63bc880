"""The broker of one participant, by subject; a participant is a front or a bridge."""

from dataclasses import dataclass
from typing import Self

from gischat.broker.bodies import Bodies
from gischat.broker.client import Redis
from gischat.broker.history import History
from gischat.broker.inbox import Inbox
from gischat.broker.moderation import Moderation
from gischat.broker.namespace import Namespace
from gischat.broker.outbox import Outbox
from gischat.broker.presence import Presence


@dataclass(frozen=True)
class Broker:
    """All that is answered at once. `OutboxReader` blocks until there are publications, on a connection of its own."""

    front: str  # the participant's id, which its lease and its jobs have
    inbox: Inbox
    outbox: Outbox
    history: History
    bodies: Bodies
    presence: Presence
    moderation: Moderation

    @classmethod
    def of(
        cls,
        namespace: Namespace,
        front: str,
        redis: Redis,
        heavy: Redis | None = None,
        bulk: Redis | None = None,
        fetching: Redis | None = None,
    ) -> Self:
        """Create all parts.

        Args:
            redis: the connection for messages and leases, and for everything else that has none of its own.
            heavy: the connection for images and layers, so that texts do not wait behind them.
            bulk: the connection for large answers, so that messages do not wait behind them.
            fetching: the connection for large bodies of publications, so that they do not wait behind requested ones.
        """
        heavy, bulk = heavy or redis, bulk or redis
        bodies = Bodies(namespace, bulk)
        return cls(
            front,
            Inbox(namespace, front, redis, heavy),
            Outbox(namespace, redis, bulk, bodies),
            History(namespace, bulk, bodies),
            Bodies(namespace, fetching or redis),
            Presence(namespace, front, redis),
            Moderation(namespace, front, redis, bulk),
        )
