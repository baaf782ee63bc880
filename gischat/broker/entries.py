"""The frozen entries of the streams: a `Job` goes in, a `Publication` comes out.

A job's large body does not lie in its entry: Redis would copy it here and there in one go, and all others would wait.
It is kept apart, in parts.

Source        front/connection/number   whose job it is: the connection and its how-manieth
Job           front -> worker           in a channel's inbox
Publication   worker -> all fronts      in a channel's outbox
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from gischat.protocol.types import TYPES

TRACE_MARK = ";"  # no "/": what stands before the last one is the connection, for scripts too


class Source(NamedTuple):
    """Where a job comes from, and so where its end is to be told.

    `trace` is, where messages are traced, the context of the job's span as in a `traceparent` header of W3C Trace
    Context, behind a mark: in all that is written of the job it goes along with its source. Else it is empty.
    """

    front: str
    connection: int
    number: int
    trace: str = ""

    @property
    def connection_id(self) -> str:
        """The connection alone: what a nickname belongs to."""
        return f"{self.front}/{self.connection}"

    def __str__(self) -> str:
        return f"{self.front}/{self.connection}/{self.number}{self.trace}"

    @classmethod
    def parse(cls, text: bytes) -> Self:
        front, connection, number = text.decode().split("/")
        try:
            return cls(front, int(connection), int(number))
        except ValueError:  # nothing is asked of what bears no trace
            number, mark, context = number.partition(TRACE_MARK)
            return cls(front, int(connection), int(number), mark + context)


OPERATOR = Source("operator", 0, 0)  # of a message that an operator sends on its way again: no front has this name

# Jobs of the fronts themselves, beside those that carry a client's message and bear its type.
COUNT = "count"  # so many connections of a front are in the channel now
LEAVE = "leave"  # a connection has ended
RESTORE = "restore"  # a nickname that Redis has lost
HEARTBEAT = "heartbeat"  # goes round the circle and does nothing

ANNOUNCEMENT = "announcement"  # a text of the instance itself

PRESENCE = frozenset({COUNT, LEAVE, RESTORE, HEARTBEAT, "newcomer", "exiter"})  # who comes and goes
# What is said in a channel that is frozen
PASSES_FREEZE = PRESENCE | {ANNOUNCEMENT} | {row.name for row in TYPES.values() if row.passes_freeze}


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of an inbox. `body` is JSON: a client's message, whole, or what the front's own kind of job needs.

    `id` is the message's id, under which it is published once; empty where that does not matter. `client` is the
    network address that the message comes from, as limits count it (an IPv4 address or an IPv6 /64). `sender` tells
    who uses the id where that is not the source's connection: a bot that puts its messages over HTTP has none. Of a
    body that is kept apart, `parts` and `apart` say how much there is of it; `body` is empty until it has been fetched.
    """

    source: Source
    type: str
    id: str
    body: bytes
    client: str = ""
    sender: str = ""
    chunks: int = 0
    chunked_size: int = 0  # bytes

    @property
    def size(self) -> int:
        """Bytes of the body, wherever it is."""
        return self.chunked_size or len(self.body)

    @property
    def is_complete(self) -> bool:
        return len(self.body) == self.size

    @classmethod
    def parse(cls, fields: Sequence[bytes]) -> Self:
        """What an entry says. One that was not written by a front of ours is a job of no type, which nobody can do."""
        said = dict(zip(fields[::2], fields[1::2], strict=False))
        try:
            return cls(
                Source.parse(said[b"source"]),
                said[b"type"].decode(),
                said[b"id"].decode(),
                said[b"body"],
                said.get(b"client", b"").decode(),
                said.get(b"sender", b"").decode(),
                int(said.get(b"chunks", 0)),
                int(said.get(b"chunked_size", 0)),
            )
        except (KeyError, ValueError):
            return cls(Source("", 0, 0), "", "", said.get(b"body", b""))


class Outcome(StrEnum):
    """How a job ended."""

    PUBLISHED = "published"  # everyone in the channel sees it
    DONE = "done"  # there is nothing for everyone to see
    DUPLICATE = "duplicate"  # its id was published before; not again
    RESTORED = "restored"  # a nickname; who was told that it is gone sees that it is not
    REFUSED = "refused"  # the body tells its sender why
    DEAD_LETTERED = "dead_lettered"  # it went to the dead letters; the body tells its sender
    # No job has ended
    GRANTED = "granted"  # everyone sees it: a nickname became free, and the connection that waited for it has it
    CONTROL = "control"  # what every front shall do; the type says what, the body with what


# Of clients' messages
JOB_OUTCOMES: Sequence[Outcome] = [
    one for one in Outcome if one not in (Outcome.RESTORED, Outcome.GRANTED, Outcome.CONTROL)
]

STATE_LOST = "state_lost"  # an order: Redis has lost what was published shortly before; its fronts say it again
NICKNAMES = "nicknames"  # an order: who has which nickname, or waits for one, was wrong in Redis: fronts say it again
CHALLENGE = "challenge"  # an order: somebody wants the nickname of a connection, which may be dead


@dataclass(frozen=True, slots=True)
class Publication:
    """One entry of an outbox.

    `number` counts the channel's publications, so that a reader sees when it has missed some. `source` names the job
    that ends with this entry, if one does; `id` is that of the message in the body. The body goes to the connection at
    address `to` (but a nickname that is granted to it is told to everyone); to the job's own connection if it was
    refused, dead-lettered or a duplicate; else, if there is one, to everyone in the channel.
    """

    offset: int
    source: Source | None
    outcome: Outcome
    to: str
    type: str
    id: bytes
    body: bytes

    @classmethod
    def parse(cls, fields: Sequence[bytes]) -> Self:
        number, source, outcome, to, type, id, body = fields[1::2]
        return cls(
            int(number),
            Source.parse(source) if source else None,
            Outcome(outcome.decode()),
            to.decode(),
            type.decode(),
            id,
            body,
        )

    @property
    def is_broadcast(self) -> bool:
        if self.outcome is Outcome.PUBLISHED:
            return bool(self.body) and not self.to
        return self.outcome is Outcome.GRANTED
